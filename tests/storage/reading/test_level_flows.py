"""What flowed in a recording is what flows in its events and trades, with its gaps left out."""

from __future__ import annotations

import numpy as np
import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.flows import Flows, FlowTrades, flows_of
from orderbook_desktop.core.heatmap.spans import LevelSpan, live_span
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import Scale, parse_units
from orderbook_desktop.storage.reading import level_flows
from orderbook_desktop.storage.reading.level_flows import TooManyChanges, read_flows
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from tests.replay.recorded import MARKET, Recorded, record
from tests.storage import trade_shelf
from tests.storage.shelf import Shelved

STEP = PriceSteps.of("0.05")


def spans_of(recorded: Recorded) -> list[tuple[LevelSpan, bool]]:
    return [(live_span(book_of(run), run.events, begin_of(run), 0), True) for run in recorded.runs]


def begin_of(run: Shelved) -> int:
    return run.base.event_ms or run.events[0].event_ms


def book_of(run: Shelved) -> BookImage:
    base = run.base
    if isinstance(base, BookImage):
        return base
    book = Book()
    book.load(base)
    return image_of(book, MARKET)


def flow_trades(trades: list[Trade], gaps: tuple[tuple[int, int], ...]) -> FlowTrades:
    return FlowTrades(
        Scale(),
        np.array([trade.event_ms for trade in trades]),
        np.array([parse_units(trade.price) for trade in trades]),
        np.array([parse_units(trade.quantity) for trade in trades]),
        np.array([trade.is_sold for trade in trades]),
        gaps,
    )


async def read(database: Database, from_ms: int, to_ms: int, steps: PriceSteps = STEP) -> Flows:
    return await read_flows(DatabaseStore(database), MARKET, from_ms, to_ms, steps)


async def test_recorded_flows_are_those_of_the_events_and_trades(database: Database) -> None:
    recorded = await record(database, [40, 30])
    events = [event for run in recorded.runs for event in run.events]
    trades = trade_shelf.touching(events)
    missing = trades[20:24]
    await trade_shelf.recorded(database, trades[:20])
    await trade_shelf.recorded(database, trades[24:])
    from_ms, to_ms = events[4].event_ms, events[-2].event_ms + 10
    gap = trades[19].event_ms, trades[24].event_ms
    kept = [trade for trade in trades if trade not in missing]
    expected = flows_of(spans_of(recorded), flow_trades(kept, (gap,)), from_ms, to_ms, STEP)
    assert expected.total.flow.traded_low > 0
    assert not expected.is_covered
    assert await read(database, from_ms, to_ms) == expected
    rows = PriceSteps.of("0.05", "599", "601")
    some = await read(database, from_ms, to_ms, rows)
    assert [one.price for one in some.prices] == [
        one.price for one in expected.prices if 599 * 10**8 <= one.price < 601 * 10**8
    ]


async def test_time_before_and_after_all_trades_is_not_computed(database: Database) -> None:
    recorded = await record(database, [40])
    events = recorded.runs[0].events
    span = events[0].event_ms, events[-1].event_ms
    assert (await read(database, *span)).covered_ms == 0
    await trade_shelf.recorded(database, trade_shelf.touching(events[10:30]))
    found = await read(database, *span)
    # From the second event after the first trade until the last trade.
    assert found.covered_ms == 19 * 700 - 50 - 700
    assert found.total.flow.added_high > 0


async def test_too_many_changes_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = (await record(database, [10])).runs[0].events
    monkeypatch.setattr(level_flows, "MOST_CHANGES", 20)
    with pytest.raises(TooManyChanges, match="choose a shorter time or fewer prices"):
        await read(database, events[0].event_ms, events[-1].event_ms)
