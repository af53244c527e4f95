"""Long work of a command: Ctrl-C cancels it, and a terminal shows its progress."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from orderbook_desktop.app.commands.long_work import Interrupted, WorkProgress, run_interruptibly


def _plus_ten(result: int) -> int:
    return result + 10


def test_result_and_error_of_the_work_come_back() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise LookupError("no")
        return 7

    assert run_interruptibly(work(fails=False), "nothing was done", _plus_ten) == 17
    with pytest.raises(LookupError):
        run_interruptibly(work(fails=True), "nothing was done", _plus_ten)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_work(number: signal.Signals) -> None:
    cleaned: list[bool] = []

    async def work() -> int:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)
        raise AssertionError

    with pytest.raises(Interrupted, match=r"Stopped; nothing was done\."):
        run_interruptibly(work(), "nothing was done", _plus_ten)
    assert cleaned == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_work_that_completes_despite_a_signal_counts() -> None:
    async def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        raise AssertionError

    assert run_interruptibly(work(), "nothing was done", _plus_ten) == 17


_PROGRAM = """
import asyncio, os, signal, sys, time
from orderbook_desktop.app.commands.long_work import run_interruptibly

async def work():
    if sys.argv[1] == "the loop learns nothing":
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    if sys.argv[1] == "busy":
        asyncio.get_running_loop().call_later(0.1, time.sleep, 60)
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

def tell(result):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

run_interruptibly(work(), "nothing was done", tell, done=sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
@pytest.mark.parametrize(
    ("when", "done", "code", "sentence"),
    [
        ("busy", "", 1, "Stopped; nothing was done."),
        ("the loop learns nothing", "", 1, "Stopped; nothing was done."),
        ("telling", "", 1, "Stopped; nothing was done."),
        ("telling", "all was done", 0, "Stopped; all was done."),
    ],
)
def test_a_signal_ends_work_that_ignores_cancelling(
    when: str, done: str, code: int, sentence: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, when, done],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (ended.returncode, ended.stderr) == (code, f"orderbook-desktop: {sentence}\n")


def _shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with WorkProgress("Reading", console) as progress:
        progress.show(None, "Reading (1,000 messages)")
        progress.show(0.25, "Writing")
        progress.show(1.5)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_terminal_shows_a_bar() -> None:
    shown = _shown(terminal=True)
    assert "Writing" in shown
    assert "100%" in shown


def test_without_a_terminal_there_is_no_bar() -> None:
    assert _shown(terminal=False) == ""
