"""What runs beside a piece of code ends with it, however that ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from orderbook_desktop.system.tasks import Jobs, ending, in_thread_if_long, one_ahead, set_within


async def _slow_to_leave(left: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        left.append("left")


async def test_what_runs_is_cancelled_and_waited_for() -> None:
    left: list[str] = []
    job = asyncio.create_task(_slow_to_leave(left))
    async with ending(job):
        await asyncio.sleep(0)
    assert job.cancelled()
    assert left == ["left"]


async def test_it_ends_with_a_failure_too() -> None:
    async def fails_beside(job: asyncio.Future[None]) -> None:
        async with ending(job):
            await asyncio.sleep(0)
            raise ValueError("mine")

    left: list[str] = []
    with pytest.raises(ValueError, match="mine"):
        await fails_beside(asyncio.create_task(_slow_to_leave(left)))
    assert left == ["left"]


async def test_a_result_and_a_failure_stay_in_the_jobs() -> None:
    async def fails() -> None:
        raise OSError("its own")

    done, failed = asyncio.create_task(asyncio.sleep(0, 5)), asyncio.create_task(fails())
    async with ending(done, failed):
        await asyncio.wait({done, failed})
    assert done.result() == 5
    assert isinstance(failed.exception(), OSError)


async def test_short_work_is_done_at_once() -> None:
    here = threading.get_ident()
    assert await in_thread_if_long(2_000, threading.get_ident) == here
    assert await in_thread_if_long(2_001, threading.get_ident) != here


async def _numbers(log: list[str], count: int) -> AsyncGenerator[int]:
    try:
        for number in range(count):
            log.append(f"made {number}")
            yield number
            await asyncio.sleep(0)
    finally:
        log.append("closed")


async def test_the_next_part_is_made_while_one_is_worked_on() -> None:
    log: list[str] = []
    async with aclosing(one_ahead(_numbers(log, 3))) as numbers:
        async for number in numbers:
            for _ in range(5):
                await asyncio.sleep(0)
            log.append(f"used {number}")
    assert log == ["made 0", "made 1", "used 0", "made 2", "used 1", "closed", "used 2"]


async def test_parts_that_are_not_wanted_are_closed() -> None:
    log: list[str] = []
    async with aclosing(one_ahead(_numbers(log, 9))) as numbers:
        async for _ in numbers:
            break
    assert log[-1] == "closed"
    assert len(log) <= 3


async def test_the_failure_of_a_part_is_raised() -> None:
    async def failing() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("the second")

    async with aclosing(one_ahead(failing())) as numbers:
        assert await anext(numbers) == 1
        with pytest.raises(ValueError, match="the second"):
            await anext(numbers)


async def _fail() -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.expects_log(r"ERROR .*tasks: the sums ended unexpectedly")
async def test_a_failure_is_logged_and_told() -> None:
    heard: list[BaseException] = []
    jobs = Jobs(heard.append)
    task = jobs.start(_fail(), "the sums")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert [type(error) for error in heard] == [ZeroDivisionError]
    await jobs.close()


async def test_close_cancels_what_runs_and_waits_for_it() -> None:
    ended = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    heard: list[BaseException] = []
    jobs = Jobs(heard.append)
    jobs.start(run(), "waiting")
    jobs.start(run(), "waiting")
    await asyncio.sleep(0)
    await jobs.close()
    assert ended == [True, True]
    assert heard == []


async def test_an_event_is_waited_for_within_a_time() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, 600)
    assert await set_within(event, 0)
