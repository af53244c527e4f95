"""A capture made by the project itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.exchange.local import write_capture


@pytest.fixture(scope="package")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of BTCUSDT: 120 diffs, tickers, trades and a late snapshot."""
    return write_capture(
        tmp_path_factory.mktemp("captures") / "btcusdt.jsonl.gz",
        seed=7,
        seconds=12,
        snapshot_levels=1000,
    )
