from __future__ import annotations

from orderbook_desktop.core.segments import GapCause, TimesSeen


def test_every_cause_can_be_told_and_stored() -> None:
    sentences = {cause.sentence for cause in GapCause}
    assert len(sentences) == len(GapCause)
    assert all(GapCause(cause.value) is cause for cause in GapCause)


def test_how_far_a_clock_went_back() -> None:
    seen = TimesSeen(0)
    for event_ms, wanted in (
        (500, TimesSeen(500, 0)),
        (700, TimesSeen(700, 0)),
        (600, TimesSeen(700, 100)),
        (650, TimesSeen(700, 100)),
        (900, TimesSeen(900, 100)),
        (750, TimesSeen(900, 150)),
    ):
        seen = seen.and_then(event_ms)
        assert seen == wanted


def test_the_stream_goes_on_where_no_event_was_lost_by_us() -> None:
    going_on = {cause for cause in GapCause if cause.stream_goes_on}
    assert going_on == {GapCause.FEED_GAP, GapCause.CROSSED, GapCause.TOO_WIDE}
