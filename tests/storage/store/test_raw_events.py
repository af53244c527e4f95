"""Raw events are read in few queries, however far apart their update ids are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff, decode_diff
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.storage.store import raw_events
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert, event_document
from orderbook_desktop.storage.store.raw_events import IdRange, RawEvents
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.unclaimed_events import Claim, unclaimed_events
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import Shelf

_WIDE = WIDEST_EVENT - 1


class CountedEvents(RawEvents):
    """Counts the queries for ranges of ids, and the most documents that one has returned."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "BTCUSDT")
        self.queries = 0
        self.most = 0

    async def _between(self, after_id: int, last_id: int, at_most: int = 0) -> list[Document]:
        self.queries += 1
        return self._counted(await super()._between(after_id, last_id, at_most))

    async def _ids_between(self, after_id: int, last_id: int) -> list[Document]:
        self.queries += 1
        return self._counted(await super()._ids_between(after_id, last_id))

    def _counted(self, found: list[Document]) -> list[Document]:
        self.most = max(self.most, len(found))
        return found

    async def all_after(self, after_id: int, last_id: int) -> list[DepthDiff]:
        """Read a run, one part after the other."""
        events: list[DepthDiff] = []
        while more := await self.run_after(after_id, last_id):
            events += more
            after_id = more[-1].final_id
        return events


def spread(events: Sequence[DepthDiff], begin: int, ids: int) -> list[DepthDiff]:
    """Return the events with new ids: each takes `ids` of them."""
    moved = []
    for number, event in enumerate(events):
        first, final = begin + number * ids + 1, begin + (number + 1) * ids
        payload = event.payload.replace(b'"U":%d,' % event.first_id, b'"U":%d,' % first)
        payload = payload.replace(b'"u":%d,' % event.final_id, b'"u":%d,' % final)
        moved.append(decode_diff(payload, event.received_ns))
    return moved


async def test_events_that_take_millions_of_ids_each_are_read_together(database: Database) -> None:
    begin = 5_000_000_000
    events = spread(Tape().diffs(900), begin, _WIDE)
    await database.prepare()
    await Shelf(database).write(events)
    raw = CountedEvents(database)
    found = await raw.all_after(begin, events[-1].final_id)
    assert [event.payload for event in found] == [event.payload for event in events]
    # A query for each event would be 900 of them.
    assert raw.queries < 60


async def test_dense_events_after_wide_ones_are_read_in_parts(database: Database) -> None:
    begin = 5_000_000_000
    tape = Tape()
    wide = spread(tape.diffs(250), begin, _WIDE)
    dense = spread(tape.diffs(7_000), wide[-1].final_id, 1)
    await database.prepare()
    await Shelf(database).write([*wide, *dense])
    raw = CountedEvents(database)
    found = await raw.all_after(begin, dense[-1].final_id)
    assert [event.final_id for event in found] == [one.final_id for one in [*wide, *dense]]
    assert raw.most <= 3_000


async def test_short_runs_do_not_make_the_queries_wide(database: Database) -> None:
    """The server reads all events in the range of a query, also beyond its limit."""
    tape = Tape()
    begin = tape.last_id
    events = tape.diffs(400)
    await database.prepare()
    await Shelf(database).write(events)
    raw = CountedEvents(database)
    span = raw._span
    for index in range(0, 400, 10):
        before = events[index - 1].final_id if index else begin
        assert len(await raw.all_after(before, events[index + 9].final_id)) == 10
    assert raw._span == span


async def test_a_hole_before_wide_events_is_found(database: Database) -> None:
    begin = 5_000_000_000
    events = spread(Tape().diffs(20), begin, _WIDE)
    await database.prepare()
    await Shelf(database).write([*events[:10], *events[11:]])
    raw = CountedEvents(database)
    assert await raw.all_after(begin, events[-1].final_id) == events[:10]


async def test_an_event_that_is_too_wide_is_damage_also_behind_another(database: Database) -> None:
    """Read by its final id it comes after an event that does not join."""
    await database.prepare()
    tape = Tape()
    begin, event = tape.last_id, tape.diff()
    (later,) = spread([tape.diff()], begin + WIDEST_EVENT + 2_000_000, 5)
    await Shelf(database).write([later])
    final = begin + WIDEST_EVENT + 5_000_000
    payload = event.payload.replace(b'"u":%d,' % event.final_id, b'"u":%d,' % final)
    wide = Insert(Stream(tape.market, DEPTH), event.first_id, final, event.event_ms, 1, payload)
    document = event_document(wide)
    await database.collection("depth_events").insert_one(document)
    raw = CountedEvents(database)
    raw._span = 10**12
    with pytest.raises(MalformedMessage):
        await raw.run_after(begin, final + 10)


async def test_many_events_are_found_by_their_ids(database: Database) -> None:
    await database.prepare()
    events = Tape().diffs(130)
    await Shelf(database).write(events)
    ids = [event.final_id for event in events]
    assert await RawEvents(database, "BTCUSDT").with_ids([*ids, ids[-1] + 9]) == events


@pytest.mark.parametrize("ids_each", [3, 90, 5_000])
async def test_some_of_many_events_are_found_however_dense_they_are(
    database: Database, ids_each: int
) -> None:
    await database.prepare()
    events = spread(Tape().diffs(1_200), 5_000_000_000, ids_each)
    await Shelf(database).write(events)
    raw = CountedEvents(database)
    assert await raw.with_ids([event.final_id for event in events]) == events
    assert raw.queries == (0 if ids_each == 5_000 else 1_200 // 300 if ids_each == 3 else 6)
    few = events[::11]
    assert await raw.with_ids([event.final_id for event in few]) == few


async def test_events_with_known_ids_are_looked_for_in_parts(database: Database) -> None:
    """Until the server has read all that a query asks for, it writes nothing."""
    await database.prepare()
    begin = 5_000_000_000
    events = spread(Tape().diffs(1_000), begin, 7)
    await Shelf(database).write(events)
    received = {event.final_id: event.received_ns for event in events}
    raw = CountedEvents(database)
    # Some of the known events are gone, and some of the stored ones are not known.
    known = sorted({*list(received)[::2], *range(begin, begin + 100)})
    claims = [Claim(begin + 10**9, begin + 2 * 10**9)]
    found: dict[int, int] = {}
    async with aclosing(unclaimed_events(raw, claims, known)) as parts:
        async for part in parts:
            found |= {event.final_id: event.received_ns for event in part}
    assert found == received
    assert raw.most <= 2 * 300
    inside = {u: ns for u, ns in received.items() if begin + 700 < u <= begin + 2_100}
    between = await raw.between(begin + 700, begin + 2_100, known)
    assert {event.final_id: event.received_ns for event in between} == inside


async def test_many_events_behind_an_empty_stretch_come_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would all be in memory at once: one query finds them."""
    monkeypatch.setattr(raw_events, "_READ_AT_MOST", 100)
    await database.prepare()
    events = spread(Tape().diffs(450), 5_000_000_000, 7)
    await Shelf(database).write(events)
    found: list[DepthDiff] = []
    async with aclosing(unclaimed_events(RawEvents(database, "BTCUSDT"), ())) as parts:
        async for part in parts:
            assert len(part) <= 100
            found += [event.unpack() for event in part]
    assert found == events


async def test_what_follows_a_segment_is_read_up_to_the_first_hole(database: Database) -> None:
    """Not the hours of other segments behind it."""
    await database.prepare()
    begin = 5_000_000_000
    events = spread(Tape().diffs(2_000), begin, 100)
    own, others = events[:20], events[30:]
    await Shelf(database).write([*own, *others])
    raw = CountedEvents(database)
    run = await raw.ids_after(begin, begin + 10_000_000)
    assert [one.final_id for one in run] == [event.final_id for event in own]
    assert (raw.queries, raw.most) == (1, 190)
    assert await raw.ids_after(own[-1].final_id, begin + 10_000_000) == []
    wide = spread(events[:1], others[-1].final_id, _WIDE)
    await Shelf(database).write(wide)
    (found,) = await raw.ids_after(others[-1].final_id, wide[0].final_id + 5)
    assert found.final_id == wide[0].final_id


async def test_runs_are_read_together_as_one_by_one(database: Database) -> None:
    tape = Tape()
    await database.prepare()
    ranges: list[IdRange] = []
    for number in range(60):
        events = tape.diffs(4)
        begin, end = events[0].first_id - 1, events[-1].final_id
        missing = events[number % 4] if number % 5 == 0 else None
        await Shelf(database).write([one for one in events if one is not missing])
        ranges.append(IdRange(begin, end))
        tape.last_id += 10 ** (number % 7)
    (event,) = await all_of(database, "depth_events", u=ranges[33].last_id)
    where = {"_id": event["_id"]}
    await database.collection("depth_events").update_one(where, {"$set": {"payload": "?"}})
    together, apart = CountedEvents(database), CountedEvents(database)
    rest = list(ranges)
    while rest:
        runs = await together.runs(rest)
        for one, run in zip(rest, runs, strict=False):
            assert run == await apart.run_after(*one)
        rest = rest[len(runs) :]
    assert together.queries < 20
