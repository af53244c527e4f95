"""A queue for one consumer.

It drops all waiting items when it is full, so that its memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class BoundedQueue(Generic[_T]):
    """Items that wait for their consumer, in order.

    When `at_most` items wait and another one comes, all waiting items are dropped. Then
    `overflowed(count)` is called; the consumer gets the items that it returns in their place.
    """

    def __init__(self, at_most: int, overflowed: Callable[[int], Iterable[_T]]) -> None:
        self._at_most = at_most
        self._overflowed = overflowed
        self._items: asyncio.Queue[_T] = asyncio.Queue()

    def __len__(self) -> int:
        return self._items.qsize()

    def put(self, item: _T) -> None:
        """Add `item`."""
        if len(self) >= self._at_most:
            dropped = len(self)
            while len(self):
                self._items.get_nowait()
            for replacement in self._overflowed(dropped):
                self._items.put_nowait(replacement)
        self._items.put_nowait(item)

    async def get(self) -> _T:
        """Return the item that has waited longest; if there is none, wait for one."""
        return await self._items.get()
