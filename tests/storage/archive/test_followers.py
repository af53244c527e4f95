"""Two recorders of one market: their gaps heal each other, and each event is archived once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from orderbook_desktop.core.events import level_texts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.archive.followers import Followers
from orderbook_desktop.storage.reading.change_stream import RecordedSnapshots
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import pairs_of
from tests.examples import some_of
from tests.storage.archive_fixtures import archiver_of, held_in
from tests.storage.joined_fixtures import shallow
from tests.storage.recording_fixtures import (
    HandFeed,
    ServerThread,
    Tape,
    all_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)

FAR_NS = 2**41 * 1_000_000
GAP = pytest.mark.allows_log("gap in the recording|ended without being closed")


class Pair:
    """Two recorders that get the same events, each through a connection of its own."""

    def __init__(self, first: Recorder, second: Recorder, tape: Tape) -> None:
        self.tape = tape
        self.recorders = (first, second)
        self.feeds = [started(recorder, tape) for recorder in self.recorders]
        self.sent: list[int] = []

    async def both(self, number: int) -> None:
        await self.some(number, 0, 1)

    async def some(self, number: int, *which: int) -> None:
        """Send events to some of the recorders; the others miss them."""
        for diff in self.tape.diffs(number):
            self.sent.append(diff.final_id)
            for at in which:
                self.feeds[at].diffs(diff)
        for recorder in self.recorders:
            await until_written(recorder)

    def cut(self, at: int) -> None:
        self.feeds[at].broken(GapCause.DISCONNECT)

    def again(self, at: int, depth: int | None = None) -> None:
        """Let a recorder begin again with an answer of at most `depth` levels a side."""
        self.feeds[at] = HandFeed(self.recorders[at].sink(self.tape.market))
        self.feeds[at].snapshot(shallow(self.tape.snapshot(), depth))


@pytest.fixture
async def pair(server: ServerThread, database: Database) -> AsyncIterator[Pair]:
    second = Database(database.name)
    second.connect(server.dsn)
    async with AsyncExitStack() as stack:
        recorders = [
            await stack.enter_async_context(running(Recorder(one))) for one in (database, second)
        ]
        yield Pair(recorders[0], recorders[1], Tape(step_ms=5_000))
    second.close()


async def archive_all(database: Database) -> None:
    archiver = archiver_of(database, now_ns=lambda: FAR_NS)
    for _ in range(6):
        await archiver.catch_up()


async def one_recording(database: Database, sent: list[int]) -> None:
    """Check that all of `sent` is there once, without a gap, and proven."""
    found = await verify(database, "BTCUSDT")
    assert (found.fault, found.timeline.gaps) == (None, ())
    assert found.events == len(sent)
    (summary,) = await summaries(database)
    assert summary.events == len(sent)
    ids: list[int] = []
    async for part in Recording(database, "BTCUSDT").slices():
        ids += part.chunk.numbers.final_ids.tolist()[part.begin : part.end]
    assert ids == sent


async def one_archive(database: Database, sent: list[int]) -> None:
    """Archive all that is stored, and check that it is one recording, with nothing left over."""
    await archive_all(database)
    await one_recording(database, sent)
    held = await held_in(database)
    assert [event.final_id for event in held.archived] == sent
    assert (held.raw, held.loose) == ([], [])


@GAP
async def test_a_pair_without_a_fault_is_one_recording(database: Database, pair: Pair) -> None:
    for _ in range(6):
        await pair.both(30)
        await until_stored(database, 2, last_id=pair.tape.last_id)
        await archiver_of(database).catch_up()
        await one_recording(database, pair.sent)
    first, second = await segments_of(database)
    assert first["archived_events"] > 90
    assert {first["archived_id"], second["archived_id"]} == {second["snapshot_id"]}
    for feed in pair.feeds:
        feed.broken(GapCause.USER)
    await until_stored(database, 2, end_cause="user")
    await archive_all(database)
    held = await held_in(database)
    assert [event.final_id for event in held.archived] == pair.sent
    assert not held.raw
    assert not held.loose
    (left,) = await segments_of(database)
    assert left["event_count"] == left["archived_events"] == 180
    await one_recording(database, pair.sent)


@GAP
@pytest.mark.sweep
@pytest.mark.parametrize("seed", some_of(range(4), 2))
async def test_gaps_of_one_are_healed_by_the_other(
    database: Database, pair: Pair, seed: int
) -> None:
    chosen = random.Random(seed)
    await pair.both(20)
    for _ in range(6):
        off = chosen.randrange(2)
        pair.cut(off)
        await pair.some(chosen.randint(1, 25), 1 - off)
        if chosen.random() < 0.5:
            await archiver_of(database).catch_up()
        pair.again(off)
        await pair.both(chosen.randint(5, 40))
        if chosen.random() < 0.5:
            await archiver_of(database).catch_up()
    for feed in pair.feeds:
        feed.broken(GapCause.USER)
    await until_stored(database, 0, end_cause=None)
    await one_recording(database, pair.sent)
    await one_archive(database, pair.sent)


@GAP
async def test_the_books_of_a_pair_may_differ_where_one_is_not_known(
    database: Database, pair: Pair
) -> None:
    for at, depth in ((0, 9), (1, 5), (0, 12), (1, 3)):
        pair.cut(at)
        await pair.some(3, 1 - at)
        pair.again(at, depth)
        await pair.both(40)
        await until_stored(database, 2, last_id=pair.tape.last_id)
        await one_recording(database, pair.sent)
        await archiver_of(database).catch_up()
        await one_recording(database, pair.sent)
    assert len(await all_of(database, "checkpoints")) > 3


@GAP
async def test_a_reader_gets_the_book_when_the_other_recorder_takes_over(
    database: Database, pair: Pair
) -> None:
    """The second recorder's books are older than what is archived of the first one."""
    await pair.both(40)
    await until_stored(database, 2, last_id=pair.tape.last_id)
    pair.cut(0)
    await until_stored(database, 1, end_cause="disconnect")
    await until_stored(database, 1, end_cause=None, last_id=pair.sent[-1])
    await archive_all(database)
    await pair.some(3, 1)
    await until_stored(database, 1, end_cause=None, last_id=pair.tape.last_id)
    (running_one,) = await all_of(database, "segments", end_cause=None)
    # Either of them may have led.
    (base, *_) = sorted(one["update_id"] for one in await all_of(database, "checkpoints"))
    assert running_one["archived_id"] > base
    newest = await RecordedSnapshots(database).snapshot("BTCUSDT")
    assert newest.last_update_id == pair.sent[-1]
    assert level_texts(newest.payload) == level_texts(pair.tape.snapshot().payload)


@GAP
async def test_events_without_a_book_lead_from_one_segment_to_the_next(
    database: Database, pair: Pair
) -> None:
    """The second recorder waits for its book when the first one loses its own."""
    await pair.both(20)
    pair.cut(1)
    await pair.some(5, 0)
    pair.feeds[1] = HandFeed(pair.recorders[1].sink(pair.tape.market))
    await pair.some(6, 0, 1)
    pair.cut(0)
    await pair.some(7, 1)
    pair.feeds[1].snapshot(pair.tape.snapshot())
    await pair.some(30, 1)
    pair.feeds[1].broken(GapCause.USER)
    await until_stored(database, 1, end_cause="user")
    assert len((await verify(database, "BTCUSDT")).timeline.gaps) == 1
    await archiver_of(database).catch_up()
    await one_recording(database, pair.sent)
    await one_archive(database, pair.sent)


@GAP
async def test_a_segment_without_an_event_begins_with_the_first_that_it_gets(
    database: Database, pair: Pair
) -> None:
    """Its book, an answer of the exchange, has no time of its own."""
    await pair.both(20)
    pair.cut(0)
    pair.cut(1)
    pair.tape.diffs(3)
    pair.again(0)
    pair.cut(0)
    pair.feeds[1] = HandFeed(pair.recorders[1].sink(pair.tape.market))
    await pair.some(7, 1)
    pair.feeds[1].snapshot(pair.tape.snapshot())
    await pair.some(30, 1)
    pair.feeds[1].broken(GapCause.USER)
    await until_stored(database, 1, end_cause="user")
    for _ in range(2):
        await archive_all(database)
        found = await verify(database, "BTCUSDT")
        assert found.fault is None
        (gap,) = found.timeline.gaps
        assert gap.from_ms < gap.to_ms
        assert (found.events, found.loose_events) == (len(pair.sent), 0)


@GAP
async def test_a_book_that_was_wrong_is_not_continued(database: Database, pair: Pair) -> None:
    await pair.both(20)
    for feed in pair.feeds:
        feed.sink.broken(GapCause.CROSSED, "")
        feed.sync.stream_broken()
    pair.feeds[1] = HandFeed(pair.recorders[1].sink(pair.tape.market))
    await pair.some(7, 1)
    pair.feeds[1].snapshot(pair.tape.snapshot())
    await pair.some(30, 1)
    pair.feeds[1].broken(GapCause.USER)
    await until_stored(database, 1, end_cause="user")
    await archive_all(database)
    found = await verify(database, "BTCUSDT")
    assert found.fault is None
    assert [gap.cause for gap in found.timeline.gaps] == [GapCause.CROSSED]
    assert found.loose_events == 7


@GAP
@pytest.mark.parametrize("depth", [5, 300])
async def test_the_answer_of_a_recorder_that_follows_is_not_lost(
    database: Database, pair: Pair, depth: int
) -> None:
    """The leader began shallow. The other one's answer is joined if it is known deeper."""
    for at in (0, 1):
        pair.cut(at)
    await pair.some(3)
    pair.sent.clear()
    pair.again(0, depth=10)
    await pair.some(40, 0)
    pair.again(1, depth=depth)
    begun_id = pair.tape.last_id
    await pair.both(40)
    await pair.some(10, 1)
    near, deep = (feed.sync.book.horizon for feed in pair.feeds)
    for feed in pair.feeds:
        feed.broken(GapCause.USER)
    await until_stored(database, 4, end_cause={"$ne": None})
    await archive_all(database)
    found = await verify(database, "BTCUSDT", *_since(pair.tape, 90))
    assert found.fault is None
    book = await Recording(database, "BTCUSDT").book_at(pair.tape.now_ms)
    joined = await Witnesses(database).joined("BTCUSDT", begun_id, begun_id)
    if depth == 5:
        assert not joined
        assert book.horizon == near
    else:
        assert [update_id for update_id, _ in joined] == [begun_id]
        assert book.horizon == deep
        assert (pairs_of(book.bids), pairs_of(book.asks)) == pair.tape.book.levels


def _since(tape: Tape, events: int) -> tuple[int, int]:
    return tape.now_ms - events * tape.step_ms, tape.now_ms + 1


@GAP
@pytest.mark.parametrize("depths", [(9, 30), (30, 9), (9, None)])
async def test_recordings_that_were_archived_each_by_itself_are_united(
    database: Database,
    pair: Pair,
    depths: tuple[int, int | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An earlier version did so; one of the two began with a deeper answer than the other."""
    for at in (0, 1):
        pair.cut(at)
    await pair.some(3)
    pair.sent.clear()
    pair.again(0, depths[0])
    await pair.some(40, 0)
    pair.again(1, depths[1])
    await pair.both(40)
    await pair.some(40, 1)
    for feed in pair.feeds:
        feed.broken(GapCause.USER)
    await until_stored(database, 4, end_cause={"$ne": None})

    async def alone(*_arguments: object) -> bool:
        return True

    async def none(*_arguments: object) -> None:
        return None

    monkeypatch.setattr(Followers, "is_leader", alone)
    monkeypatch.setattr(Followers, "keep_answers", none)
    monkeypatch.setattr(Followers, "follow", none)
    monkeypatch.setattr(Followers, "unite", none)
    await archive_all(database)
    held = await held_in(database)
    assert len(held.archived) == 160
    monkeypatch.undo()
    await archive_all(database)
    held = await held_in(database)
    assert [event.final_id for event in held.archived] == pair.sent
    found = await verify(database, "BTCUSDT", *_since(pair.tape, 130))
    assert found.fault is None
