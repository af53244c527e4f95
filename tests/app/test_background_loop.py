"""A loop in a thread: results, errors, iterators, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator

import pytest

from orderbook_desktop.app.background_loop import BackgroundLoop


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    loop.close()


async def _double(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    return 2 * number


def test_results_and_errors_come_back(loop: BackgroundLoop) -> None:
    assert loop.run(_double(4)) == 8
    with pytest.raises(ValueError, match="negative"):
        loop.run(_double(-1))
    assert loop.run(_double(5)) == 10


class _Numbers:
    closed_by: str = ""

    async def count(self) -> AsyncGenerator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            self.closed_by = threading.current_thread().name


def test_items_come_one_by_one(loop: BackgroundLoop) -> None:
    assert list(loop.iterate(_Numbers().count())) == list(range(100))


def test_an_iterator_that_is_left_is_closed(loop: BackgroundLoop) -> None:
    numbers = _Numbers()
    iterator = loop.iterate(numbers.count())
    assert next(iterator) == 0
    del iterator
    assert numbers.closed_by == "recording"


def test_closing_ends_what_runs() -> None:
    loop = BackgroundLoop()
    numbers = _Numbers()
    iterator = loop.iterate(numbers.count())
    next(iterator)
    ended: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(endless())
        await asyncio.sleep(0)
        return task

    loop.run(begin())
    loop.close()
    loop.close()
    assert ended == [True]
    assert numbers.closed_by == "recording"
    assert not loop.is_open
    with pytest.raises(ValueError, match="closed"):
        loop.run(_double(1))
    with pytest.raises(ValueError, match="closed"):
        next(iterator)


def test_an_iterator_may_be_collected_in_the_loop_itself(loop: BackgroundLoop) -> None:
    numbers = _Numbers()
    left = [loop.iterate(numbers.count())]
    assert next(left[0]) == 0

    async def collect() -> None:
        # As the garbage collector does, in whatever thread.
        left.clear()

    loop.run(collect())
    assert loop.run(_double(1)) == 2
    assert numbers.closed_by == "recording"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_ctrl_c_in_an_iterator_is_told_as_such(loop: BackgroundLoop) -> None:
    ended: list[bool] = []

    async def slow() -> AsyncGenerator[int]:
        try:
            yield 1
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(loop.iterate(slow()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


_LEFT_AT_THE_END = """
from orderbook_desktop.app.background_loop import BackgroundLoop

async def count():
    try:
        for number in range(9):
            yield number
    finally:
        print("closed")

loop = BackgroundLoop()
left = loop.iterate(count())
print(next(left))
"""


def test_the_program_ends_although_nobody_has_closed_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_AT_THE_END],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\nclosed\n", "")
