from __future__ import annotations

from dataclasses import replace

from orderbook_desktop.core.segments import Gap, GapCause, Segment, gaps_between
from orderbook_desktop.core.units import Scale

FIRST = Segment(
    market="BTCUSDT",
    snapshot_id=9,
    first_id=10,
    last_id=20,
    first_event_ms=1000,
    last_event_ms=2000,
    event_count=3,
    scale=Scale(),
    end_cause=GapCause.DISCONNECT,
    end_detail="reset by peer",
)
SECOND = replace(
    FIRST,
    snapshot_id=40,
    first_id=38,
    last_id=50,
    first_event_ms=5000,
    last_event_ms=6000,
    end_cause=None,
)
THIRD = replace(SECOND, snapshot_id=70, first_id=71, first_event_ms=9000)


def test_a_gap_reaches_from_the_last_event_to_the_next_snapshot() -> None:
    assert gaps_between([FIRST, SECOND, THIRD]) == [
        Gap("BTCUSDT", 20, 40, 2000, 5000, GapCause.DISCONNECT),
        # Nobody wrote why the second ended, and yet it did.
        Gap("BTCUSDT", 50, 70, 6000, 9000, GapCause.CRASH),
    ]


def test_one_segment_leaves_no_gap() -> None:
    assert gaps_between([]) == []
    assert gaps_between([FIRST]) == []


def test_every_cause_can_be_told_and_stored() -> None:
    sentences = {cause.sentence for cause in GapCause}
    assert len(sentences) == len(GapCause)
    assert all(GapCause(cause.value) is cause for cause in GapCause)
