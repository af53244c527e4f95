from __future__ import annotations

import pytest
from msgspec import structs

from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.recorder.market_sink import MarketSink
from orderbook_desktop.storage.recorder.pending import (
    Checkpoint,
    Close,
    Extend,
    Loose,
    Open,
    Operation,
    PendingWrites,
)
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.event_writer import RecordingConflict
from tests.core.reference_book import diff_payload, snapshot_payload
from tests.storage.recording_fixtures import HandFeed, Tape

GAP = pytest.mark.expects_log("WARNING .*gap in the recording")
ROOM = pytest.mark.expects_log("WARNING .*room to record again")


class Desk:
    """A sink, the queue that it fills, and a feed that fills it."""

    def __init__(self, limit_bytes: int = 10**9) -> None:
        self.wakes = 0
        self.pending = PendingWrites(limit_bytes, self._wake)
        self.sink = MarketSink(Stream("BTCUSDT", DEPTH), self.pending)
        self.feed = HandFeed(self.sink)

    def _wake(self) -> None:
        self.wakes += 1

    def drain(self) -> list[Operation]:
        """Write everything."""
        operations = [self.pending.take_first() for _ in range(len(self.pending))]
        for operation in operations:
            self.pending.forget(operation)
        return operations


def kinds(operations: list[Operation]) -> list[type[Operation]]:
    return [type(operation) for operation in operations]


def test_tells_in_the_order_of_what_happened() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.diffs(tape.diff())
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(tape.diff())
    desk.feed.broken(GapCause.USER)
    assert kinds(desk.drain()) == [Insert, Open, Insert, Extend, Loose, Close]
    assert desk.wakes == 6
    assert desk.sink.counts.gaps == 0


def test_events_that_waited_for_the_snapshot_belong_to_the_segment() -> None:
    tape, desk = Tape(), Desk()
    snapshot = tape.snapshot()
    desk.feed.diffs(*tape.diffs(3))
    desk.feed.snapshot(snapshot)
    assert kinds(desk.drain()) == [Insert] * 3 + [Open] + [Extend] * 3


@pytest.mark.parametrize("order", [[0, 2, 1], [2, 0, 1], [2, 1, 0], [1, 2, 0]])
def test_events_that_waited_in_another_order_than_their_ids_belong_to_the_segment(
    order: list[int],
) -> None:
    tape, desk = Tape(), Desk()
    snapshot = tape.snapshot()
    waiting = tape.diffs(3)
    desk.feed.diffs(*(waiting[place] for place in order))
    desk.feed.snapshot(snapshot)
    assert kinds(desk.drain()) == [Insert] * 3 + [Open] + [Extend] * 3
    desk.feed.diffs(tape.diff())
    assert kinds(desk.drain()) == [Insert, Extend]


def test_events_received_before_the_recording_began_are_not_claimed() -> None:
    tape, desk = Tape(), Desk()
    snapshot = tape.snapshot()
    for diff in tape.diffs(2):
        desk.feed.sync.receive_diff(diff)
    desk.feed.diffs(tape.diff())
    desk.feed.snapshot(snapshot)
    last = tape.diff()
    desk.feed.diffs(last)
    operations = desk.drain()
    assert kinds(operations) == [Insert, Open, Close, Open, Loose, Insert, Extend]
    reopened, loose, extend = operations[3], operations[4], operations[6]
    assert isinstance(reopened, Open)
    assert isinstance(loose, Loose)
    assert [one.final_id for one in loose.events] == [reopened.base.update_id]
    assert isinstance(extend, Extend)
    assert reopened.base.update_id + 1 == extend.first_id == last.first_id
    assert reopened.segment is extend.segment


@GAP
def test_a_break_after_which_nothing_is_missing_is_no_gap() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(*tape.diffs(3))
    desk.feed.broken(GapCause.DISCONNECT)
    tape.diff()
    desk.feed.snapshot(tape.snapshot())
    assert desk.sink.counts.gaps == 1
    for _ in range(2):
        desk.feed.broken(GapCause.SILENCE)
        assert desk.sink.counts.gaps == 2
        desk.feed.snapshot(tape.snapshot())
        assert (desk.sink.counts.gaps, desk.sink.counts.ended_by) == (1, "")
        assert desk.sink.counts.last_gap == GapCause.DISCONNECT.sentence


@GAP
def test_a_recording_that_ends_with_a_break_says_so_and_has_no_gap_there() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(tape.diff())
    desk.feed.broken(GapCause.SILENCE)
    desk.feed.broken(GapCause.USER)
    assert (desk.sink.counts.gaps, desk.sink.counts.last_gap) == (0, "")
    assert desk.sink.counts.ended_by == GapCause.SILENCE.sentence
    # The recording continues after all, and an event is missing.
    tape.diff()
    desk.feed.snapshot(tape.snapshot())
    assert (desk.sink.counts.gaps, desk.sink.counts.ended_by) == (1, "")
    assert desk.sink.counts.last_gap == GapCause.SILENCE.sentence


@GAP
@pytest.mark.parametrize("is_feed_gap", [False, True])
def test_events_after_a_break_that_no_book_follows_make_it_a_gap(*, is_feed_gap: bool) -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(tape.diff())
    cause = GapCause.FEED_GAP if is_feed_gap else GapCause.SILENCE
    if not is_feed_gap:
        desk.feed.broken(cause)
    tape.diff()
    desk.feed.diffs(tape.diff())
    desk.feed.broken(GapCause.USER)
    assert (desk.sink.counts.gaps, desk.sink.counts.ended_by) == (1, "")
    assert desk.sink.counts.last_gap == cause.sentence


@GAP
def test_a_recording_that_goes_on_without_a_book_has_a_gap_after_all() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    last = tape.diff()
    desk.feed.diffs(last)
    desk.feed.broken(GapCause.SILENCE)
    # The last event came again, which is no new event.
    desk.feed.diffs(last)
    desk.feed.broken(GapCause.USER)
    assert (desk.sink.counts.gaps, desk.sink.counts.last_gap) == (0, "")
    desk.feed.diffs(tape.diff())
    for _ in range(2):
        desk.feed.broken(GapCause.USER)
        assert (desk.sink.counts.gaps, desk.sink.counts.ended_by) == (1, "")
        assert desk.sink.counts.last_gap == GapCause.SILENCE.sentence


@GAP
@ROOM
def test_dropped_events_are_not_claimed_by_a_later_snapshot() -> None:
    tape, desk = Tape(), Desk(limit_bytes=20_000)
    snapshot = tape.snapshot()
    while not desk.sink.overflowing:
        desk.feed.diffs(tape.diff())
    kept = desk.drain()
    desk.feed.diffs(*tape.diffs(2))
    desk.feed.snapshot(snapshot)
    desk.feed.diffs(tape.diff())
    operations = desk.drain()
    opens = [one for one in operations if isinstance(one, Open)]
    assert (desk.sink.counts.dropped, desk.sink.counts.gaps) == (1, 1)
    # Up to the dropped event, and then behind it.
    claimed = [
        [one for one in operations if isinstance(one, Extend) and one.segment is opened.segment]
        for opened in opens
    ]
    # The events that waited behind it were in the second book already.
    assert [len(extends) for extends in claimed] == [len(kept), 1]
    assert all(one.final_id > one.segment.base_id for extends in claimed for one in extends)
    (closing,) = [one for one in operations if isinstance(one, Close)]
    assert closing.cause is GapCause.OVERFLOW
    assert closing.segment is opens[0].segment


@GAP
@ROOM
def test_an_overflow_is_counted_also_where_no_segment_is_open() -> None:
    tape, desk = Tape(), Desk(limit_bytes=3_000)
    while not desk.sink.counts.dropped:
        desk.feed.diffs(tape.diff())
    desk.feed.diffs(*tape.diffs(9))
    assert desk.sink.counts.dropped == 10
    assert (desk.sink.counts.gaps, desk.sink.counts.last_gap) == (1, GapCause.OVERFLOW.sentence)
    desk.feed.snapshot(tape.snapshot())
    assert set(kinds(desk.drain())) == {Insert}
    desk.feed.diffs(tape.diff())
    assert kinds(desk.drain()) == [Insert, Open, Loose]


def loose_ids(operations: list[Operation]) -> list[int]:
    return [
        one.final_id
        for operation in operations
        if isinstance(operation, Loose)
        for one in operation.events
    ]


def test_what_came_before_the_snapshot_belongs_to_no_segment() -> None:
    tape, desk = Tape(), Desk()
    early = tape.diffs(3)
    desk.feed.diffs(*early)
    desk.feed.snapshot(tape.snapshot())
    # Any of them might still be applied, as far as is known from the feed.
    assert loose_ids(desk.drain()) == []
    desk.feed.diffs(tape.diff())
    assert loose_ids(desk.drain()) == [one.final_id for one in early]
    desk.feed.diffs(*tape.diffs(5))
    desk.feed.broken(GapCause.USER)
    assert loose_ids(desk.drain()) == []


@GAP
@pytest.mark.parametrize("cause", [GapCause.DISCONNECT, GapCause.MALFORMED, GapCause.USER])
def test_what_waits_when_the_stream_breaks_belongs_to_no_segment(cause: GapCause) -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(*tape.diffs(2))
    tape.diff()
    waiting = tape.diffs(3)
    # The gap in the feed: they wait for the snapshot after it.
    desk.feed.diffs(*waiting)
    assert loose_ids(desk.drain()) == []
    desk.feed.broken(cause)
    assert loose_ids(desk.drain()) == [one.final_id for one in waiting]


@GAP
def test_what_waited_amid_a_gap_in_the_feed_is_claimed_by_the_next_segment() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(*tape.diffs(2))
    tape.diff()
    snapshot = tape.snapshot()
    desk.feed.diffs(*tape.diffs(3))
    desk.feed.snapshot(snapshot)
    desk.feed.broken(GapCause.USER)
    operations = desk.drain()
    assert loose_ids(operations) == []
    assert sum(isinstance(one, Extend) for one in operations) == 5


def test_the_oldest_of_many_waiting_events_are_set_aside() -> None:
    tape, desk = Tape(), Desk()
    first = tape.diff()
    for final_id in range(first.final_id, first.final_id + 40_000):
        desk.sink.received(structs.replace(first, final_id=final_id))
    assert loose_ids(desk.drain()) == []
    desk.sink.received(structs.replace(first, final_id=first.final_id + 40_000))
    gone = loose_ids(desk.drain())
    assert gone == list(range(first.final_id, first.final_id + 20_000))
    desk.feed.broken(GapCause.USER)
    assert len(loose_ids(desk.drain())) == 20_001


@GAP
@ROOM
def test_every_event_is_either_claimed_or_loose() -> None:
    tape, desk = Tape(), Desk(limit_bytes=20_000)
    operations: list[Operation] = []
    desk.feed.diffs(*tape.diffs(3))
    desk.feed.snapshot(tape.snapshot())
    for step in range(200):
        desk.feed.diffs(*tape.diffs(2))
        if step % 7 == 0:
            tape.diff()
        if step % 11 == 0:
            desk.feed.snapshot(tape.snapshot())
        if step % 13 == 0:
            desk.feed.broken(GapCause.SILENCE)
        if step % 40 == 39:
            operations += desk.drain()
    desk.feed.broken(GapCause.USER)
    operations += desk.drain()
    written = [one.final_id for one in operations if isinstance(one, Insert)]
    claimed = [one.final_id for one in operations if isinstance(one, Extend)]
    assert desk.sink.counts.dropped
    assert claimed
    assert sorted(claimed + loose_ids(operations)) == written


@GAP
def test_flapping_without_a_database_stays_within_the_bound() -> None:
    """Each resync brings a whole book."""
    desk = Desk(limit_bytes=300_000)
    for seed in range(100):
        tape = Tape(seed=seed)
        tape.last_id += seed * 10_000
        desk.feed.snapshot(tape.snapshot())
        desk.feed.diffs(tape.diff())
        if desk.sink.overflowing:
            break
        desk.feed.broken(GapCause.USER)
    assert desk.sink.overflowing
    assert desk.pending.used_bytes < 310_000


def test_duplicates_and_old_events_leave_nothing_behind() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    for diff in tape.diffs(50):
        desk.feed.diffs(diff, diff)
    desk.feed.diffs(tape.diff())
    assert not desk.sink._undecided
    assert sum(isinstance(one, Extend) for one in desk.drain()) == 51


@pytest.mark.parametrize("jump_ms", [70_000, -70_000, 10**15])
def test_clock_jumps_do_not_end_the_checkpoints(jump_ms: int) -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(*tape.diffs(3))
    tape.now_ms += jump_ms
    desk.feed.diffs(*tape.diffs(3))
    tape.now_ms -= jump_ms
    desk.feed.diffs(*tape.diffs(3))
    assert sum(isinstance(one, Checkpoint) for one in desk.drain()) == 2


def test_a_clock_that_stands_still_does_not_end_the_checkpoints() -> None:
    tape, desk = Tape(step_ms=0), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.feed.diffs(*(tape.diff(1) for _ in range(20_001)))
    assert sum(isinstance(one, Checkpoint) for one in desk.drain()) == 2


def test_events_of_a_book_too_wide_are_kept_in_no_segment() -> None:
    desk = Desk()
    base = snapshot_payload([("1", "1" + "0" * 30)], [], 10)
    desk.feed.snapshot(decode_snapshot(base, "BTCUSDT"))
    for update_id, quantity in ((11, "1" + "0" * 30), (12, "1"), (13, "2")):
        desk.feed.diffs(decode_diff(diff_payload([("1", quantity)], [], update_id, update_id)))
    found = desk.drain()
    assert kinds(found) == [Insert, Insert, Open, Insert, Extend, Loose]
    assert loose_ids(found) == [11, 12]


def test_the_scale_follows_the_book() -> None:
    desk = Desk()
    desk.feed.snapshot(decode_snapshot(snapshot_payload([("1", "5")], [], 10), "BTCUSDT"))
    quantities = ["1", "99999999999", "2", "0.000000000001", "3"]
    for update_id, quantity in enumerate(quantities, 11):
        desk.feed.diffs(decode_diff(diff_payload([("1", quantity)], [], update_id, update_id)))
    scales = [one.scale.quantity for one in desk.drain() if isinstance(one, Extend)]
    assert scales == [8, 7, 7, 12, 12]
    assert desk.feed.sync.book.scale == Scale(8, 12)


@GAP
def test_nothing_is_queued_after_a_refusal() -> None:
    tape, desk = Tape(), Desk()
    desk.feed.snapshot(tape.snapshot())
    desk.drain()
    desk.sink.refuse(RecordingConflict("BTCUSDT", 1))
    desk.feed.diffs(*tape.diffs(3))
    desk.feed.broken(GapCause.DISCONNECT)
    desk.feed.snapshot(tape.snapshot())
    assert desk.drain() == []
