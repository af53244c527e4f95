"""From starting the program to its first paint, and to a live book, warm, from source.

Runs the real command on Qt's offscreen platform, several times; `first_paint` is the end of
the window's first paint event, `live book` the first paint that shows a synchronised book of
the demo exchange that runs beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orderbook_desktop.system.ports import private_port
from tests.bench.targets import Targets

_RUNS = 8
_TARGETS_S = {"first paint": 0.6, "live book": 5.0}


@contextmanager
def _exchange(port: int, folder: str) -> Iterator[None]:
    command = [sys.executable, "-m", "orderbook_desktop", "exchange", "--port", str(port)]
    process = subprocess.Popen([*command, "--data-dir", folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def _run(port: int, folder: str) -> dict[str, float]:
    """Start the window once; return seconds since the start by event."""
    settings = {
        "QT_QPA_PLATFORM": "offscreen",
        "ORDERBOOK_DATA_DIR": folder,
        "ORDERBOOK_REST_URL": f"http://127.0.0.1:{port}",
        "ORDERBOOK_WS_URL": f"ws://127.0.0.1:{port}",
        # A person's second start finds the modules compiled.
        "PYTHONDONTWRITEBYTECODE": "",
    }
    began = time.time_ns()
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.watched_start"],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    times = dict(line.rsplit(" ", 1) for line in told.splitlines())
    return {name: (int(at) - began) / 1e9 for name, at in times.items()}


def main() -> int:
    targets = Targets()
    port = private_port()
    with tempfile.TemporaryDirectory() as folder, _exchange(port, folder):
        runs = [_run(port, str(Path(folder) / "data")) for _ in range(_RUNS + 1)][1:]
    for name in runs[0]:
        values = [run[name] for run in runs]
        median = statistics.median(values)
        verdict = targets.at_most(median, _TARGETS_S[name])
        print(
            f"{name:12} median {median:.3f} s   "
            f"min {min(values):.3f}   max {max(values):.3f}   ({_RUNS} runs) {verdict}"
        )
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
