"""Reading Tardis' `incremental_book_L2` CSV as messages of an exchange.

For the columns see `formats.tardis_writer`; a program that rewrote a file may have reordered them
or added some. Rows of one market with the same times are one event. Rows received at the same time
are one event, too, where the book would be crossed between them: some collectors give each row its
own event time. Adjacent rows with `is_snapshot` are one snapshot, which begins a new run.

Times are in microseconds; those that a program wrote in another unit are converted.

Tardis has no update ids, so they are made up. An event begins with the id after the last one. It
ends with the microsecond at which it was received, or with its first id where that is greater. No
event spans more ids than one of the exchange may, so after a longer silence the ids lag behind the
time until later events or the next snapshot make up for it. The same rows give the same ids. Where
a file is broken, one id is left out. Event times are in milliseconds, as in the exchange's own
messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import WIDEST_EVENT, answered, decode_diff, decode_snapshot
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.received import (
    Broken,
    FileNotes,
    Received,
    Time,
    UnusableFile,
    in_order_of_time,
)
from orderbook_desktop.formats.lines import FileLines, UnreadablePart
from orderbook_desktop.formats.tardis_fields import (
    EARLIEST_US,
    Layout,
    checked_exchange,
    decimal_text,
    market_of,
    no_time,
    shown,
    time_in_us,
    unquoted,
)
from orderbook_desktop.formats.tardis_writer import HEADER

_NS_A_US: Final = 1_000
_US_A_MS: Final = 1_000
# No exchange has a book with so many levels.
_ROWS_AT_MOST: Final = 200_000
_FLAGS: Final = {b"true": True, b"false": False}
_SIDES: Final = {b"bid": 0, b"ask": 1}
_looks_like_row: Final = re.compile(
    rb"[^,]+,[^,]+,\d+,\d+,(true|false),(bid|ask),", re.IGNORECASE
).match

_Levels = list[tuple[str, str]]


class _Key(Struct, frozen=True):
    """The values that the rows of one event share."""

    market: str
    event_us: int
    local_us: int
    is_snapshot: bool

    @property
    def time(self) -> Time:
        return self.local_us, self.event_us


class _Group(Struct):
    """The rows of one event, the first one in `line` of `path`: bids and asks as text."""

    key: _Key
    path: Path
    line: int
    sides: tuple[_Levels, _Levels] = field(default_factory=lambda: ([], []))
    _latest: _Group | None = None

    @property
    def rows(self) -> int:
        return len(self.sides[0]) + len(self.sides[1])

    def joins(self, later: _Group, is_crossed: Callable[[_Group], bool]) -> bool:
        """Whether `later`, the market's next group, is a part of the same message."""
        # A file may have been split within a message; snapshots may come in pieces.
        if self.key == later.key or (self.key.is_snapshot and later.key.is_snapshot):
            return True
        is_change = not (self.key.is_snapshot or later.key.is_snapshot)
        return is_change and self.key.local_us == later.key.local_us and is_crossed(self)

    def join(self, later: _Group) -> None:
        """Add `later`, unless it equals the last part: then the file is read twice."""
        if self.key == later.key and (self._latest or self).sides == later.sides:
            return
        self.key, self._latest = later.key, later
        for side, more in zip(self.sides, later.sides, strict=True):
            side.extend(more)
        if self.rows > _ROWS_AT_MOST:
            raise UnusableFile(later.path, _TOO_MANY_ROWS, later.line)


_TOO_MANY_ROWS: Final = f"is one of more than {_ROWS_AT_MOST:,} rows of one message"


def is_tardis(line: bytes) -> bool:
    """Whether a file that begins with `line` is Tardis CSV."""
    line = unquoted(line)
    return Layout(HEADER).takes_header(line) or _looks_like_row(line) is not None


def tardis_messages(
    paths: Sequence[Path], notes: FileNotes | None = None
) -> Iterator[Received | Broken]:
    """Iterate over events and snapshots of the files at `paths`, each market's by time.

    `notes` gets the places where a file is broken. Raises `UnusableFile` with the number of the
    line.
    """
    notes = FileNotes() if notes is None else notes
    markets: dict[str, _Market] = {}
    for group in _joined(in_order_of_time(_groups(path, notes) for path in paths), markets):
        if isinstance(group, Broken):
            for name in group.markets & markets.keys():
                markets[name].leave_out_an_id()
            yield group
        else:
            yield markets[group.key.market].received(group)
    for name, market in markets.items():
        if market.is_without_book:
            reason = f"changes the book of {name}, of which the files hold no snapshot"
            raise UnusableFile(market.first.path, reason, market.first.line)


def _joined(
    groups: Iterable[_Group | Broken], markets: dict[str, _Market]
) -> Iterator[_Group | Broken]:
    """Join groups of one event; each market's groups keep their order."""
    waiting: dict[str, _Group] = {}
    for group in groups:
        if isinstance(group, Broken):
            yield from (waiting.pop(market) for market in group.markets & waiting.keys())
            yield group
            continue
        name = group.key.market
        if name not in markets:
            markets[name] = _Market(group)
        before = waiting.get(name)
        if before is not None and before.joins(group, markets[name].is_crossed_after):
            before.join(group)
            continue
        waiting[name] = group
        if before is not None:
            yield before
    yield from waiting.values()


class _Market:
    """Makes the update ids of one market, and with them the exchange's messages.

    `first` are its first rows. It has no book before its first snapshot.
    """

    def __init__(self, first: _Group) -> None:
        self.first = first
        self.is_without_book = True
        self._latest = 0
        self._book = Book()

    def leave_out_an_id(self) -> None:
        """Leave out one update id before the next event."""
        self._latest += 1

    def received(self, group: _Group) -> Received:
        """Return `group` as a message."""
        key = group.key
        first_id = self._latest + 1
        event_ms = key.event_us // _US_A_MS
        final_id = max(first_id, key.local_us)
        if not self._latest:
            first_id = final_id
        elif not key.is_snapshot:
            final_id = min(final_id, self._latest + WIDEST_EVENT - 1)
        self._latest = final_id
        bids, asks = group.sides
        if key.is_snapshot:
            book = {"lastUpdateId": final_id, "bids": bids, "asks": asks}
            payload = msgspec.json.encode(book)
            received_ns = key.local_us * _NS_A_US
            snapshot = answered(decode_snapshot(payload, key.market, event_ms, received_ns))
            self.is_without_book = False
            self._book.load(snapshot)
            return Received(received_ns, snapshot, restarts=True)
        event = {"e": "depthUpdate", "E": event_ms, "s": key.market, "U": first_id, "u": final_id}
        payload = msgspec.json.encode({**event, "b": bids, "a": asks})
        diff = decode_diff(payload, key.local_us * _NS_A_US)
        self._book.apply(diff)
        return Received(key.local_us * _NS_A_US, diff)

    def is_crossed_after(self, group: _Group) -> bool:
        """Whether `group`, the next one, would leave the book crossed."""
        bids, asks = group.sides
        try:
            exponent = self._book.scale.price
            bid = _best(bids, self._book.bids().prices, exponent, max)
            ask = _best(asks, self._book.asks().prices, exponent, min)
        except InexactValue:
            return False
        return bid is not None and ask is not None and bid >= ask


def _best(
    changes: _Levels,
    known: Int64Array,
    exponent: int,
    best: Callable[[Iterable[Decimal]], Decimal],
) -> Decimal | None:
    """Return the best price of one side after `changes`; `known` are those before, best first."""
    changed = {Decimal(price): bool(Decimal(amount)) for price, amount in changes}
    prices = [price for price, is_there in changed.items() if is_there]
    for units in known:
        price = Decimal(int(units)).scaleb(-exponent)
        if price not in changed:
            prices.append(price)
            break
    return best(prices) if prices else None


class _Rows:
    """The rows of one file, in groups of one event each."""

    def __init__(self, path: Path, notes: FileNotes) -> None:
        self._path = path
        self._notes = notes
        self._layout = Layout(HEADER)
        self._markets: set[str] = set()
        self._latest: Time = (0, 0)
        self._head = b""
        self._group: _Group | None = None

    def groups(self) -> Iterator[tuple[Time, _Group | Broken]]:
        """Iterate over (time, group of rows or unreadable part)."""
        with FileLines(self._path) as lines:
            for number, raw in lines:
                if isinstance(raw, UnreadablePart):
                    yield from self._broken(raw)
                    continue
                line = unquoted(raw)
                if self._layout.takes_header(line):
                    continue
                try:
                    ended = self._take(number, line)
                except ValueError as error:
                    if lines.is_broken_here():
                        continue
                    raise UnusableFile(self._path, str(error), number) from error
                if ended is not None:
                    yield ended.key.time, ended
        if self._group is not None:
            yield self._group.key.time, self._group

    def _take(self, number: int, line: bytes) -> _Group | None:
        """Take a row; return the group before it where the row begins another one."""
        line = self._layout.in_order(line)
        # The rows of one event differ in the level only.
        head, side, price, amount = line.rsplit(b",", 3)
        at, level = _side(side), (decimal_text(price), decimal_text(amount))
        ended, group = None, self._group
        if head != self._head or group is None:
            key = _key(head, self._note_unit)
            ended, group = group, _Group(key, self._path, number)
            self._head, self._group = head, group
            self._markets.add(key.market)
            self._latest = max(self._latest, key.time)
        elif group.rows >= _ROWS_AT_MOST:
            raise UnusableFile(self._path, _TOO_MANY_ROWS, number)
        group.sides[at].append(level)
        return ended

    def _note_unit(self, unit: str) -> None:
        self._notes.units[self._path] = unit

    def _broken(self, part: UnreadablePart) -> Iterator[tuple[Time, _Group | Broken]]:
        group, self._group = self._group, None
        reason = part.reason
        if group is not None and self._is_ended_before(part.fragment):
            yield group.key.time, group
        elif group is not None:
            reason = f"{reason}, and the event which that lies in is left out"
        sentence = self._notes.note_break(self._path, part.line, reason)
        yield self._latest, Broken(self._latest[0] * _NS_A_US, frozenset(self._markets), sentence)

    def _is_ended_before(self, fragment: bytes) -> bool:
        """Whether half a row belongs to another event than the row before it."""
        length = min(len(self._head), len(fragment))
        return self._layout.is_usual and self._head[:length] != fragment[:length]


def _groups(path: Path, notes: FileNotes) -> Iterator[tuple[Time, _Group | Broken]]:
    return _Rows(path, notes).groups()


def _key(head: bytes, take_unit: Callable[[str], None]) -> _Key:
    """Return the key of a row; `take_unit` is told of a time that is not in microseconds."""
    exchange, market, event, local, flag = head.split(b",")
    checked_exchange(exchange)
    name = market_of(market)
    is_snapshot = _FLAGS.get(flag.lower())
    if is_snapshot is None:
        raise ValueError(f"has {shown(flag)} for is_snapshot")
    (event_us, event_unit), (local_us, local_unit) = time_in_us(event), time_in_us(local)
    # An impossible event time gets the time of the event before it; a receipt has no such help.
    if local_us < EARLIEST_US:
        raise no_time(local)
    if unit := event_unit or local_unit:
        take_unit(unit)
    return _Key(name, event_us, local_us, is_snapshot)


def _side(text: bytes) -> int:
    if text not in _SIDES:
        raise ValueError(f"has {shown(text)} for a side")
    return _SIDES[text]
