"""The program's commands, run in their own processes, as by a person."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_command(
    folder: Path, *arguments: str, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command on the data folder `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "orderbook_desktop", *arguments],
        env={**os.environ, "ORDERBOOK_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert "Traceback" not in done.stderr
    return done
