"""A loop in a thread: results, errors, iterators, and its end."""

from __future__ import annotations

import asyncio
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
