"""The events outside all segments are found, each once, in few queries."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.unclaimed_events import Claim, unclaimed_events


class EventsInMemory(RawEvents):
    """Raw events with these ids; counts the queries, and the most events that one has returned."""

    def __init__(self, ids: set[int]) -> None:
        super().__init__(Database("none"), "BTCUSDT")
        self._ids = sorted(ids)
        self.queries = self.most = 0

    async def _between(self, after_id: int, last_id: int, at_most: int = 0) -> list[Document]:
        found: list[Document] = [
            {"u": u, "received_ns": -u} for u in self._ids if after_id < u <= last_id
        ]
        self.queries += 1
        self.most = max(self.most, len(found))
        return found[:at_most]


def found_in(events: EventsInMemory, claims: list[Claim]) -> list[int]:
    async def collected() -> list[int]:
        found: list[int] = []
        async with aclosing(unclaimed_events(events, claims)) as parts:
            async for part in parts:
                assert all(event.received_ns == -event.final_id for event in part)
                found += sorted(event.final_id for event in part)
        return found

    return asyncio.run(collected())


ids = st.one_of(st.integers(0, 200), st.integers(0, 10**6), st.integers(0, INT64_MAX))
claims = st.builds(Claim, ids, ids, st.sampled_from([0, 1, 20, 21, INT64_MAX]))


@given(st.sets(ids, max_size=30), st.lists(claims, max_size=8))
def test_each_event_outside_is_found_once(stored: set[int], claimed: list[Claim]) -> None:
    outside = {u for u in stored if not any(one.after_id < u <= one.last_id for one in claimed)}
    assert found_in(EventsInMemory(stored), claimed) == sorted(outside)


def test_short_segments_are_read_along() -> None:
    claimed = [Claim(10 * number, 10 * number + 5, 1) for number in range(5_000)]
    events = EventsInMemory({10 * number + 5 for number in range(5_000)} | {9, 47})
    assert found_in(events, claimed) == [9, 47]
    assert events.queries < 50


def test_the_events_of_long_segments_are_not_read() -> None:
    claimed = [Claim(1_000, 100_000, 50_000), Claim(100_003, 200_000, 50_000)]
    events = EventsInMemory(set(range(1_001, 200_000)))
    assert found_in(events, claimed) == [100_001, 100_002, 100_003]
    assert events.most == 3


def test_short_segments_that_are_far_apart_take_few_queries() -> None:
    claimed = [Claim(10**12 * number, 10**12 * number + 5, 1) for number in range(1_000)]
    events = EventsInMemory({10**15})
    assert found_in(events, claimed) == [10**15]
    assert events.queries < 50


def test_many_events_outside_come_in_parts() -> None:
    events = EventsInMemory(set(range(0, 200_000, 10)))
    assert len(found_in(events, [])) == 20_000
    assert events.most < 6_000
