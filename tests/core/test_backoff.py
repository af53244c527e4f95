from __future__ import annotations

import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.backoff import backoff_delays


class Extreme(random.Random):
    """Always draws the same end of the range."""

    def __init__(self, position: float) -> None:
        super().__init__(0)
        self.position = position

    def random(self) -> float:
        return self.position


def test_delays_double_up_to_the_cap() -> None:
    longest = list(islice(backoff_delays(1.0, 2.0, 5.0, Extreme(1.0)), 6))
    assert longest == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    shortest = list(islice(backoff_delays(1.0, 2.0, 5.0, Extreme(0.0)), 6))
    assert shortest == [0.5, 1.0, 2.0, 2.5, 2.5, 2.5]


@given(st.floats(0.001, 100), st.floats(1.0, 10.0), st.floats(0.001, 100), st.integers(0, 2**32))
def test_every_delay_lies_in_the_upper_half_and_below_the_cap(
    first: float, factor: float, cap: float, seed: int
) -> None:
    delays = backoff_delays(first, factor, cap, random.Random(seed))
    longest = min(first, cap)
    for delay in islice(delays, 20):
        assert longest * 0.5 <= delay <= longest <= cap
        longest = min(longest * factor, cap)


def test_delays_differ_from_client_to_client_and_never_end() -> None:
    one, other = (list(islice(backoff_delays(), 2000)) for _ in range(2))
    assert one != other
    assert max(one) <= 30.0
    assert min(one) >= 0.25
