"""How many examples Hypothesis tries: all in the profile `thorough`, three in ten otherwise.

`pytest -m hypothesis --hypothesis-profile=thorough` tries them all. The examples are the same in
each run; `--hypothesis-profile=default` looks for others.
"""

from __future__ import annotations

from typing import Any

import hypothesis

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
    is_quick = hypothesis.settings.get_current_profile_name() == "house"
    return hypothesis.settings(max_examples=_few_of(number) if is_quick else number, **options)


def _few_of(number: int) -> int:
    return max(1, number * 3 // 10)
