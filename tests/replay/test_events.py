"""Depth events and trades in the order of a replay, against a plain model of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.archive import ChunkSlice, chunk_of
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.replay.due_times import due_times
from orderbook_desktop.replay.events import (
    UNKNOWN_BOOK,
    ReplayPart,
    TradePiece,
    _Merge,
    replayed,
)
from orderbook_desktop.storage.store.database import Database
from tests.storage.made_trades import asked, received
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import recorded as record_trades

_MS = 1_000_000
_FIRST_MS = 1_700_000_000_000
_MINUTE_NS = 60_000 * _MS


class Item(NamedTuple):
    """One event of a replay: when it is due, its id, and the id of the book then, if known."""

    due_ns: int
    is_trade: bool
    id: int
    book: int | None


class Run(NamedTuple):
    """An unbroken run of depth events, from a book at a time."""

    base: BookImage
    events: list[DepthDiff]

    @property
    def begins_ms(self) -> int:
        return self.base.event_ms or self.events[0].event_ms


def model(runs: Sequence[Run], trades: Sequence[Trade], order: ReplayOrder) -> list[Item]:
    """The order of a replay, event by event, as the documentation of `ReplayOrder` says it."""
    depth, latest = [], 0
    for number, run in enumerate(runs):
        for event in run.events:
            latest = max(latest, _alone(event.event_ms * _MS, event.received_ns, order))
            depth.append((latest, number, event))
    items: list[Item] = []
    at = latest = 0
    for trade in trades:
        due = latest = max(latest, _of_trade(trade, depth, runs, order))
        while at < len(depth) and depth[at][0] < due:
            items.append(Item(depth[at][0], False, depth[at][2].final_id, depth[at][2].final_id))
            at += 1
        items.append(Item(due, True, trade.trade_id, _book_of(trade, depth, runs, at)))
    items += [Item(one[0], False, one[2].final_id, one[2].final_id) for one in depth[at:]]
    return items


_Depth = Sequence[tuple[int, int, DepthDiff]]


def _alone(event_ns: int, received_ns: int, order: ReplayOrder) -> int:
    is_right = received_ns and abs(received_ns - event_ns) <= _MINUTE_NS
    return received_ns if is_right and order is ReplayOrder.RECEIVED else event_ns


def _of_trade(trade: Trade, depth: _Depth, runs: Sequence[Run], order: ReplayOrder) -> int:
    own_ns = trade.event_us * 1_000
    if order is ReplayOrder.EXCHANGE or not trade.is_repaired:
        return _alone(own_ns, trade.received_ns, order)
    later = (at for at, one in enumerate(depth) if one[2].event_ms * _MS >= own_ns)
    at = next(later, len(depth))
    if at < len(depth) and own_ns >= runs[depth[at][1]].begins_ms * _MS:
        return depth[at][0]
    return max(own_ns, depth[at - 1][0] if at else 0)


def _book_of(trade: Trade, depth: _Depth, runs: Sequence[Run], at: int) -> int | None:
    """The id of the book at a trade that comes before the event at `at`."""
    if not depth:
        return None
    number = depth[min(at, len(depth) - 1)][1]
    if at and (at == len(depth) or depth[at - 1][1] == number):
        return depth[at - 1][2].final_id
    is_known = trade.event_us >= runs[number].begins_ms * 1_000
    return runs[number].base.last_update_id if is_known else None


def merged(
    runs: Sequence[Run], pieces: Sequence[Sequence[Trade]], size: int, order: ReplayOrder
) -> list[ReplayPart]:
    """The parts that are made of `runs`, in slices of `size` events, and of `pieces`."""
    merge, left = _Merge(order), iter([*map(_piece, pieces), None])
    parts = []
    merge.take_trades(next(left))
    for part in _slices(runs, size):
        merge.take_depth(part)
        while merge.has_all_trades_due:
            parts.append(merge.through_trades())
            merge.take_trades(next(left))
        parts.append(merge.through_depth())
    merge.end_depth()
    while merge.has_trades:
        parts.append(merge.through_trades())
        merge.take_trades(next(left))
    return parts


def _piece(trades: Sequence[Trade]) -> TradePiece:
    return TradePiece(DecodedTrades.of(trades), np.arange(len(trades)))


def _slices(runs: Sequence[Run], size: int) -> Iterator[ChunkSlice]:
    for run in runs:
        base = run.base
        for begin in range(0, len(run.events), size):
            chunk = chunk_of(base, run.events[begin : begin + size])
            yield ChunkSlice(chunk, 0, chunk.header.event_count, begin == 0)
            base = chunk.final_book()


def items_of(parts: Sequence[ReplayPart]) -> list[Item]:
    """The parts' events, one by one."""
    return [item for part in parts for item in _items_of(part)]


def _items_of(part: ReplayPart) -> Iterator[Item]:
    columns = (part.due_ns.tolist(), part.is_trade.tolist(), part.at.tolist(), part.books.tolist())
    for due, is_trade, at, book in zip(*columns, strict=True):
        known = None
        if book != UNKNOWN_BOOK:
            assert part.depth is not None
            known = part.depth.slice.chunk.book_after(book).last_update_id
        if is_trade:
            assert part.trades is not None
            yield Item(due, True, int(part.trades.trades.arrays.ids[at]), known)
        else:
            assert part.depth is not None
            numbers = part.depth.slice.chunk.numbers
            yield Item(due, False, int(numbers.final_ids[at]), known)


_steps = st.integers(0, 400)
_delays = st.one_of(st.integers(0, 300), st.sampled_from([-20, 59_000, 70_000, -70_000]))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Run], list[list[Trade]], int]:
    """Runs with gaps between them, pieces of trades, and how many events a slice has."""
    runs: list[Run] = []
    tape = Tape(step_ms=0)
    for _ in range(draw(st.integers(0, 3))):
        tape.now_ms += draw(_steps)
        book = Book()
        book.load(replace(tape.snapshot(), event_ms=draw(st.sampled_from([0, tape.now_ms]))))
        events = []
        for _ in range(draw(st.integers(1, 8))):
            tape.now_ms += draw(_steps)
            event, delay = tape.diff(2), draw(_delays)
            received_ns = (event.event_ms + delay) * _MS
            events.append(replace(event, received_ns=draw(st.sampled_from([0, received_ns]))))
        runs.append(Run(image_of(book, tape.market), events))
        tape.diffs(draw(st.integers(0, 2)))
    trades, now_us = [], (_FIRST_MS - 100) * 1_000
    for number in range(draw(st.integers(0, 12))):
        now_us += draw(st.one_of(_steps, st.integers(0, 400_000)))
        trades.append(_trade(number + 1, now_us, draw(st.one_of(st.none(), _delays))))
    cut = draw(st.integers(0, len(trades)))
    pieces = [piece for piece in (trades[:cut], trades[cut:]) if piece]
    return runs, pieces, draw(st.integers(1, 4))


def _trade(number: int, time_us: int, delay_ms: int | None) -> Trade:
    if delay_ms is None:
        return asked(number, T=time_us)
    return received(number, time_us * 1_000 + delay_ms * _MS, T=time_us, E=time_us)


@given(recordings(), st.sampled_from(ReplayOrder))
def test_the_order_is_that_of_the_model(
    made: tuple[list[Run], list[list[Trade]], int], order: ReplayOrder
) -> None:
    runs, pieces, size = made
    parts = merged(runs, pieces, size, order)
    found = items_of(parts)
    assert found == model(runs, [trade for piece in pieces for trade in piece], order)
    assert all(later.due_ns >= one.due_ns for one, later in pairwise(found))
    assert sum(part.opens for part in parts) == len(runs)


def test_a_repaired_trade_waits_for_the_trade_before_it_and_for_no_other_event() -> None:
    """Its event has been played, in a piece of its own, when the trade before it is due."""
    tape, base = Tape(step_ms=0), Book()
    base.load(tape.snapshot())
    first_ms, events = tape.now_ms, []
    for _ in range(2):
        tape.now_ms += 1_000
        event = tape.diff(2)
        events.append(replace(event, received_ns=event.event_ms * _MS))
    times_us = (first_ms + 500) * 1_000, (first_ms + 600) * 1_000
    trades = [_trade(1, times_us[0], 900), _trade(2, times_us[1], None)]
    runs = [Run(image_of(base, tape.market), events)]
    found = items_of(merged(runs, [trades], 1, ReplayOrder.RECEIVED))
    assert found == model(runs, trades, ReplayOrder.RECEIVED)
    assert [item.is_trade for item in found] == [False, True, True, False]


def test_a_clock_that_was_wrong_does_not_count() -> None:
    event_ns = np.array([100, 200, 300, 400]) * _MS
    received_ns = np.array([105 * _MS, 0, 300 * _MS + _MINUTE_NS + 1, 390 * _MS])
    due = due_times(event_ns, received_ns, ReplayOrder.RECEIVED)
    assert (due // _MS).tolist() == [105, 200, 300, 390]
    assert due_times(event_ns, received_ns, ReplayOrder.EXCHANGE).tolist() == event_ns.tolist()
    later = due_times(event_ns, received_ns, ReplayOrder.RECEIVED, 250 * _MS)
    assert (later // _MS).tolist() == [250, 250, 300, 390]


@pytest.mark.parametrize("order", ReplayOrder)
async def test_a_recording_is_read_in_the_order_of_its_replay(
    database: Database, order: ReplayOrder
) -> None:
    tape = Tape()
    first = await Shelf(database).put(tape, 40)
    tape.diffs(5)
    second = await Shelf(database).put(tape, 30)
    runs = [Run(one.base, one.events) for one in (first, second)]
    now_us = (first.events[0].event_ms - 1_000) * 1_000
    trades = [
        _trade(number, now_us + number * 90_000, None if number % 7 < 3 else number % 5 * 40)
        for number in range(1, 120)
    ]
    await record_trades(database, trades)
    async with aclosing(replayed(database, tape.market, order=order)) as parts:
        found = [part async for part in parts]
    assert items_of(found) == model(runs, trades, order)
    assert [part.opens for part in found].count(True) == 2
    texts = [text for part in found if part.depth for text in _texts(part)]
    assert texts == [event.payload for run in runs for event in run.events]

    begin_ms, end_ms = first.events[10].event_ms, second.events[20].event_ms
    async with aclosing(replayed(database, tape.market, begin_ms, end_ms, order)) as parts:
        some = items_of([part async for part in parts])
    ids = [event.final_id for run in runs for event in run.events]
    assert [item.id for item in some if not item.is_trade] == ids[10:60]
    inside = [one.trade_id for one in trades if begin_ms <= one.event_us / 1_000 < end_ms]
    assert [item.id for item in some if item.is_trade] == inside


def _texts(part: ReplayPart) -> list[bytes]:
    assert part.depth is not None
    return [part.depth.payloads[at] for at in part.at[~part.is_trade].tolist()]


async def test_trades_alone_are_replayed(database: Database) -> None:
    trades = [_trade(at, _FIRST_MS * 1_000 + at, None if at % 2 else 5) for at in range(1, 9)]
    await database.prepare()
    await record_trades(database, trades)
    async with aclosing(replayed(database, "BTCUSDT")) as parts:
        found = [part async for part in parts]
    assert items_of(found) == model([], trades, ReplayOrder.RECEIVED)
    pieces = [part.trades.payloads for part in found if part.trades is not None]
    assert [text for texts in pieces for text in texts] == [trade.payload for trade in trades]
