from __future__ import annotations

import asyncio

from orderbook_desktop.system.bounded_queue import BoundedQueue


async def _all_of(queue: BoundedQueue[str]) -> list[str]:
    return [await queue.get() for _ in range(len(queue))]


async def test_items_come_in_order() -> None:
    queue = BoundedQueue[str](3, lambda _: ())
    for item in "abc":
        queue.put(item)
    assert await _all_of(queue) == ["a", "b", "c"]


async def test_what_is_too_much_is_dropped_and_told() -> None:
    queue = BoundedQueue[str](3, lambda count: (f"{count} lost", "begin anew"))
    for item in "abcd":
        queue.put(item)
    assert await _all_of(queue) == ["3 lost", "begin anew", "d"]


async def test_a_consumer_waits_for_the_next_item() -> None:
    queue = BoundedQueue[str](1, lambda _: ())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put("late")
    assert await waiting == "late"
