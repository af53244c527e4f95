"""What one recorder missed and another source has: which gap it was, and what filled it."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from orderbook_desktop.core.recorded_gaps import HealedGap
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.timeline import timeline_of
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.reading.healed_gaps import healed_gaps
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import Writer
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from tests.storage.imports.made import Collected, imported
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf

ONE, TWO = Writer("1", "", 11), Writer("2", "host-2", 22)


def _stored(
    first: int, last: int, writer: Writer | None, cause: GapCause | None = GapCause.DISCONNECT
) -> StoredSegment:
    """Return the segment of the events from `first` to `last`, one a second; None: an import."""
    segment = Segment(
        "BTCUSDT", first - 1, first, last, first * 1_000, last * 1_000, last - first + 1, Scale(),
        cause,
    )  # fmt: skip
    origin = "import" if writer is None else "recorder"
    return StoredSegment(f"{first} {origin}", segment, last, 1, 1, origin, writer=writer)


def _healed(*segments: StoredSegment) -> list[HealedGap]:
    timeline = timeline_of((stored.id, stored.segment) for stored in segments)
    return healed_gaps(timeline, segments)


def _told(*segments: StoredSegment) -> list[tuple[int, int, int, int, str]]:
    return [
        (gap.from_ms, gap.to_ms, gap.first_missing, gap.last_missing, gap.by)
        for gap in _healed(*segments)
    ]


BY_TWO = "another recorder on host-2 (process 22)"


def test_another_recorder_has_what_one_missed() -> None:
    whole = (_stored(1, 10, ONE), _stored(5, 40, TWO), _stored(30, 50, ONE))
    assert _told(*whole) == [
        (10_000, 30_000, 11, 29, BY_TWO),
        # The other one ended, too, and the first one had gone on by then.
        (40_000, 50_000, 41, 50, "another recorder (process 11)"),
    ]
    assert _healed(*whole)[0].cause is GapCause.DISCONNECT
    # The first one never came back, or its later segment is one with the other's.
    assert _told(*whole[:2]) == [(10_000, 40_000, 11, 40, BY_TWO)]
    # After the archiver's work the one begins where the other one ends.
    moved = (whole[0], _stored(11, 40, TWO), _stored(41, 50, ONE, None))
    assert [gap[4] for gap in _told(*moved)] == [BY_TWO, "another recorder (process 11)"]


def test_what_nothing_has_is_a_gap_and_not_healed() -> None:
    assert _healed(_stored(1, 10, ONE), _stored(20, 30, TWO)) == []
    assert _healed(_stored(1, 10, ONE)) == []
    # One recorder lost its connection, but no event.
    assert _healed(_stored(1, 10, ONE), _stored(11, 20, ONE)) == []
    # A recorder that goes on within the other one has no gap.
    assert _healed(_stored(1, 10, ONE, None), _stored(5, 20, TWO)) == []


def test_an_import_fills_a_gap_wholly_or_in_part() -> None:
    begin, end = _stored(1, 10, ONE, GapCause.CRASH), _stored(40, 50, ONE)
    whole = (begin, _stored(11, 20, None), _stored(21, 39, None), end)
    assert _told(*whole) == [(10_000, 40_000, 11, 39, "an import")]
    assert _told(begin, _stored(15, 20, None), end) == [(15_000, 20_000, 15, 20, "an import")]
    # An import of what came before, after, or elsewhere heals nothing.
    assert _healed(_stored(1, 10, None), _stored(11, 20, ONE)) == []
    assert _healed(begin, _stored(11, 20, None)) == []


def test_an_unknown_recorder_is_another_one() -> None:
    late = replace(_stored(5, 20, None), origin="recorder", id="late")
    assert [gap[4] for gap in _told(_stored(1, 10, ONE), late)] == ["another recorder"]


async def test_an_import_into_a_recorded_gap(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(70)
    tape, shelf = Tape(step_ms=700), Shelf(database)
    first = await shelf.put(tape, 20, GapCause.DISCONNECT)
    tape.diffs(10)
    await shelf.put(tape, 40, GapCause.USER)
    (before,) = await summaries(database)
    assert (len(before.timeline.gaps), before.healed) == (1, ())
    (gap,) = before.timeline.gaps
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.events, done.known) == (10, 60)
    (after,) = await summaries(database)
    (healed,) = after.healed
    assert after.timeline.gaps == ()
    assert (healed.cause, healed.by) == (GapCause.DISCONNECT, "an import")
    assert healed.from_ms == gap.from_ms == first.events[-1].event_ms
    assert (healed.first_missing, healed.to_ms) == (gap.first_missing, gap.to_ms)
