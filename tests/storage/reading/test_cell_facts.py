"""The facts of a recorded cell are those of all events before its end."""

from __future__ import annotations

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.facts import FactsBuilder
from orderbook_desktop.core.heatmap.pages import FactsPart, HeatmapWish
from orderbook_desktop.storage.reading.cell_facts import read_facts
from orderbook_desktop.storage.reading.heatmaps import level_spans
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from tests.replay.recorded import MARKET, record


async def read(recording: Recording, wish: HeatmapWish) -> list[FactsPart]:
    return [part async for part in read_facts(recording, wish)]


async def test_recorded_facts_are_those_of_all_events_before(database: Database) -> None:
    recorded = await record(database, [40, 30])
    recording = Recording(database, MARKET)
    events = [event for run in recorded.runs for event in run.events]
    spans = [one async for one in level_spans(recording, 0, events[-1].event_ms + 1)]
    rests = 0
    for number in (10, 25, 39, 55, 69):
        time = events[number].event_ms // 100 * 100
        bins = TimeBins(time, time + 100, 100)
        book = await recording.book_at(time)
        for price in [
            int(side.prices[place]) for side in (book.bids, book.asks) for place in (0, 3)
        ]:
            steps = PriceSteps(10**6, book.scale.price, (price // 10**6, 1))
            parts = await read(recording, HeatmapWish(MARKET, bins, steps, Statistic.MAX))
            builder = FactsBuilder(bins, steps)
            for span, opens in spans:
                builder.take(span, opens=opens)
            assert parts[-1] == FactsPart(builder.facts())
            assert all(not part.is_over for part in parts[:-1])
            rests += parts[-1].facts is not None and parts[-1].facts.rest is not None
    assert rests > 5


async def test_a_gap_has_no_facts(database: Database) -> None:
    recorded = await record(database, [40])
    late = recorded.runs[0].events[-1].event_ms // 1_000 * 1_000 + 60_000
    wish = HeatmapWish(
        MARKET, TimeBins(late, late + 1_000, 1_000), PriceSteps(10**6, rows=(1, 1)), Statistic.MAX
    )
    (part,) = await read(Recording(database, MARKET), wish)
    assert part.facts is not None
    assert (part.facts.covered_ms, part.facts.rest) == (0, None)
