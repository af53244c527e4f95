from __future__ import annotations

from itertools import repeat

import pytest

from orderbook_desktop.system.attempts import Attempts, Repeats


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
    assert [repeats.is_new(one) for one in errors] == [True, False, True, True, True]


async def test_it_is_tried_until_it_works_and_told_once() -> None:
    told: list[tuple[str, bool]] = []

    def failed(error: OSError, /, *, is_new: bool) -> None:
        told.append((str(error), is_new))

    pauses: list[float] = []

    def pause_after(error: OSError, pause: float) -> float:
        assert isinstance(error, OSError)
        pauses.append(pause)
        return 0.0

    attempts = Attempts(OSError, failed, iter((1.0, 2.0, 4.0)), pause_after)
    attempt = _Attempt(OSError("away"), OSError("away"), OSError("busy"))
    assert await attempts.until_it_works(attempt) == "done"
    assert told == [("away", True), ("away", False), ("busy", True)]
    assert pauses == [1.0, 2.0, 4.0]


def _untold(error: OSError, /, *, is_new: bool) -> None:
    del error, is_new


async def test_another_failure_ends_it() -> None:
    attempts = Attempts(OSError, _untold, repeat(0.0))
    with pytest.raises(ValueError, match="bug"):
        await attempts.until_it_works(_Attempt(OSError("away"), ValueError("bug")))
