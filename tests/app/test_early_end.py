"""Requests to end while no event loop waits for one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orderbook_desktop.app.early_end import STOPPING, EndAtOnce, ignore_requests

_ENDS = """
import os, signal
from orderbook_desktop.app.early_end import EndAtOnce, ignore_requests

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

late = Late()
with EndAtOnce(1, "Stopped."):
    ignore_requests()
raise SystemExit(3)
"""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_afterwards_requests_are_heard_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with EndAtOnce(1):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_requests_that_are_ignored_stay_so() -> None:
    with EndAtOnce(1), EndAtOnce(2):
        ignore_requests()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_a_request_in_the_last_moment_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENDS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
