"""Reading Tardis' `incremental_book_L2` CSV as what an exchange would have sent.

For the columns see `storage.export.tardis`. Rows of one market with the same times are one
event. Adjacent rows with `is_snapshot` are one snapshot, and begin a run of their own.

Tardis has no update ids, so they are made: an event ends with the microsecond at which it
was received, or with the id after the one before it where that is greater, and begins with
the id after the one before it. The same rows give the same ids. Event times are kept in
milliseconds, as the exchange's own messages have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.levels import EMPTY, fitting_exponent
from orderbook_desktop.core.received import Received, Time, UnusableFile, in_order_of_time
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX
from orderbook_desktop.storage.export.tardis import EXCHANGE, HEADER
from orderbook_desktop.storage.imports.lines import read_lines

_NS_A_US: Final = 1_000
_US_A_MS: Final = 1_000
_HEADER_LINE: Final = HEADER.encode()
_LATEST_US: Final = INT64_MAX // _NS_A_US
_LONGEST_NUMBER: Final = 19
_FLAGS: Final = {b"true": True, b"false": False}
_SIDES: Final = {b"bid": 0, b"ask": 1}
_is_market: Final = re.compile(rb"[A-Z0-9_.:-]{1,40}", re.IGNORECASE).fullmatch
# Tardis writes very small amounts as 1e-7.
_is_number: Final = re.compile(rb"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?").fullmatch
_unquoted: Final = re.compile(rb'(?<![^,])"|"(?![^,])').sub
_looks_like_row: Final = re.compile(rb"[^,]+,[^,]+,\d+,\d+,(true|false),(bid|ask),").match

_Levels = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Key:
    """What rows that belong together have in common."""

    market: bytes
    event_us: int
    local_us: int
    is_snapshot: bool

    @property
    def time(self) -> Time:
        return self.local_us, self.event_us


@dataclass(slots=True)
class _Group:
    """Rows that belong together: bids and asks, as decimal text."""

    key: _Key
    sides: tuple[_Levels, _Levels] = field(default_factory=lambda: ([], []))
    _latest: _Group | None = None

    def joins(self, later: _Group) -> bool:
        """Whether `later`, which comes next of this market, is a part of the same message."""
        # A file may have been cut in its middle; snapshots may come in pieces.
        return self.key == later.key or (self.key.is_snapshot and later.key.is_snapshot)

    def join(self, later: _Group) -> None:
        """Take in `later`, unless it is the part that came last, of a file that is read twice."""
        if self.key == later.key and (self._latest or self).sides == later.sides:
            return
        self.key, self._latest = later.key, later
        for side, more in zip(self.sides, later.sides, strict=True):
            side.extend(more)


def is_tardis(line: bytes) -> bool:
    """Whether a file that begins with `line` is one of these."""
    line = _unquoted(b"", line)
    return line == _HEADER_LINE or _looks_like_row(line) is not None


def tardis_messages(paths: Sequence[Path]) -> Iterator[Received]:
    """Iterate over events and snapshots of the files at `paths`, each market's by time.

    Raises `UnusableFile`, naming the line.
    """
    markets: dict[bytes, _MarketIds] = {}
    for group in _joined(in_order_of_time(_groups(path) for path in paths)):
        ids = markets.setdefault(group.key.market, _MarketIds())
        yield ids.received(group)


def _joined(groups: Iterable[_Group]) -> Iterator[_Group]:
    """Join what belongs together; each market's groups keep their order."""
    waiting: dict[bytes, _Group] = {}
    for group in groups:
        before = waiting.get(group.key.market)
        if before is not None and before.joins(group):
            before.join(group)
            continue
        waiting[group.key.market] = group
        if before is not None:
            yield before
    yield from waiting.values()


class _MarketIds:
    """Makes the update ids of one market, and with them the exchange's messages."""

    def __init__(self) -> None:
        self._latest = 0

    def received(self, group: _Group) -> Received:
        key = group.key
        first_id = self._latest + 1
        final_id = max(first_id, key.local_us)
        market, event_ms = key.market.decode(), key.event_us // _US_A_MS
        if not self._latest:
            first_id = final_id
        self._latest = final_id
        bids, asks = group.sides
        if key.is_snapshot:
            book = {"lastUpdateId": final_id, "bids": bids, "asks": asks}
            snapshot = decode_snapshot(msgspec.json.encode(book), market, event_ms)
            return Received(key.local_us * _NS_A_US, snapshot, restarts=True)
        event = {"e": "depthUpdate", "E": event_ms, "s": market, "U": first_id, "u": final_id}
        payload = msgspec.json.encode({**event, "b": bids, "a": asks})
        diff = decode_diff(payload, key.local_us * _NS_A_US)
        return Received(key.local_us * _NS_A_US, diff)


def _groups(path: Path) -> Iterator[tuple[Time, _Group]]:
    """Iterate over (time, rows that belong together) of one file."""
    before, group = b"", None
    with closing(read_lines(path)) as lines:
        for number, raw in lines:
            # Other programs that have written it anew may have quoted the fields.
            line = _unquoted(b"", raw) if b'"' in raw else raw
            # Again, where files were put one behind the other.
            if line == _HEADER_LINE:
                continue
            try:
                head, side, price, amount = _fields(line)
                # All but the level is the same in rows that belong together.
                if head != before or group is None:
                    if group is not None:
                        yield group.key.time, group
                    before, group = head, _Group(_key(head))
                group.sides[_side(side)].append((_decimal(price), _decimal(amount)))
            except ValueError as error:
                raise UnusableFile(path, str(error), number) from error
    if group is not None:
        yield group.key.time, group


def _fields(line: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what rows of one event have in common, then side, price and amount."""
    if line.count(b",") != HEADER.count(","):
        raise ValueError(f"has not the fields {HEADER}")
    head, side, price, amount = line.rsplit(b",", 3)
    return head, side, price, amount


def _key(head: bytes) -> _Key:
    exchange, market, event_us, local_us, flag = head.split(b",")
    if exchange != EXCHANGE.encode():
        raise ValueError(f"is of the exchange {_shown(exchange)}; only {EXCHANGE} is kept here")
    if not _is_market(market):
        raise ValueError(f"has {_shown(market)} for a symbol")
    if flag not in _FLAGS:
        raise ValueError(f"has {_shown(flag)} for is_snapshot")
    return _Key(market.upper(), _time(event_us), _time(local_us), _FLAGS[flag])


def _side(text: bytes) -> int:
    if text not in _SIDES:
        raise ValueError(f"has {_shown(text)} for a side")
    return _SIDES[text]


def _time(text: bytes) -> int:
    if not text.isdigit() or len(text) > _LONGEST_NUMBER or int(text) > _LATEST_US:
        raise ValueError(f"has {_shown(text)} for a time in microseconds")
    return int(text)


@lru_cache(maxsize=1 << 16)
def _decimal(text: bytes) -> str:
    """Return `text` as the exchange spells decimals: with eight places, or as many as needed."""
    if not _is_number(text):
        raise ValueError(f"has {_shown(text)} for a price or an amount")
    value = Decimal(text.decode())
    if abs(value.adjusted()) > _LONGEST_NUMBER:
        raise ValueError(f"has {_shown(text)} for a price or an amount, which is out of range")
    whole, _, fraction = f"{value:f}".partition(".")
    spelt = f"{whole}.{fraction.rstrip('0').ljust(DEFAULT_EXPONENT, '0')}"
    try:
        fitting_exponent([spelt], EMPTY, DEFAULT_EXPONENT)
    except InexactValue as error:
        raise ValueError(f"has {_shown(text)}, which 64 bits don't hold exactly") from error
    return spelt


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("ascii", "replace"))
