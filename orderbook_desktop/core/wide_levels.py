"""The levels of a book that no scale holds: exact decimal text, kept until a scale holds them.

Such a book is rare, and is neither shown nor recorded. Its levels are kept all the same, so that
the book is known, without a new snapshot, once the value at fault is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import TextLevels
from orderbook_desktop.core.levels import EMPTY, fitting_exponent
from orderbook_desktop.core.units import DEFAULT_EXPONENT, MAX_EXPONENT, Scale, split_decimal

_BIDS: Final = 0
_ASKS: Final = 1
_NONE: Final = "0"


class _Level(NamedTuple):
    side: int
    price: str
    quantity: str


class WideLevels:
    """The levels of both sides, none with an empty quantity.

    `value` is what no scale holds; None once a scale holds all levels. While the levels at fault
    stay as they are, no other level is looked at.
    """

    def __init__(self, bids: TextLevels, asks: TextLevels) -> None:
        self._sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._faults: list[_Level] = []
        self.value: InexactValue | None = None
        self._set(bids, asks)

    def widen(self, bids: TextLevels, asks: TextLevels) -> None:
        """Set the first levels that did not fit; `value` may be one that this removes."""
        new = list(_canonical(_BIDS, bids)) + list(_canonical(_ASKS, asks))
        self._look([*self._levels(), *new])
        self._set(bids, asks)

    def apply(self, bids: TextLevels, asks: TextLevels) -> None:
        """Set further levels; a quantity of 0 removes its level."""
        self._set(bids, asks)
        if self.value is not None and not self._are_faults_there():
            self._look(list(self._levels()))

    def texts(self) -> tuple[TextLevels, TextLevels]:
        """Return bids and asks, in any order."""
        bids, asks = self._sides
        return list(bids.items()), list(asks.items())

    @property
    def scale(self) -> Scale:
        """A scale that holds all levels. Raises `InexactValue` if there is none."""
        levels = list(self._levels())
        return Scale(_exponent_of(_prices(levels)), _exponent_of(_quantities(levels)))

    def _set(self, bids: TextLevels, asks: TextLevels) -> None:
        for side, texts in ((_BIDS, bids), (_ASKS, asks)):
            for _, price, quantity in _canonical(side, texts):
                if quantity == _NONE:
                    self._sides[side].pop(price, None)
                else:
                    self._sides[side][price] = quantity

    def _levels(self) -> Iterable[_Level]:
        for side, levels in enumerate(self._sides):
            for price, quantity in levels.items():
                yield _Level(side, price, quantity)

    def _are_faults_there(self) -> bool:
        return all(
            self._sides[fault.side].get(fault.price) == fault.quantity for fault in self._faults
        )

    def _look(self, levels: list[_Level]) -> None:
        """Look for a value among `levels` that no scale holds."""
        self.value, self._faults = None, []
        for values in (_prices(levels), _quantities(levels)):
            ends = _ends(values)
            try:
                _exponent_of(ends)
            except InexactValue as error:
                self.value = error
                self._faults = [levels[values.index(text)] for text in ends]
                return


def _exponent_of(texts: list[str]) -> int:
    """Return the exponent that holds `texts`. Raises `InexactValue` with the values at fault."""
    ends = _ends(texts)
    try:
        return fitting_exponent(ends, EMPTY, DEFAULT_EXPONENT)
    except InexactValue:
        finest, largest = ends
    for text in ends:
        # One value by itself may be at fault.
        fitting_exponent([text], EMPTY, DEFAULT_EXPONENT)
    raise InexactValue(largest, min(len(split_decimal(finest)[1]), MAX_EXPONENT), finest)


def _ends(texts: list[str]) -> list[str]:
    """Return the text with the most places and the largest one; empty if there are none."""
    if not texts:
        return []
    return [max(texts, key=lambda text: len(text.partition(".")[2])), max(texts, key=_size)]


def _size(text: str) -> tuple[int, str, str]:
    """Return what sorts canonical decimals by size."""
    whole, _, fraction = text.partition(".")
    return len(whole), whole, fraction


def _prices(levels: list[_Level]) -> list[str]:
    return [level.price for level in levels]


def _quantities(levels: list[_Level]) -> list[str]:
    return [level.quantity for level in levels]


def _canonical(side: int, texts: TextLevels) -> Iterable[_Level]:
    for price, quantity in texts:
        yield _Level(side, _plain(price), _plain(quantity))


def _plain(text: str) -> str:
    """Return the one spelling of a decimal that has no needless zero."""
    whole, fraction = split_decimal(text)
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole
