"""The main job end to end: exchange → MongoDB → change stream → book, also with disturbances."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.exchange.local import write_capture
from tests.app.capture_truth import Truth, read_truth
from tests.app.main_job import TIMES, Checking, Findings
from tests.app.play_faults import (
    Blow,
    kill_database,
    snapshot_faults,
    stream_faults,
    striking,
)
from tests.unhurried import SERVER_TIMES

# A quarter of a minute without disturbances.
_SPEED = 12.0
# This is slow enough for a busy machine; the disturbances take up to a minute and a half.
_SPEED_OF_FAULTS = 1.8
_SILENCE_S = 2.0


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Three minutes of a made-up BTCUSDT, with tickers as an independent witness."""
    path = tmp_path_factory.mktemp("capture") / "btcusdt.jsonl.gz"
    return read_truth(write_capture(path, seed=11, seconds=180, snapshot_levels=1000))


def _is_whole(findings: Findings, truth: Truth) -> None:
    """Check that no event is missing, and that the witness was compared in all places."""
    assert findings.segments == ["open"]
    assert findings.in_segments + findings.loose == len(truth.diffs)
    assert findings.tickers_live[0] > len(truth.diffs) * 0.9


def _is_whole_but_for(blows: list[Blow], findings: Findings, truth: Truth) -> None:
    """Check that each fault happened, and left a gap with its own cause, or no gap."""
    causes = [blow.cause.value for blow in blows if blow.cause is not None]
    assert findings.segments == [*causes, "open"]
    assert findings.in_segments + findings.loose + findings.in_gaps == len(truth.diffs)
    ordered: Counter[str] = Counter()
    for blow in blows:
        ordered.update({fault.kind.value: fault.count for fault in blow.faults})
    assert ordered <= findings.faults
    assert findings.tickers_live[0] > findings.in_segments * 0.9
    assert findings.archived > 0


async def test_everything_shown_and_recorded_is_the_true_book(truth: Truth, tmp_path: Path) -> None:
    findings = await Checking(truth, _SPEED).run(tmp_path)
    _is_whole(findings, truth)
    assert findings.tickers_recorded[0] > len(truth.diffs) * 0.9


@pytest.mark.timeout(400, method="thread")
@pytest.mark.allows_log(".*")
async def test_with_every_fault_of_the_stream_the_book_is_true_outside_honest_gaps(
    truth: Truth, tmp_path: Path
) -> None:
    blows = stream_faults(_SILENCE_S * 2)
    checking = Checking(truth, _SPEED_OF_FAULTS, _SILENCE_S, archives=True)
    findings = await checking.run(tmp_path, striking(blows))
    _is_whole_but_for(blows, findings, truth)


@pytest.mark.timeout(400, method="thread")
@pytest.mark.allows_log(".*")
async def test_with_every_fault_of_a_request_the_book_is_true_outside_honest_gaps(
    truth: Truth, tmp_path: Path
) -> None:
    blows = snapshot_faults()
    checking = Checking(truth, _SPEED_OF_FAULTS, archives=True)
    findings = await checking.run(tmp_path, striking(blows))
    _is_whole_but_for(blows, findings, truth)


@pytest.mark.timeout(400, method="thread")
@pytest.mark.allows_log(".*")
async def test_killing_the_database_ten_times_loses_nothing(truth: Truth, tmp_path: Path) -> None:
    # Otherwise each restart would wait longer than the one before.
    times = replace(TIMES, server=replace(SERVER_TIMES, stable_s=0.2))
    findings = await Checking(truth, _SPEED_OF_FAULTS, times=times).run(
        tmp_path, kill_database(10, 0.5)
    )
    _is_whole(findings, truth)
