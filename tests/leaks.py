"""A test ends all that it starts: asyncio tasks, threads and child processes.

What is only just ending gets a moment; what is still there after it fails the test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import psutil
import pytest
from pytest_asyncio import is_async_test

from tests.warm_starts import nursery_pids

OwnChildren = Callable[[], list[psutil.Process]]

_GRACE_S = 10.0
_POLL_S = 0.01


def pytest_collection_finish() -> None:
    """Spare the collections after each test what was imported before the first.

    There are no others: a collection on some thread would end Qt's objects there, and their
    timers would fire into nothing.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Spare the collections also what is left behind a module: imported modules, and caches.

    Only there, when no fixture of the module lives: all objects that a test makes are collected.
    """
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves threads or child processes behind."""
    children_before = set(_children())
    threads_before = set(threading.enumerate())
    yield
    # Sockets, files and coroutines that were dropped unclosed tell so now, in their own test.
    gc.collect()
    threads = _left_after_a_while(lambda: _threads_left(threads_before))
    children = _left_after_a_while(
        lambda: [one for one in _children() if one not in children_before]
    )
    if threads:
        pytest.fail(f"threads left: {', '.join(map(repr, threads))}", pytrace=False)
    if children:
        pytest.fail(f"child processes left: {', '.join(map(str, children))}", pytrace=False)


@pytest.fixture
def own_children() -> OwnChildren:
    """List the children that the test has started, and theirs; the shared server is not among them.

    Call it as often as needed.
    """
    before = set(_children())
    return lambda: [child for child in _children() if child not in before]


@pytest.fixture(autouse=True)
def watched_tasks(request: pytest.FixtureRequest, nothing_left: None) -> None:
    """Watch the tasks of an async test.

    Looks before `nothing_left` does: ending the event loop, in between, ends its threads.
    """
    if is_async_test(request.node):
        request.getfixturevalue("no_tasks_left")


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """Fail a test that leaves tasks; set up before, so checked after, the test's own fixtures."""
    yield
    deadline = time.monotonic() + _GRACE_S
    while (tasks := _other_tasks()) and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
    if tasks:
        pytest.fail(f"tasks left: {', '.join(map(repr, tasks))}", pytrace=False)


def _other_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def _children() -> list[psutil.Process]:
    """Return the children of this process and theirs; zombies, which are not waited for, count."""
    if not _has_children():
        return []
    shared = nursery_pids()
    return [one for one in psutil.Process().children(recursive=True) if one.pid not in shared]


def _has_children() -> bool:
    """Return False where that is sure: psutil reads a file of each process of the computer."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _threads_left(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before | _pool_of_motor()
        # A thread that Python did not start (Qt's own): it can't tell when that ends.
        and not isinstance(thread, threading._DummyThread)
    ]


def _pool_of_motor() -> set[threading.Thread]:
    """Return the threads of the pool that motor makes on import and keeps until Python exits."""
    motor = sys.modules.get("motor.frameworks.asyncio")
    return set(motor._EXECUTOR._threads) if motor else set()


def _left_after_a_while(look: Callable[[], Sequence[object]]) -> Sequence[object]:
    """Return what is still there when it had its time to end."""
    deadline = time.monotonic() + _GRACE_S
    while (left := look()) and time.monotonic() < deadline:
        # A thread of the driver's ends when its client is no more.
        gc.collect()
        time.sleep(_POLL_S)
    return left
