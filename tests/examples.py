"""How much a test tries: all of it in the profile `thorough`, a part of it otherwise.

`pytest -m "hypothesis or sweep" --hypothesis-profile=thorough` tries all. Hypothesis tries three in
ten of its examples otherwise; they are the same in each run, and `--hypothesis-profile=default`
looks for others. A test with the mark `sweep` goes through a list, or some of it (`some_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import hypothesis

_T = TypeVar("_T")
_THOROUGH = "thorough"
_USUAL = 100


def register_profiles() -> None:
    """Make the profiles known, and choose the quick one."""
    house = hypothesis.settings(
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.register_profile(_THOROUGH, house, max_examples=_USUAL)
    hypothesis.settings.register_profile("house", house, max_examples=_few_of(_USUAL))
    hypothesis.settings.load_profile("house")


def examples(number: int, **options: Any) -> hypothesis.settings:
    """Ask for another `number` of examples than the usual hundred; a decorator."""
    return hypothesis.settings(max_examples=_few_of(number) if _is_quick() else number, **options)


def some_of(values: Sequence[_T], share: int, phase: int = 0) -> Sequence[_T]:
    """Return one in `share` of the values, beginning with that number `phase`; if thorough, all.

    Where values meet others of which they are independent, the number of the other is the phase:
    so each value is tried, though not with each of the others.
    """
    if not _is_quick() or not values:
        return values
    share = min(share, len(values))
    return values[phase % share :: share]


def _is_quick() -> bool:
    return hypothesis.settings.get_current_profile_name() == "house"


def _few_of(number: int) -> int:
    return max(1, number * 3 // 10)
