"""Calls that nobody misses, and the loop's turns between a few and the next few."""

from __future__ import annotations

import asyncio
import itertools

from orderbook_desktop.web.waiting_room import WaitingRoom


async def _waiting(room: WaitingRoom, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(room.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_call_reaches_everybody() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    await room.call()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)


async def test_nobody_is_called_before_time() -> None:
    room = WaitingRoom()
    await room.call()
    (task,) = await _waiting(room, 1)
    assert not task.done()
    room.close()
    async with asyncio.timeout(60):
        await task


async def test_the_loop_has_its_turns_in_between() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    served = []
    while not calling.done():
        served.append(sum(task.done() for task in tasks))
        await asyncio.sleep(0)
    steps = [later - earlier for earlier, later in itertools.pairwise(served)]
    assert 0 < max(steps) <= 10
    assert all(task.done() for task in tasks)


async def test_who_comes_during_a_call_waits_for_the_next() -> None:
    room = WaitingRoom()
    await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    await asyncio.sleep(0)
    (late,) = await _waiting(room, 1)
    await calling
    await asyncio.sleep(0)
    assert not late.done()
    room.close()
    await late


async def test_who_went_away_is_passed_over() -> None:
    room = WaitingRoom()
    gone, stays = await _waiting(room, 2)
    gone.cancel()
    await room.call()
    async with asyncio.timeout(60):
        await stays
    assert gone.cancelled()


async def test_a_call_that_is_cancelled_leaves_nobody_behind() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    await asyncio.sleep(0)
    calling.cancel()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    assert calling.cancelled()
