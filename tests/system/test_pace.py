"""A pace: deadlines that are absolute, and turns for others where all is late."""

from __future__ import annotations

from math import inf

from orderbook_desktop.system.pace import Pace

_S = 1_000_000_000


def test_deadlines_are_absolute() -> None:
    now = 50.0
    pace = Pace(2.0, lambda: now)
    assert pace.delay_s(7 * _S) == 0
    assert pace.delay_s(9 * _S) == 1.0
    now += 1.25
    # A quarter of a second late, and the next one is due when it would have been.
    assert pace.delay_s(9 * _S) == -0.25
    assert pace.delay_s(10 * _S) == 0.25
    pace.skip_to(100 * _S, 0.5)
    assert pace.delay_s(100 * _S) == 0.5
    assert pace.delay_s(101 * _S) == 1.0


def test_at_infinite_speed_nothing_waits() -> None:
    pace = Pace(inf, lambda: 3.0)
    assert [pace.delay_s(due * _S) for due in (1, 5, 10**9)] == [0, 0, 0]


async def test_others_get_a_turn_where_all_is_late() -> None:
    pace, turns = Pace(inf, lambda: 3.0), []

    async def give_way() -> None:
        turns.append(1)

    for due in range(100):
        await pace.wait_for(due, give_way)
    assert len(turns) == 3
