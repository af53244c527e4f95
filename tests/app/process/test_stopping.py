"""Requests to end take effect on Qt's loop at once, and the old handlers are restored."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from orderbook_desktop.app.process.stopping import Deadline, stop_on_signals
from orderbook_desktop.system.tasks import Workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends itself signals")

_NUMBERS = ["SIGINT", "SIGTERM", "SIGHUP"]

_STUCK = """
import threading
from orderbook_desktop.app.process.stopping import leave
from orderbook_desktop.system.tasks import Workers

workers = Workers()
begun = threading.Event()
workers.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
workers.shutdown()
print("closed", flush=True)
leave(3)
"""


@pytest.mark.parametrize("name", _NUMBERS)
async def test_a_signal_sets_the_event(name: str) -> None:
    number = signal.Signals[name]
    # The parent process of the tests may ignore the signal.
    before = signal.signal(number, signal.SIG_DFL)
    stop = asyncio.Event()
    try:
        with stop_on_signals(stop):
            # No timer wakes the loop before this one.
            async with asyncio.timeout(60):
                os.kill(os.getpid(), number)
                await stop.wait()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_deadline_that_has_not_begun_or_is_over_does_nothing() -> None:
    ended: list[bool] = []
    with Deadline(0.0, lambda: ended.append(True)):
        pass
    with Deadline(3600.0, lambda: ended.append(True)) as deadline:
        deadline.begin()
        deadline.begin()
    deadline.begin()
    for thread in threading.enumerate():
        if thread.name == "deadline":
            thread.join(60)
    assert ended == []


def test_a_deadline_ends_once() -> None:
    ended = threading.Event()
    with Deadline(0.0, ended.set) as deadline:
        deadline.begin()
        assert ended.wait(60)


async def test_ctrl_c_ends_what_a_script_began_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = asyncio.Event()
    try:
        with stop_on_signals(stop):
            async with asyncio.timeout(60):
                os.kill(os.getpid(), signal.SIGINT)
                await stop.wait()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_an_ignored_end_of_the_terminal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = asyncio.Event()
    try:
        with stop_on_signals(stop):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_shutting_down_does_not_wait() -> None:
    workers, release, begun = Workers(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    working = workers.submit(work)
    begun.wait()
    workers.shutdown()
    assert not working.done()
    release.set()
    working.result()


def test_the_program_ends_although_a_thread_is_stuck() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "closed\n", "")


def test_an_idle_program_ends_with_its_code() -> None:
    script = "from orderbook_desktop.app.process.stopping import leave; leave(4)"
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == 4
