"""Qt's objects are destroyed in Qt's thread, and uncaught exceptions are logged, once each."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.process.event_loop import UnexpectedErrors, garbage_on_this_thread


class _Cycle(QObject):
    """A Qt object that only the garbage collector destroys; it notes the thread."""

    ended_on: list[int]

    def __init__(self, ended_on: list[int]) -> None:
        super().__init__()
        self.ended_on = ended_on
        self.itself = self

    def __del__(self) -> None:
        self.ended_on.append(threading.get_ident())


def _allocate(kept: list[Any]) -> None:
    kept.extend([[]] * 1 + [[number] for number in range(5_000)])


async def test_garbage_of_other_threads_is_collected_in_the_loops_thread() -> None:
    ended_on: list[int] = []
    gc.enable()
    try:
        with garbage_on_this_thread():
            assert not gc.isenabled()
            _Cycle(ended_on)
            kept: list[Any] = []
            await asyncio.to_thread(_allocate, kept)
            assert not ended_on
            async with asyncio.timeout(60):
                while not ended_on:
                    await asyncio.sleep(0.05)
        assert not gc.isenabled()
    finally:
        gc.disable()
    assert ended_on == [threading.get_ident()]


def _fail() -> None:
    raise ZeroDivisionError("a bug")


async def _fail_later() -> None:
    await asyncio.sleep(0)
    _fail()


class _Broken(QObject):
    def event(self, event: QEvent) -> bool:
        del event
        raise ZeroDivisionError("a bug in an override")


_BROKEN = _Broken()


def _in_a_slot() -> None:
    QTimer.singleShot(0, _fail)


def _in_an_override() -> None:
    QApplication.postEvent(_BROKEN, QEvent(QEvent.Type.User))


def _in_a_callback_of_the_loop() -> None:
    asyncio.get_running_loop().call_soon(_fail)


def _in_a_thread() -> None:
    thread = threading.Thread(target=_fail)
    thread.start()
    thread.join()


@pytest.mark.expects_log(r"ERROR .*event_loop: unexpected exception in ")
@pytest.mark.parametrize(
    "cause", [_in_a_slot, _in_an_override, _in_a_callback_of_the_loop, _in_a_thread]
)
async def test_an_uncaught_exception_is_logged_and_reported(cause: Callable[[], None]) -> None:
    reported: list[BaseException] = []
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    with UnexpectedErrors(reported.append).caught(asyncio.get_running_loop()):
        cause()
        async with asyncio.timeout(60):
            while not reported:
                await asyncio.sleep(0.01)
    assert "a bug" in str(reported[0])
    assert hooks == (sys.excepthook, sys.unraisablehook, threading.excepthook)


@pytest.mark.expects_log(r"ERROR .*event_loop: unexpected exception in ")
async def test_the_same_exception_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[BaseException] = []
    loop = asyncio.get_running_loop()
    with UnexpectedErrors(reported.append).caught(loop):
        for _ in range(5):
            loop.call_soon(_fail)
        for _ in range(10):
            await asyncio.sleep(0.01)
    assert len(reported) == 1
    assert len(caplog.records) == 1
