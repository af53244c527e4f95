"""Work that Ctrl-C breaks off."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from orderbook_desktop.app.interruptible import Interrupted, run_interruptibly


def test_its_result_and_its_error() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise LookupError("no")
        return 7

    assert run_interruptibly(work(fails=False), "nothing was done") == 7
    with pytest.raises(LookupError):
        run_interruptibly(work(fails=True), "nothing was done")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_it(number: signal.Signals) -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(Interrupted, match=r"Stopped; nothing was done\."):
        run_interruptibly(work(), "nothing was done")
    assert cleaned == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_what_is_done_all_the_same_counts() -> None:
    async def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        raise AssertionError

    assert run_interruptibly(work(), "nothing was done") == 7
