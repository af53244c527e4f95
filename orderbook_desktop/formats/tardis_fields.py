"""Fields of Tardis' CSV files, also as other programs rewrite them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

from orderbook_desktop.core.event_times import EARLIEST_MS, US_A_MS
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX

EXCHANGE: Final = "binance"
TRADE_HEADER: Final = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"

_NS_A_US: Final = 1_000
EARLIEST_US: Final = EARLIEST_MS * US_A_MS
_LATEST_US: Final = INT64_MAX // _NS_A_US
# By the digits of a present time: the unit, and the microseconds in it.
_UNITS: Final = {
    10: ("seconds", Decimal(10**6)),
    13: ("milliseconds", Decimal(10**3)),
    19: ("nanoseconds", Decimal("1e-3")),
}
_LONGEST_NUMBER: Final = 19
_LONGEST_SHOWN: Final = 200
# No market has such values. A value that is only too wide for 64 bits ends its run.
_WIDEST_DECIMAL: Final = 64
# Tardis writes very small amounts as 1e-7; other programs write times as 1.7e+15.
_is_number: Final = re.compile(rb"[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?").fullmatch
_quotes: Final = re.compile(rb'(?<![^,])"|"(?![^,])').sub


def unquoted(line: bytes) -> bytes:
    """Return a line without the quotes around its fields, which a program may have added."""
    return _quotes(b"", line) if b'"' in line else line


class Layout:
    """The columns of a file: those of `header`, in any order, with others among them."""

    def __init__(self, header: str) -> None:
        self._wanted = header
        self._names = header.split(",")
        self._header = b""
        # The places of the known columns; None: the usual columns in the usual order.
        self._columns: list[int] | None = None
        self._count = len(self._names)
        # No row has this name in it.
        self._sign = max(self._names, key=len).encode()

    @property
    def is_usual(self) -> bool:
        """Whether the file has the usual columns in the usual order."""
        return self._columns is None

    def takes_header(self, line: bytes) -> bool:
        """Return whether `line` is a header; further ones are in files that were joined."""
        if self._sign not in line:
            return False
        if line == self._header:
            return True
        names = [name.strip() for name in line.decode("utf-8", "replace").split(",")]
        if not set(self._names) <= set(names):
            return False
        self._header, self._count = line, len(names)
        usual = names == self._names
        self._columns = None if usual else [names.index(name) for name in self._names]
        return True

    def in_order(self, line: bytes) -> bytes:
        """Return a row with the usual columns in the usual order. Raises `ValueError`."""
        if line.count(b",") != self._count - 1:
            raise ValueError(f"has not the fields {self._shown_header()}")
        if self._columns is None:
            return line
        fields = line.split(b",")
        return b",".join([fields[column] for column in self._columns])

    def _shown_header(self) -> str:
        text = self._header.decode("utf-8", "replace") or self._wanted
        return plain_text(text, _LONGEST_SHOWN)


def checked_exchange(text: bytes) -> None:
    """Raise `ValueError` if a row is of another exchange."""
    if text != EXCHANGE.encode():
        raise ValueError(f"is of the exchange {shown(text)}; only {EXCHANGE} is kept here")


@lru_cache(maxsize=1024)
def market_of(text: bytes) -> str:
    """Return the market that a row names, in the exchange's spelling: of BTC_USDT it is BTCUSDT."""
    try:
        return split_symbol(text.decode("utf-8", "replace"))[1]
    except ValueError:
        raise ValueError(f"has {shown(text)} for a symbol") from None


def time_in_us(text: bytes) -> tuple[int, str]:
    """Return a time in microseconds, and its unit in the file if that is another one."""
    is_plain = text.isdigit() and len(text) <= _LONGEST_NUMBER
    time = int(text) if is_plain else _whole_number(text)
    unit, microseconds = _UNITS.get(len(str(time)), ("", Decimal(1)))
    time = int(time * microseconds) if unit else time
    if time > _LATEST_US:
        raise no_time(text)
    return time, unit


def _whole_number(text: bytes) -> int:
    # Programs write it as a double if they take a column with a missing value for doubles.
    if len(text) <= 2 * _LONGEST_NUMBER and _is_number(text):
        value = Decimal(text.decode())
        if value.adjusted() < _LONGEST_NUMBER and value == int(value):
            return int(value)
    raise no_time(text)


def no_time(text: bytes) -> ValueError:
    """Return the error of a field that is no time."""
    return ValueError(f"has {shown(text)} for a time in microseconds")


@lru_cache(maxsize=1 << 16)
def decimal_text(text: bytes) -> str:
    """Return `text` as the exchange spells decimals: with eight places, or as many as needed."""
    if not _is_number(text):
        raise ValueError(f"has {shown(text)} for a price or an amount")
    value = Decimal(text.decode())
    if len(text) > 2 * _WIDEST_DECIMAL or abs(value.adjusted()) > _WIDEST_DECIMAL:
        raise ValueError(f"has {shown(text)} for a price or an amount, which is out of range")
    whole, _, fraction = f"{value:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(DEFAULT_EXPONENT, '0')}"


def shown(text: bytes) -> str:
    """Return a field as a message quotes it."""
    return repr(text[:40].decode("utf-8", "replace"))
