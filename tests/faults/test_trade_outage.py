from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.trade_outage import check, most_in_a_minute

# `python -m tests.faults.trade_outage` does twenty, and misses 20,000 trades.
KILLS = int(os.environ.get("KILLS", "1"))


@pytest.mark.timeout(240 + KILLS * 40)
# The probe's own client says so when it can't close a cursor of the database that was killed.
@pytest.mark.allows_log("MongoClient background task encountered an error")
async def test_missed_trades_are_made_up_for_through_kills(tmp_path: Path) -> None:
    # So slow that a busy machine keeps up.
    outage, findings = await check(tmp_path / "data", 400, KILLS, seed=KILLS, speed=30)
    assert outage.kills.total() == KILLS
    assert findings.trades.sent > findings.trades.repaired_count > 300


def test_the_busiest_minute_is_found() -> None:
    assert most_in_a_minute([]) == 0
    assert most_in_a_minute([0, 10, 59_999, 60_000, 60_005, 200_000]) == 4
