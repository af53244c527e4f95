from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.kill_matrix import check

# `python -m tests.faults.kill_matrix` does fifty.
KILLS = int(os.environ.get("KILLS", "4"))
# With this one the four hit app, database and both, while it starts and later.
_SEED = 10


@pytest.mark.timeout(240 + KILLS * 40)
# The probe's own client says so when it can't close a cursor of the database that was killed.
@pytest.mark.allows_log("MongoClient background task encountered an error")
async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    # So slow that a busy machine keeps up.
    done, findings = await check(tmp_path / "data", KILLS, _SEED, speed=30)
    assert done.total() == KILLS
    assert findings.acknowledged > 0
    assert findings.trades.acknowledged > 0
