"""What every test gets: a fresh user, no network, the right event loop, and leak checks."""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

# Before anything imports Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Else each process of the test run would compile the tests and the program anew.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

import pytest
import pytestqt.plugin
import qasync
from PySide6.QtWidgets import QApplication, QWidget
from pytest_asyncio import is_async_test
from pytestqt.qtbot import QtBot
from typing_extensions import override

from tests.child_signals import send_without_looking
from tests.examples import register_profiles

pytest_plugins = [
    "tests.isolation",
    "tests.log_watch",
    "tests.warm_starts",
    "tests.leaks",
    "tests.storage.recording_fixtures",
]

# Async tests in these folders run on Qt's event loop, as the program does.
_QT_FOLDERS = {"gui", "desk", "engine", "app"}
_qt_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

# Shared machines are slow at times; only a real hang is a failure (pytest-timeout).
_HANGS_AFTER_S = 240
_BOT_PATIENCE_MS = 30_000

sys.dont_write_bytecode = False
register_profiles()
send_without_looking()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loop by the folder of the test."""
    if _on_qt(config, item):
        return {"qt": _qt_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_xdist_auto_num_workers() -> int:
    """Choose more workers than cores, up to six: most tests wait for other processes."""
    return min(6, (os.cpu_count() or 1) + 3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have hanging tests ended; on Qt's loop by a thread: a signal waits until Python wakes."""
    for item in items:
        on_qt = is_async_test(item) and _on_qt(config, item)
        # Behind the marks of the test itself, which count first.
        item.add_marker(pytest.mark.timeout(_HANGS_AFTER_S, method="thread" if on_qt else None))


class PatientBot(QtBot):
    """Pytest-qt's bot, which waits longer unless it is told how long: the machine may be busy."""

    @override
    def waitActive(self, widget: QWidget, *, timeout: int = _BOT_PATIENCE_MS) -> Any:
        """Wait until `widget` is active."""
        return super().waitActive(widget, timeout=timeout)

    @override
    def waitExposed(self, widget: QWidget, *, timeout: int = _BOT_PATIENCE_MS) -> Any:
        """Wait until `widget` is on screen."""
        return super().waitExposed(widget, timeout=timeout)

    @override
    def waitSignal(self, signal: Any, *, timeout: int = _BOT_PATIENCE_MS, **options: Any) -> Any:
        """Wait for `signal`."""
        return super().waitSignal(signal, timeout=timeout, **options)

    @override
    def waitUntil(
        self, callback: Callable[[], bool | None], *, timeout: int = _BOT_PATIENCE_MS
    ) -> None:
        """Wait until `callback` returns true, or raises no more."""
        super().waitUntil(callback, timeout=timeout)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    """Return a bot for the widgets of a test."""
    del qapp
    return PatientBot(request)


@pytest.fixture(scope="session", autouse=True)
def _qt(request: pytest.FixtureRequest) -> None:
    """Make Qt's application before the first event loop that runs on it."""
    if any(is_async_test(item) and _on_qt(request.config, item) for item in request.session.items):
        request.getfixturevalue("qapp")


@pytest.fixture(autouse=True)
def _application(request: pytest.FixtureRequest) -> None:
    if is_async_test(request.node) and _on_qt(request.config, request.node):
        # Closing the last window would end the loop under the test.
        request.getfixturevalue("qapp").setQuitOnLastWindowClosed(False)


def _on_qt(config: pytest.Config, item: pytest.Item) -> bool:
    return not _QT_FOLDERS.isdisjoint(item.path.relative_to(config.rootpath).parts)


class _QtLoop(qasync.QEventLoop):  # type: ignore[misc] # it has no types
    """Qasync's loop, which lets no event happen while it rests.

    Its own `run_until_complete` does so once at its end: a task of a fixture, due just then, would
    find that no loop runs.
    """

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` is done; return its result."""
        task = asyncio.ensure_future(future, loop=self)

        def stop(_task: object) -> None:
            self.stop()

        task.add_done_callback(stop)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(stop)
        assert task.done(), "the loop was stopped before"
        return task.result()


def _qt_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = _QtLoop(QApplication.instance())
    _qt_loops.add(loop)
    return loop


def _process_events() -> None:
    """Let Qt's events happen, unless a loop rests: its tasks would find that no loop runs."""
    if all(loop.is_closed() for loop in _qt_loops):
        _process_any_events()


# pytest-qt's, between the parts of a test.
_process_any_events: Callable[[], None] = pytestqt.plugin._process_events
pytestqt.plugin._process_events = _process_events
