from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.store.segments import StoredSegment
from orderbook_desktop.storage.verification.stray_chunks import _windows

_SEGMENT = Segment("BTCUSDT", 1, 2, 9, 0, 0, 1, Scale())
_STORED = StoredSegment("s", _SEGMENT, 1, 0, 0, "recorder")

times = st.integers(0, 10**12)
counts = st.sampled_from([0, 1, 1_000, 10**8])


def stored(begin_ms: int, end_ms: int, events: int) -> StoredSegment:
    segment = replace(_SEGMENT, first_event_ms=begin_ms, last_event_ms=end_ms, event_count=events)
    return replace(_STORED, segment=segment)


@given(st.lists(st.builds(stored, times, times, counts), max_size=4))
def test_windows_hold_every_minute_once_and_few_of_a_segment(found: list[StoredSegment]) -> None:
    windows = list(_windows(found))
    at = 0
    for first, end in windows:
        assert first == at < end
        at = end
    assert at == 1 << 48
    for one in found:
        begin = one.segment.first_event_ms // 60_000
        last = one.segment.last_event_ms // 60_000
        for first, end in windows[:2000]:
            inside = min(end, last + 1) - max(first, begin)
            # Each chunk has a minute, and an event.
            count = one.segment.event_count
            assert not count or inside <= 1 + 720 * max(1, (last + 1 - begin) / count)


@pytest.mark.parametrize("count", [1, 2_000])
def test_few_windows_do_for_a_clock_that_was_centuries_off(count: int) -> None:
    assert len(list(_windows([stored(0, 2**63 - 1, count)]))) <= 2 + count / 720
    assert len(list(_windows([stored(2**63 - 1, 0, count)]))) <= 2 + count / 720


def test_few_windows_do_for_thousands_of_segments() -> None:
    """Two a minute, all of them short."""
    found = [stored(number * 30_000, number * 30_000 + 9_000, 90) for number in range(5_000)]
    assert len(list(_windows(found))) <= 1 + 2 * 5_000 / 720
