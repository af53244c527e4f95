from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no child watchers")


async def test_a_signal_to_a_child_that_just_ended_takes_no_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waitpid, signalled = os.waitpid, threading.Event()

    def late(pid: int, options: int) -> tuple[int, int]:
        if threading.current_thread() is not threading.main_thread():
            signalled.wait(60)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", late)
    child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "raise SystemExit(3)")
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)  # noqa: ASYNC251 - the loop may not hear of the end yet
    for send in (child.kill, child.terminate, lambda: child.send_signal(2)):
        with contextlib.suppress(ProcessLookupError):
            send()
    signalled.set()
    assert await child.wait() == 3
