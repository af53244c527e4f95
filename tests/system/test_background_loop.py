"""A loop in its own thread: results, errors, iterators, and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest

from orderbook_desktop.system.background_loop import BackgroundLoop
from orderbook_desktop.system.tasks import Workers


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


def test_work_is_started_without_waiting_and_can_be_cancelled(loop: BackgroundLoop) -> None:
    assert loop.start(_double(3)).result(60) == 6
    called = threading.Event()
    loop.call(called.set)
    assert called.wait(60)
    endless = loop.start(asyncio.sleep(3_600))
    assert endless.cancel()


def test_after_the_end_nothing_is_called() -> None:
    loop = BackgroundLoop("ended", Workers())
    assert loop.run(asyncio.to_thread(threading.current_thread)).name.startswith("work")
    loop.close()
    loop.call(pytest.fail)


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


def test_an_abandoned_iterator_is_closed(loop: BackgroundLoop) -> None:
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
        # The garbage collector does this in any thread.
        left.clear()

    loop.run(collect())
    assert loop.run(_double(1)) == 2
    assert numbers.closed_by == "recording"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_ctrl_c_in_an_iterator_is_raised_as_such(loop: BackgroundLoop) -> None:
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
from orderbook_desktop.system.background_loop import BackgroundLoop

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


def test_the_program_ends_although_the_loop_was_not_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_AT_THE_END],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\nclosed\n", "")


class _Nested:
    """Generators that wait for each other, like those of a recording."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    async def level(self, depth: int) -> AsyncGenerator[int]:
        try:
            if depth:
                async with aclosing(self.level(depth - 1)) as below:
                    async for number in below:
                        yield number
            else:
                for number in range(1_000):
                    await asyncio.sleep(0)
                    yield number
        finally:
            await asyncio.sleep(0.01)
            self.ended.append(depth)


@pytest.mark.parametrize("way", ["dropped", "closed", "loop", "iterators", "thread"])
def test_abandoned_nested_generators_end_in_silence_and_in_order(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, way: str
) -> None:
    loop, nested = BackgroundLoop(), _Nested()
    left = [loop.iterate(nested.level(4)) for _ in range(3)]
    for iterator in left:
        assert next(iterator) == 0
    if way == "closed":
        for iterator in left:
            iterator.close()
    elif way == "loop":
        loop.close()
    elif way == "iterators":
        loop.close_iterators()
    elif way == "thread":
        thread = threading.Thread(target=left.clear)
        thread.start()
        thread.join()
    left.clear()
    gc.collect()
    loop.close()
    assert [nested.ended.count(depth) for depth in range(5)] == [3] * 5
    assert capfd.readouterr().err == ""
    assert caplog.records == []


def test_an_error_while_closing_an_abandoned_iterator_is_dropped(loop: BackgroundLoop) -> None:
    async def grumpy() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            raise OSError("the server is gone")

    iterator = loop.iterate(grumpy())
    assert next(iterator) == 1
    del iterator
    gc.collect()
    assert loop.run(_double(1)) == 2


def test_an_iterator_that_was_never_read_needs_no_closing(loop: BackgroundLoop) -> None:
    unread = loop.iterate(_Nested().level(2))
    del unread
    gc.collect()
    assert loop.run(_double(1)) == 2


def test_a_forked_process_says_that_it_is_closed(loop: BackgroundLoop) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("there are no forks")
    script = (
        _LEFT_AT_THE_END
        + """
import os
child = os.fork()
if not child:
    try:
        next(left)
    except ValueError as error:
        print("child:", error, flush=True)
    raise SystemExit
os.waitpid(child, 0)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert "child: it has been closed" in done.stdout
    assert done.stdout.count("closed\n") == 2
