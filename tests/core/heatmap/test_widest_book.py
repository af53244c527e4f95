"""A day of the widest book, 10^12 a level and dust of 10^-8, summed up exactly."""

from __future__ import annotations

import numpy as np
import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.spans import AT_START, LevelSpan
from orderbook_desktop.core.units import Scale

_MINUTE_MS = 60_000
_DAY_MS = 1_440 * _MINUTE_MS
_HOUR_MS = 60 * _MINUTE_MS
_LEVELS = 60
_CHANGES = 120


def minute(number: int, dice: np.random.Generator) -> tuple[LevelSpan, int]:
    """A minute with a change of a level each half second; its places of quantities."""
    # Nothing holds 10^12 and 10^-8 in one book, so dust comes in hours of its own.
    has_dust = number // 60 % 6 == 4
    places, most = (8, 9 * 10**10) if has_dust else (6, 10**12)
    begin = number * _MINUTE_MS
    times = begin + np.arange(_CHANGES) * (_MINUTE_MS // _CHANGES)
    lanes = np.concatenate((np.arange(_LEVELS), dice.integers(0, _LEVELS, _CHANGES)))
    events = np.concatenate((np.full(_LEVELS, AT_START), np.arange(_CHANGES)))
    quantities = dice.integers(0, most, _LEVELS + _CHANGES) * 10**places
    quantities += dice.integers(1, 10**places, len(quantities))
    order = lanes.argsort(kind="stable")
    span = LevelSpan(
        Scale(8, places),
        1_000,
        None,
        begin,
        begin + _MINUTE_MS,
        number * _CHANGES,
        number * _CHANGES + 1 + np.arange(_CHANGES),
        times,
        1_000 * (1 + np.arange(_LEVELS)),
        np.ones(_LEVELS, dtype=np.bool_),
        lanes[order],
        events[order],
        quantities[order],
    )
    return span, places


def by_hand(spans: list[tuple[LevelSpan, int]], statistic: Statistic) -> list[int]:
    """The statistic of all levels together in each hour, in Python's integers of 10^-8."""
    hours = [0] * 24
    for span, places in spans:
        unit, hour = 10 ** (8 - places), span.from_ms // _HOUR_MS
        start = span.events == AT_START
        book = dict(zip(span.lanes[start].tolist(), span.quantities[start].tolist(), strict=True))
        changes = sorted(
            zip(
                span.events[~start].tolist(),
                span.lanes[~start].tolist(),
                span.quantities[~start].tolist(),
                strict=True,
            )
        )
        total, before = sum(book.values()), span.from_ms
        for event, lane, quantity in changes:
            time = int(span.event_ms[event])
            if statistic is Statistic.INTEGRAL:
                hours[hour] += total * unit * (time - before)
            total, before = total + quantity - book[lane], time
            book[lane] = quantity
            if statistic is Statistic.MAX:
                hours[hour] = max(hours[hour], total * unit)
        if statistic is Statistic.INTEGRAL:
            hours[hour] += total * unit * (span.until_ms - before)
        if statistic is Statistic.LAST:
            hours[hour] = total * unit
    return hours


@pytest.fixture(scope="module")
def day() -> list[tuple[LevelSpan, int]]:
    dice = np.random.default_rng(7)
    return [minute(number, dice) for number in range(1_440)]


@pytest.mark.parametrize("statistic", list(Statistic))
def test_a_day_of_the_widest_book(day: list[tuple[LevelSpan, int]], statistic: Statistic) -> None:
    expected = by_hand(day, statistic)
    heatmap = _built(day, statistic, TimeBins(0, _DAY_MS, _HOUR_MS), (0, 1))
    assert heatmap.scale.quantity == 8
    assert heatmap.values[:, 0].tolist() == expected
    pairs = zip(heatmap.high[:, 0].tolist(), heatmap.low[:, 0].tolist(), strict=True)
    assert [high * 2**32 + low for high, low in pairs] == expected
    assert heatmap.total() == sum(expected)
    if statistic is Statistic.INTEGRAL:
        assert heatmap.total() > 2**96
        assert heatmap.in_time(24).values.tolist() == [[sum(expected)]]
    if statistic is Statistic.MAX:
        assert heatmap.in_time(24).total() == max(expected)


def _built(
    day: list[tuple[LevelSpan, int]], statistic: Statistic, bins: TimeBins, rows: tuple[int, int]
) -> Heatmap:
    builder = HeatmapBuilder(bins, PriceSteps(100_000, rows=rows), [statistic])
    for span, _ in day:
        builder.take(span, opens=False)
    return builder.heatmap("SHIBUSDT", statistic)
