"""An alarm calls once, on the loop, and not before its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.system.alarm import ThreadAlarm

_MS = 1_000_000


@pytest.fixture
async def alarm() -> AsyncIterator[ThreadAlarm]:
    alarm = ThreadAlarm(asyncio.get_running_loop())
    yield alarm
    alarm.close()


async def test_it_calls_on_the_loop_and_never_early(alarm: ThreadAlarm) -> None:
    calls: list[tuple[int, threading.Thread]] = []
    rung = asyncio.Event()

    def ring() -> None:
        calls.append((time.monotonic_ns(), threading.current_thread()))
        rung.set()

    for wait_ns in (0, 3 * _MS, 20 * _MS):
        rung.clear()
        due_ns = time.monotonic_ns() + wait_ns
        alarm.set(wait_ns, ring)
        await rung.wait()
        at_ns, thread = calls[-1]
        assert at_ns >= due_ns
        assert thread is threading.current_thread()
    assert len(calls) == 3


async def test_only_what_was_set_last_is_called(alarm: ThreadAlarm) -> None:
    calls: list[str] = []
    rung = asyncio.Event()
    alarm.set(0, lambda: calls.append("first"))
    alarm.set(0, lambda: calls.append("second"))
    alarm.clear()

    def ring() -> None:
        calls.append("third")
        rung.set()

    alarm.set(5 * _MS, ring)
    await rung.wait()
    await asyncio.sleep(0)
    assert calls == ["third"]


async def test_a_closed_one_calls_nothing_and_has_no_thread() -> None:
    alarm = ThreadAlarm(asyncio.get_running_loop())
    calls: list[str] = []
    alarm.set(0, lambda: calls.append("late"))
    alarm.close()
    alarm.set(0, lambda: calls.append("later"))
    await asyncio.sleep(0)
    assert calls == []
    assert all(thread.name != "alarm" for thread in threading.enumerate())
