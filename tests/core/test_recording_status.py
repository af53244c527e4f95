"""How a recording is doing, in words."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.recording_status import RecordingCounts, RepairProgress


@pytest.mark.parametrize(
    ("missing", "repaired", "text"),
    [
        (20_000, 7_000, "repairing 20,000 trades of BTC/USDT, 35 %"),
        (20_000, 19_999, "repairing 20,000 trades of BTC/USDT, 99 %"),
        (1, 0, "repairing 1 trade of BTC/USDT, 0 %"),
        (0, 0, "repairing 0 trades of BTC/USDT, 100 %"),
    ],
)
def test_the_progress_of_a_repair(missing: int, repaired: int, text: str) -> None:
    assert RepairProgress(missing, repaired).text("BTC/USDT") == text


def test_a_gap_counts_and_the_last_one_is_known() -> None:
    counts = RecordingCounts()
    counts.count_gap("first", 1_000)
    counts.count_gap("second", 2_000)
    assert (counts.gaps, counts.last_gap, counts.last_gap_ms) == (2, "second", 2_000)
