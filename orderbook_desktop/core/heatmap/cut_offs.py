"""The cut-offs of the colours: the sizes at which they begin to rise, and at which they are full.

A size has a *place* on the scale of a picture's bytes, which is logarithmic: `FIRST_SIZE` is the
quantiser's base, and 8 more are the double. Cut-offs change colours only, and no data.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final, Self

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import (
    FIRST_SIZE,
    LAST_SIZE,
    ColourTable,
    colour_table,
)
from orderbook_desktop.core.heatmap.picture import Quantiser
from orderbook_desktop.core.levels import Int64Array

LOW_PERCENT: Final = "25"
HIGH_PERCENT: Final = "99"
"""The usual cut-offs, of the cells in sight that are not empty."""
_LEAST_SPREAD: Final = 1.0
_PLACES: Final = np.arange(FIRST_SIZE, LAST_SIZE + 1)
_SIZES: Final = np.array([Quantiser(1.0).size_of(byte) for byte in _PLACES.tolist()])


class ColourChoice(Struct, frozen=True):
    """What a person chose for the colours of a market.

    `low` and `high` are decimal texts: percent of the cells in sight that are not empty, or (not
    `in_percent`) sizes in the base asset. While `is_locked`, the
    colours do not follow the view.
    """

    in_percent: bool = True
    low: str = LOW_PERCENT
    high: str = HIGH_PERCENT
    is_locked: bool = False
    colours: ColourMap = ColourMap.FIRE
    statistic: Statistic = Statistic.MAX

    @property
    def text(self) -> str:
        """The text by which it is remembered."""
        kind = "percent" if self.in_percent else "exact"
        lock = "locked" if self.is_locked else "free"
        return f"{kind} {self.low} {self.high} {lock} {self.colours} {self.statistic}"

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the choice that `text` names; the usual one where it names none."""
        try:
            kind, low, high, lock, colours, statistic = text.split(" ")
            found = cls(
                kind == "percent",
                low,
                high,
                lock == "locked",
                ColourMap(colours),
                Statistic(statistic),
            )
        except ValueError:
            return cls()
        return found if found.is_sound else cls()

    @property
    def is_sound(self) -> bool:
        """Whether the cut-offs are numbers that can be: ascending, and percents up to 100."""
        low, high = _number(self.low), _number(self.high)
        if low is None or high is None or not 0 <= low < high:
            return False
        return not self.in_percent or high <= 100


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class CutOffScale(Struct, frozen=True, eq=False):
    """The sizes in sight: `counts` says how many cells have each byte.

    `base` is that of the quantiser, in the base asset.
    """

    counts: Int64Array
    base: float = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether no cell in sight has a size."""
        return not self._sizes().any()

    def size_at(self, place: float) -> float:
        """Return the size at a place; at that of a byte, the smallest one that has the byte."""
        return self.base * float(np.interp(place, _PLACES, _SIZES))

    def place_of(self, size: float) -> float:
        """Return the place of a size; that of 0 is the first one."""
        return float(np.interp(size / self.base, _SIZES, _PLACES))

    def place_of_percent(self, percent: float) -> float:
        """Return the place up to which so many percent of the cells lie."""
        sums = self._sizes().cumsum()
        if not sums[-1]:
            return float(FIRST_SIZE if percent < 50 else LAST_SIZE)
        return float(sums.searchsorted(percent / 100 * sums[-1]))

    def percent_at(self, place: float) -> float:
        """Return how many percent of the cells lie up to a place."""
        sums = self._sizes().cumsum()
        if not sums[-1]:
            return 0.0
        return float(100 * sums[max(0, min(round(place), LAST_SIZE))] / sums[-1])

    def places(self, choice: ColourChoice) -> tuple[float, float]:
        """Return the places of the cut-offs of a choice."""
        texts = float(choice.low), float(choice.high)
        find = self.place_of_percent if choice.in_percent else self.place_of
        low, high = map(find, texts)
        return low, max(high, low + _LEAST_SPREAD)

    def moved(self, choice: ColourChoice, places: tuple[float, float]) -> ColourChoice:
        """Return the choice with its cut-offs at places, in its own kind of numbers."""
        if choice.in_percent:
            low, high = (f"{self.percent_at(place):.2f}" for place in places)
            # Cut-offs above all that is in sight are the same in percent.
            if float(low) >= float(high):
                return replace(choice, **self._sizes_of(places), in_percent=False)
            return replace(choice, low=low, high=high)
        return replace(choice, **self._sizes_of(places))

    def in_other_kind(self, choice: ColourChoice, places: tuple[float, float]) -> ColourChoice:
        """Return the choice with the same colours as now, in percent or in sizes."""
        return self.moved(replace(choice, in_percent=not choice.in_percent), places)

    def typed(
        self, choice: ColourChoice, text: str, places: tuple[float, float], *, is_high: bool
    ) -> ColourChoice | None:
        """Return the choice with a cut-off as a person types it; None: it can't be that.

        `30%` is in percent, and `1.5` is of the kind that is chosen. `places` are those of now.
        """
        typed = text.strip().replace(",", "").replace(" ", "")
        if typed.endswith("%") and not choice.in_percent:
            choice = self.in_other_kind(choice, places)
        typed = typed.removesuffix("%")
        changed = replace(choice, high=typed) if is_high else replace(choice, low=typed)
        return changed if changed.is_sound else None

    def _sizes_of(self, places: tuple[float, float]) -> dict[str, str]:
        low, high = (f"{Decimal(f'{self.size_at(place):.4g}'):f}" for place in places)
        return {"low": low, "high": high}

    def _sizes(self) -> Int64Array:
        sizes = self.counts.copy()
        sizes[:FIRST_SIZE] = 0
        return sizes


class Glide(Struct, frozen=True):
    """Cut-offs on their way from some places to others, within `length_ms` from `begin_ms`."""

    begin: tuple[float, float]
    end: tuple[float, float]
    begin_ms: int
    length_ms: int

    def at(self, now_ms: int) -> tuple[float, float]:
        """Return the places at a time."""
        share = min(1.0, max(0.0, (now_ms - self.begin_ms) / self.length_ms))
        # It begins and ends slowly.
        share = share * share * (3 - 2 * share)
        (low, high), (to_low, to_high) = self.begin, self.end
        return low + (to_low - low) * share, high + (to_high - high) * share

    def is_over(self, now_ms: int) -> bool:
        """Whether it has come to its end."""
        return now_ms - self.begin_ms >= self.length_ms


class Shades(Struct, frozen=True):
    """The colours of a picture: a map, and the places of its cut-offs."""

    colours: ColourMap
    low: float
    high: float

    def table(self, *, asks: bool = False) -> ColourTable:
        """Return the colour of each byte; `asks` gives their hue in a map of two."""
        return colour_table(self.colours, self.low, self.high, asks=asks)

    @property
    def tables(self) -> tuple[ColourTable, ColourTable | None]:
        """The table of all cells, or of those of bids, and that of asks; None: all are alike."""
        has_hues = self.colours is ColourMap.TWO_HUES
        return self.table(), self.table(asks=True) if has_hues else None
