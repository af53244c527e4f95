"""Repeats a call until it works, and reports a failure once while it stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=Exception)
_Error_contra = TypeVar("_Error_contra", bound=Exception, contravariant=True)


class Repeats:
    """Knows the latest failure, and so whether the next failure is a new one."""

    def __init__(self) -> None:
        self._latest = ""

    def is_new(self, error: Exception) -> bool:
        """Whether `error` differs from the latest failure; it is the latest from then on."""
        before, self._latest = self._latest, f"{type(error).__name__}: {error}"
        return self._latest != before


class Failed(Protocol[_Error_contra]):
    """The function that is called after a failed attempt."""

    def __call__(self, error: _Error_contra, /, *, is_new: bool) -> None:
        """Report `error`, which `is_new` unless the attempt before failed in the same way."""
        ...


class Attempts(Generic[_Error]):
    """Attempts that may fail with an `expected` error; other errors are raised at once.

    `failed` is called after each failure. The pause after it is the next of `delays`, in seconds,
    or the result of `pause_after`, which gets the error and that delay.
    """

    def __init__(
        self,
        expected: type[_Error],
        failed: Failed[_Error],
        delays: Iterator[float],
        pause_after: Callable[[_Error, float], float] = lambda _, pause: pause,
    ) -> None:
        self._expected = expected
        self._failed = failed
        self._delays = delays
        self._pause_after = pause_after

    async def until_it_works(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat `attempt` until it works; return its result."""
        repeats = Repeats()
        while True:
            try:
                return await attempt()
            except self._expected as error:
                self._failed(error, is_new=repeats.is_new(error))
                pause = self._pause_after(error, next(self._delays))
            await asyncio.sleep(pause)
