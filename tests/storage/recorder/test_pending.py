from __future__ import annotations

import gc
import tracemalloc

from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.units import INT64_MAX, Scale
from orderbook_desktop.storage.recorder.pending import (
    Checkpoint,
    Close,
    Extend,
    Open,
    OpenSegment,
    PendingWrites,
    stream_of,
)
from orderbook_desktop.storage.store.checkpoints import NewBook
from orderbook_desktop.storage.store.event_documents import Insert
from tests.storage.recording_fixtures import Tape


def queue(limit_bytes: int = 100_000) -> PendingWrites:
    return PendingWrites(limit_bytes, lambda: None)


def test_keeps_the_order_and_counts_until_forgotten() -> None:
    pending, tape = queue(), Tape()
    inserts = [Insert.of(diff) for diff in tape.diffs(3)]
    for insert in inserts:
        pending.add(insert)
    assert pending.first(2) == inserts[:2]
    assert pending.first(9) == inserts
    used = pending.used_bytes
    assert used >= sum(len(insert.payload) for insert in inserts)
    assert pending.take_first() is inserts[0]
    assert (len(pending), pending.events, pending.used_bytes) == (2, 3, used)
    pending.forget(inserts[0])
    assert pending.events == 2
    for _ in range(2):
        pending.forget(pending.take_first())
    assert (len(pending), pending.events, pending.used_bytes) == (0, 0, 0)


def test_is_full_at_the_bound_and_relaxed_at_half() -> None:
    pending, tape = queue(10_000), Tape()
    assert pending.relaxed
    while not pending.full:
        pending.add(Insert.of(tape.diff()))
    assert not pending.relaxed
    assert 10_000 <= pending.used_bytes < 12_000
    while not pending.relaxed:
        pending.forget(pending.take_first())
    assert pending.used_bytes <= 5_000


def test_every_operation_knows_its_market_and_its_weight() -> None:
    tape = Tape()
    sync = DepthSync()
    sync.receive_snapshot(tape.snapshot())
    image = image_of(sync.book, tape.market)
    segment = OpenSegment(Stream(tape.market, DEPTH), 1, 0, Scale())
    for operation in (
        Insert.of(tape.diff()),
        Open(segment, NewBook.of(tape.snapshot())),
        Extend(segment, 1, 2, 3, Scale()),
        Checkpoint(segment, NewBook.of(image)),
        Close(segment, GapCause.USER, ""),
    ):
        pending = queue()
        pending.add(operation)
        assert stream_of(operation) == Stream(tape.market, DEPTH)
        assert 100 < pending.used_bytes < 20_000


def test_the_count_of_memory_is_no_understatement() -> None:
    tape = Tape()
    tape.diff()
    gc.collect()
    tracemalloc.start()
    pending = queue(10**9)
    segment = OpenSegment(Stream(tape.market, DEPTH), 1, 0, Scale())
    for _ in range(2_000):
        insert = Insert.of(tape.diff(20))
        pending.add(insert)
        pending.add(Extend(segment, insert.first_id, insert.final_id, insert.event_ms, Scale()))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < pending.used_bytes


def test_a_segment_takes_events_in_and_ends() -> None:
    segment = OpenSegment(Stream("BTCUSDT", DEPTH), 10, 0, Scale())
    assert (segment.state.first_id, segment.state.last_id) == (11, 10)
    segment.extend(Extend(segment, 8, 12, 100, Scale()))
    segment.extend(Extend(segment, 13, 15, 200, Scale(9, 8)))
    segment.end(GapCause.SILENCE, "hm")
    state = segment.state
    assert (state.snapshot_id, state.first_id, state.last_id) == (10, 8, 15)
    assert (state.first_event_ms, state.last_event_ms, state.event_count) == (100, 200, 2)
    assert (state.scale, state.end_cause, state.end_detail) == (Scale(9, 8), GapCause.SILENCE, "hm")


def test_a_segment_begins_with_its_first_event_at_any_time_of_the_clock() -> None:
    segment = OpenSegment(Stream("BTCUSDT", DEPTH), 10, 0, Scale())
    segment.extend(Extend(segment, 11, 12, 0, Scale()))
    segment.extend(Extend(segment, 13, 15, 200, Scale()))
    assert (segment.state.first_event_ms, segment.state.last_event_ms) == (0, 200)


def test_ids_of_segments_stay_storable() -> None:
    assert OpenSegment(Stream("BTCUSDT", DEPTH), INT64_MAX, 0, Scale()).state.first_id == INT64_MAX
