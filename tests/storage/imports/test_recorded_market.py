"""Which runs fit between the recorded segments of a market."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.imports.recorded_market import ImportConflict, RecordedMarket
from orderbook_desktop.storage.store.segment_documents import StoredSegment


def segment(
    begin: int, end: int, times: tuple[int, int] | None = None, *, running: bool = False
) -> Segment:
    """A segment of the ids after `begin` through `end`; its times default to its ids."""
    first_ms, last_ms = times or (begin + 1, end)
    cause = None if running else GapCause.USER
    return Segment("BTCUSDT", begin, begin + 1, end, first_ms, last_ms, 7, Scale(), cause)


def recorded(*segments: Segment) -> RecordedMarket:
    stored = [
        StoredSegment(str(number), one, one.snapshot_id, 0, 0, "recorder")
        for number, one in enumerate(segments)
    ]
    return RecordedMarket("BTCUSDT", stored)


def is_free(market: RecordedMarket, *new: Segment) -> bool:
    try:
        market.check(new)
    except ImportConflict:
        return False
    return True


def test_runs_beside_and_between_segments_fit() -> None:
    market = recorded(segment(100, 200), segment(300, 400))
    assert is_free(market, segment(0, 100), segment(200, 300), segment(400, 500))
    assert is_free(market)
    assert is_free(recorded(), segment(0, 100))


@pytest.mark.parametrize(
    "new",
    [
        segment(100, 200),
        segment(199, 250),
        segment(150, 160),
        segment(50, 101),
        segment(50, 500),
        # Ids fit, times don't.
        segment(200, 300, (150, 250)),
        segment(200, 300, (250, 350)),
    ],
)
def test_a_run_that_overlaps_does_not_fit(new: Segment) -> None:
    assert not is_free(recorded(segment(100, 200), segment(300, 400)), new)


def test_a_segment_inside_another_hides_nothing() -> None:
    # Two recorders of one market leave such segments.
    two = recorded(segment(0, 1_000), segment(100, 200))
    assert not is_free(two, segment(300, 400))
    assert not is_free(two, segment(1_000, 1_100, (500, 600)))
    assert is_free(two, segment(1_000, 1_100))


def test_nothing_comes_after_a_running_one() -> None:
    market = recorded(segment(100, 200, running=True), segment(150, 180))
    assert is_free(market, segment(0, 100))
    assert not is_free(market, segment(300, 400))


def test_nothing_comes_after_one_that_only_just_began() -> None:
    begun = replace(segment(200, 200, (0, 0), running=True), event_count=0)
    market = recorded(segment(0, 100), begun)
    assert is_free(market, segment(100, 200))
    assert not is_free(market, segment(150, 250))
    assert not is_free(market, segment(200, 300))
    assert not is_free(market, segment(300, 400))
    ended = replace(begun, end_cause=GapCause.CRASH)
    assert is_free(recorded(ended), segment(150, 250))


def test_what_is_imported_together_needs_no_place_beside_itself() -> None:
    # The clock of a snapshot need not be that of the events before it.
    new = segment(0, 100, (0, 105)), segment(100, 200, (101, 200))
    assert is_free(recorded(), *new)
    assert is_free(recorded(segment(300, 400)), *new)
