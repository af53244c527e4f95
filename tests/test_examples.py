"""A sweep tries each value: in part, where phases follow one another, and whole if thorough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import pytest

from tests.examples import some_of


@contextmanager
def _profile(name: str) -> Iterator[None]:
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.load_profile(name)
    try:
        yield
    finally:
        hypothesis.settings.load_profile(before)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 11])
def test_each_value_is_one_of_some_phase(count: int) -> None:
    values = range(count)
    with _profile("house"):
        parts = [some_of(values, 3, phase) for phase in range(3)]
    assert {value for part in parts for value in part} == set(values)
    assert all(0 < len(part) <= (count + 2) // 3 for part in parts)


def test_all_are_tried_if_thorough() -> None:
    with _profile("thorough"):
        assert some_of("abcdef", 3, phase=1) == "abcdef"


def test_of_none_there_are_none() -> None:
    with _profile("house"):
        assert some_of((), 3) == ()
