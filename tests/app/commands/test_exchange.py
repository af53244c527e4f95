"""The command `exchange`: it prints its addresses, plays to the end, and ends on request."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def _exchange(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orderbook_desktop", "exchange", *arguments],
        env={**os.environ, "ORDERBOOK_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.cold_start
@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_the_exchange_serves_until_it_is_asked_to_end(tmp_path: Path) -> None:
    with _exchange(tmp_path, "--port", "0") as process:
        assert _line(process).startswith("Exchange ready")
        found = re.search(r"ORDERBOOK_WS_URL=ws://127.0.0.1:(\d+)", _line(process))
        assert found is not None
        assert _line(process) == "Ctrl-C stops it.\n"
        with socket.create_connection(("127.0.0.1", int(found[1])), 60):
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "")


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with _exchange(tmp_path, "--port", port) as process:
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.startswith(f"orderbook-desktop: Port {port} is already in use")
    assert output.count("\n") == 1
