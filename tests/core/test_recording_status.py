"""How a recording is doing, in words."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.recording_status import RepairProgress


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
