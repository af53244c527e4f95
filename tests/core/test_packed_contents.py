from __future__ import annotations

from orderbook_desktop.core.packed_contents import PackedContents, PackedRecording
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap, Timeline


def test_no_gap_of_a_file_is_of_this_session() -> None:
    gaps = tuple(Gap(at, at + 1, at, at, GapCause.USER, "") for at in (1, 5))
    recording = PackedRecording("BTC/USDT", Timeline((), gaps), 1, 2, 3)
    contents = PackedContents("a.obd", "/a.obd", 4, (recording,))
    (found,) = contents.recordings
    assert (found.gaps.gaps, found.gaps.in_session) == (gaps[::-1], 0)
