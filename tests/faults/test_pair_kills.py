from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.pair_kills import check

# `python -m tests.faults.pair_kills` does thirty.
KILLS = int(os.environ.get("KILLS", "3"))


@pytest.mark.timeout(300 + KILLS * 40)
@pytest.mark.allows_log("can't be reached|ended without being closed")
# The exchange writes to a recorder that was killed.
@pytest.mark.allows_log(r"socket.send\(\) raised exception")
async def test_two_recorders_of_a_market_heal_each_others_gaps(tmp_path: Path) -> None:
    findings, books = await check(tmp_path, KILLS, seed=KILLS)
    assert findings.archived > 0
    assert findings.trades.acknowledged > 0
    assert books > 0
