"""The local exchange as a process of its own, so that its work is not measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.capture_data import capture_path


@contextmanager
def exchange_process(
    port: int, speed: float, folder: Path, *, loop: bool = False
) -> Iterator[None]:
    """Play the capture on `port`; `folder` is for what it writes. It may not listen yet."""
    play = ["exchange", "--port", str(port), "--play", str(capture_path(folder))]
    command = [sys.executable, "-m", "orderbook_desktop", *play, "--speed", str(speed)]
    more = ["--loop"] if loop else []
    process = subprocess.Popen(
        [*command, *more, "--data-dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
