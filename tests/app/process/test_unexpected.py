"""Uncaught exceptions of Qt's callbacks, the loop and threads end in the log, once each."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.process.unexpected import UnexpectedErrors


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


@pytest.mark.expects_log(r"ERROR .*unexpected: unexpected exception in ")
@pytest.mark.parametrize(
    "cause", [_in_a_slot, _in_an_override, _in_a_callback_of_the_loop, _in_a_thread]
)
async def test_it_is_logged_and_told(cause: Callable[[], None]) -> None:
    heard: list[BaseException] = []
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    with UnexpectedErrors(heard.append).caught(asyncio.get_running_loop()):
        cause()
        async with asyncio.timeout(60):
            while not heard:
                await asyncio.sleep(0.01)
    assert "a bug" in str(heard[0])
    assert hooks == (sys.excepthook, sys.unraisablehook, threading.excepthook)


@pytest.mark.expects_log(r"ERROR .*unexpected: unexpected exception in ")
async def test_the_same_one_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BaseException] = []
    loop = asyncio.get_running_loop()
    with UnexpectedErrors(heard.append).caught(loop):
        for _ in range(5):
            loop.call_soon(_fail)
        for _ in range(10):
            await asyncio.sleep(0.01)
    assert len(heard) == 1
    assert len(caplog.records) == 1
