"""The main job end to end: exchange → MongoDB → change stream → book, also when disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.exchange.local import write_capture
from tests.app.main_job import Truth, check, every_fault, kill_database, read_truth

_SPEED = 6.0


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Two minutes of a made-up BTCUSDT, with tickers as an independent witness."""
    path = tmp_path_factory.mktemp("capture") / "btcusdt.jsonl.gz"
    return read_truth(write_capture(path, seed=11, seconds=120, snapshot_levels=1000))


async def test_everything_shown_and_recorded_is_the_true_book(truth: Truth, tmp_path: Path) -> None:
    findings = await check(truth, tmp_path, _SPEED * 2)
    assert findings.events_stored == len(truth.diffs)
    assert findings.segments == ["open"]
    assert min(findings.tickers_live[0], findings.tickers_recorded[0]) > len(truth.diffs) * 0.9


@pytest.mark.timeout(150, method="thread")
@pytest.mark.allows_log(".*")
async def test_with_every_fault_it_is_so_outside_honest_gaps(truth: Truth, tmp_path: Path) -> None:
    findings = await check(truth, tmp_path, _SPEED, every_fault(0.6, 0.0))
    causes = set(findings.segments)
    assert {"feed gap", "malformed message", "disconnect", "open"} <= causes
    # After a few breaks in a row the feed pauses; how many more it sees is a matter of time.
    assert len(findings.segments) >= 4
    assert findings.events_stored + findings.events_in_gaps == len(truth.diffs)
    assert findings.tickers_live[0] > 50
    happened = {"drop", "duplicate", "swap", "malformed", "disconnect", "close", "shutdown"}
    assert happened | {"http", "refuse"} <= set(findings.faults)


@pytest.mark.timeout(150, method="thread")
@pytest.mark.allows_log(".*")
async def test_killing_the_database_ten_times_loses_nothing(truth: Truth, tmp_path: Path) -> None:
    findings = await check(truth, tmp_path, _SPEED, kill_database(10, 1.5))
    assert findings.events_stored == len(truth.diffs)
    assert findings.segments == ["open"]
