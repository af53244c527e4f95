"""A queue for one consumer, which loses what waits rather than the memory of the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class BoundedQueue(Generic[_T]):
    """Items that wait for their consumer, in order.

    Where `at_most` of them wait and another one comes, all of them are dropped:
    `overflowed(count)` is called then, and returns what the consumer gets in their place.
    """

    def __init__(self, at_most: int, overflowed: Callable[[int], Iterable[_T]]) -> None:
        self._at_most = at_most
        self._overflowed = overflowed
        self._items: asyncio.Queue[_T] = asyncio.Queue()

    def __len__(self) -> int:
        return self._items.qsize()

    def put(self, item: _T) -> None:
        """Let `item` wait."""
        if len(self) >= self._at_most:
            dropped = len(self)
            while len(self):
                self._items.get_nowait()
            for told in self._overflowed(dropped):
                self._items.put_nowait(told)
        self._items.put_nowait(item)

    async def get(self) -> _T:
        """Return the item that has waited for the longest; wait for one."""
        return await self._items.get()
