"""What is tried again until it works, and told once for as long as it fails in the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=Exception)
_Told_contra = TypeVar("_Told_contra", bound=Exception, contravariant=True)


class Repeats:
    """Knows the latest failure, to tell a new one from the same again."""

    def __init__(self) -> None:
        self._latest = ""

    def is_new(self, error: Exception) -> bool:
        """Whether `error` says anything else than the one before did; it is the latest then."""
        before, self._latest = self._latest, f"{type(error).__name__}: {error}"
        return self._latest != before


class Failed(Protocol[_Told_contra]):
    """What is called after an attempt that failed."""

    def __call__(self, error: _Told_contra, /, *, is_new: bool) -> None:
        """Tell `error`, which `is_new` unless the attempt before failed in the same way."""
        ...


class Attempts(Generic[_Error]):
    """Attempts that may end with one of the errors `expected`; others are raised at once.

    `failed` is told of each failure. The pause after it is the next of `delays`, in seconds,
    or what `pause_after` makes of that.
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
        """Return what `attempt` does, as soon as it works."""
        repeats = Repeats()
        while True:
            try:
                return await attempt()
            except self._expected as error:
                self._failed(error, is_new=repeats.is_new(error))
                pause = self._pause_after(error, next(self._delays))
            await asyncio.sleep(pause)
