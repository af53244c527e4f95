from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.kill_matrix import check

# `python -m tests.faults.kill_matrix` does fifty.
KILLS = int(os.environ.get("KILLS", "6"))


@pytest.mark.timeout(120 + KILLS * 15)
async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    done, findings = await check(tmp_path / "data", KILLS, seed=KILLS)
    assert done.total() == KILLS
    assert findings.acknowledged > 0
