"""Reading Tardis' `trades` CSV: each row is one trade, as the file numbers it.

For the columns see `formats.tardis_writer`. The layout does not say of what parts of the exchange a
trade consists, nor when it was sent: the parts are unknown, and it counts as sent when it was
traded. A trade with equal times was never received.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.received import FileNotes, Received, UnusableFile
from orderbook_desktop.core.trades import UNKNOWN_PART, TradeFields, made_trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.formats.lines import FileLines, UnreadablePart
from orderbook_desktop.formats.tardis_fields import (
    EARLIEST_US,
    TRADE_HEADER,
    Layout,
    checked_exchange,
    decimal_text,
    market_of,
    no_time,
    shown,
    time_in_us,
    unquoted,
)

_NS_A_US: Final = 1_000
_IS_SOLD: Final = {b"buy": False, b"sell": True}
_looks_like_row: Final = re.compile(
    rb"[^,]+,[^,]+,\d+,\d+,[^,]*,(buy|sell|unknown),", re.IGNORECASE
).match


def is_tardis_trades(line: bytes) -> bool:
    """Whether a file that begins with `line` is Tardis CSV of trades."""
    line = unquoted(line)
    return Layout(TRADE_HEADER).takes_header(line) or _looks_like_row(line) is not None


def tardis_trades(paths: Sequence[Path], notes: FileNotes | None = None) -> Iterator[Received]:
    """Iterate over the trades of the files at `paths`, as they stand there.

    `notes` gets the places where a file is broken. Raises `UnusableFile` with the number of the
    line.
    """
    notes = FileNotes() if notes is None else notes
    for path in paths:
        yield from _trades(path, notes)


def _trades(path: Path, notes: FileNotes) -> Iterator[Received]:
    layout = Layout(TRADE_HEADER)

    def take_unit(unit: str) -> None:
        if unit:
            notes.units[path] = unit

    with FileLines(path) as lines:
        for number, raw in lines:
            if isinstance(raw, UnreadablePart):
                notes.note_break(path, raw.line, raw.reason)
                continue
            line = unquoted(raw)
            if layout.takes_header(line):
                continue
            try:
                trade, unit = _trade(layout.in_order(line))
            except (ValueError, MalformedMessage) as error:
                if lines.is_broken_here():
                    continue
                reason = error.reason if isinstance(error, MalformedMessage) else str(error)
                raise UnusableFile(path, reason, number) from error
            take_unit(unit)
            yield trade


def _trade(line: bytes) -> tuple[Received, str]:
    """Return the trade of a row, and the unit of its times if that is not the usual one."""
    exchange, symbol, event, local, trade_id, side, price, amount = line.split(b",")
    checked_exchange(exchange)
    market = market_of(symbol)
    (event_us, event_unit), (local_us, local_unit) = time_in_us(event), time_in_us(local)
    if event_us < EARLIEST_US:
        raise no_time(event)
    if local_us < EARLIEST_US:
        raise no_time(local)
    is_sold = _IS_SOLD.get(side.lower())
    if is_sold is None:
        raise ValueError(f"has {shown(side)} for a side; it is buy or sell, what the taker did")
    received_ns = 0 if event_us == local_us else local_us * _NS_A_US
    time = event_us // US_A_MS if event_us % US_A_MS == 0 else event_us
    fields = TradeFields(
        a=_id(trade_id),
        p=decimal_text(price),
        q=decimal_text(amount),
        f=UNKNOWN_PART,
        l=UNKNOWN_PART,
        T=time,
        m=is_sold,
    )
    trade = made_trade(market, fields, received_ns)
    return Received(received_ns, trade), event_unit or local_unit


def _id(text: bytes) -> int:
    if not text.isdigit() or len(text) > len(str(INT64_MAX)):
        raise ValueError(f"has {shown(text)} for the id of a trade; here it is a whole number")
    return int(text)
