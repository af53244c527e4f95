"""Repeats a call until it works, reports a failure once while it stays the same, and waits.

A person may cut such a wait short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar

from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.system.tasks import set_within

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=Exception)
_Error_contra = TypeVar("_Error_contra", bound=Exception, contravariant=True)


class Repeats:
    """Knows the latest failure, and so whether the next failure is a new one."""

    def __init__(self) -> None:
        self._latest = ""

    def is_new(self, failure: Exception | type[Exception]) -> bool:
        """Whether `failure` differs from the latest failure; it is the latest from then on.

        A type stands for all its errors, whose texts then make no difference.
        """
        name = failure.__name__ if isinstance(failure, type) else type(failure).__name__
        text = "" if isinstance(failure, type) else str(failure)
        before, self._latest = self._latest, f"{name}: {text}"
        return self._latest != before


class RetryWait:
    """The wait before the next attempt: its end is known, and a person may cut it short.

    `due_ns` is the time of the next attempt, by `now_ns`; 0 while none is planned. A wait that the
    other side has asked for is `fixed`: it is not cut short.
    """

    def __init__(self, now_ns: Callable[[], int] = steady_ns) -> None:
        self._now_ns = now_ns
        self._cut = asyncio.Event()
        self.due_ns = 0
        self.fixed = False

    @property
    def left_s(self) -> float | None:
        """The seconds until the next attempt; None while none is planned."""
        return max(0, self.due_ns - self._now_ns()) / 1e9 if self.due_ns else None

    async def wait(self, delay_s: float, *, fixed: bool = False) -> None:
        """Wait for `delay_s`, or until `cut()`."""
        self._cut.clear()
        self.due_ns, self.fixed = self._now_ns() + round(delay_s * 1e9), fixed
        try:
            await set_within(self._cut, delay_s)
        finally:
            self.due_ns, self.fixed = 0, False

    def cut(self) -> None:
        """End the present wait now, unless it is fixed."""
        if not self.fixed:
            self._cut.set()


class Failed(Protocol[_Error_contra]):
    """The function that is called after a failed attempt."""

    def __call__(self, error: _Error_contra, /, *, is_new: bool) -> None:
        """Report `error`, which `is_new` unless the attempt before failed in the same way."""
        ...


async def _sleep(error: Exception, delay_s: float) -> None:
    del error
    await asyncio.sleep(delay_s)


class Attempts(Generic[_Error]):
    """Attempts that may fail with an `expected` error; other errors are raised at once.

    Each failure takes the next of `delays`, in seconds. If there is none left, the error is raised.
    Else `failed` is called, and may raise to end the attempts; then `pause` waits, which gets the
    error and the delay.
    """

    def __init__(
        self,
        expected: type[_Error] | tuple[type[_Error], ...],
        failed: Failed[_Error],
        delays: Iterator[float],
        pause: Callable[[_Error, float], Awaitable[None]] = _sleep,
    ) -> None:
        self._expected = expected
        self._failed = failed
        self._delays = delays
        self._pause = pause

    async def until_it_works(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat `attempt` until it works; return its result."""
        repeats = Repeats()
        while True:
            try:
                return await attempt()
            except self._expected as error:
                failure, delay_s = error, next(self._delays, None)
                if delay_s is None:
                    raise
                self._failed(error, is_new=repeats.is_new(error))
            await self._pause(failure, delay_s)
