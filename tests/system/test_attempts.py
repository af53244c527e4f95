from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

from orderbook_desktop.system.attempts import Attempts, Repeats, RetryWait


class _Attempt:
    """Fails with each of `errors`, then works."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    async def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "done"


def test_the_same_failure_is_no_new_one() -> None:
    repeats = Repeats()
    errors = [OSError("a"), OSError("a"), OSError("b"), ValueError("b"), OSError("a")]
    assert [repeats.is_new(error) for error in errors] == [True, False, True, True, True]


def test_a_type_stands_for_all_its_errors() -> None:
    repeats = Repeats()
    failures: list[Exception | type[Exception]]
    failures = [OSError("a"), OSError, OSError, ValueError("b")]
    assert [repeats.is_new(failure) for failure in failures] == [True, True, False, True]


async def test_it_is_tried_until_it_works_and_reported_once() -> None:
    reported: list[tuple[str, bool]] = []

    def failed(error: OSError, /, *, is_new: bool) -> None:
        reported.append((str(error), is_new))

    pauses: list[float] = []

    async def pause(error: OSError, delay_s: float) -> None:
        assert isinstance(error, OSError)
        pauses.append(delay_s)

    attempts = Attempts(OSError, failed, iter((1.0, 2.0, 4.0)), pause)
    attempt = _Attempt(OSError("away"), OSError("away"), OSError("busy"))
    assert await attempts.until_it_works(attempt) == "done"
    assert reported == [("away", True), ("away", False), ("busy", True)]
    assert pauses == [1.0, 2.0, 4.0]


def _unreported(error: OSError, /, *, is_new: bool) -> None:
    del error, is_new


async def test_another_failure_ends_it() -> None:
    attempts = Attempts(OSError, _unreported, repeat(0.0))
    with pytest.raises(ValueError, match="bug"):
        await attempts.until_it_works(_Attempt(OSError("away"), ValueError("bug")))


async def test_the_error_is_raised_when_no_delay_is_left() -> None:
    attempts = Attempts(OSError, _unreported, iter((0.0, 0.0)))
    attempt = _Attempt(OSError("first"), OSError("second"), OSError("third"), OSError("fourth"))
    with pytest.raises(OSError, match="third"):
        await attempts.until_it_works(attempt)


async def test_what_reports_a_failure_may_end_the_attempts() -> None:
    def failed(error: OSError, /, *, is_new: bool) -> None:
        if not is_new:
            raise error

    attempts = Attempts(OSError, failed, repeat(0.0))
    with pytest.raises(OSError, match="away") as raised:
        await attempts.until_it_works(_Attempt(OSError("away"), OSError("away"), OSError("busy")))
    assert raised.value.__context__ is None


class _Waiting:
    """A wait of an hour, begun; the test moves its clock."""

    def __init__(self) -> None:
        self.now_ns = 5 * 10**9
        self.retry = RetryWait(lambda: self.now_ns)
        self.task: asyncio.Task[None] | None = None

    async def begin(self, *, fixed: bool = False) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.retry.wait(3_600, fixed=fixed))
        await asyncio.sleep(0)
        return self.task


async def test_a_wait_says_when_it_ends() -> None:
    waiting = _Waiting()
    assert waiting.retry.left_s is None
    task = await waiting.begin()
    assert waiting.retry.left_s == 3_600
    waiting.now_ns += 600 * 10**9
    assert waiting.retry.left_s == 3_000
    # The clock of the wait may be slower than that of the task.
    waiting.now_ns += 3_600 * 10**9
    assert waiting.retry.left_s == 0
    waiting.retry.cut()
    await task
    assert waiting.retry.left_s is None


async def test_a_wait_is_cut_short_but_never_the_next_one() -> None:
    waiting = _Waiting()
    waiting.retry.cut()
    task = await waiting.begin()
    assert not task.done()
    waiting.retry.cut()
    await task
    task = await waiting.begin()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert waiting.retry.left_s is None


async def test_a_wait_that_was_asked_for_is_not_cut_short() -> None:
    waiting = _Waiting()
    task = await waiting.begin(fixed=True)
    waiting.retry.cut()
    await asyncio.sleep(0)
    assert not task.done()
    assert waiting.retry.fixed
    task.cancel()
    await asyncio.wait([task])
    assert not waiting.retry.fixed
