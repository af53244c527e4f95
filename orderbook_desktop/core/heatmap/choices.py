"""What a person chooses of a heatmap: its statistic, whose sizes count, and its colours."""

from __future__ import annotations

from enum import StrEnum


class Statistic(StrEnum):
    """What a cell of the heatmap says about the quantity at a price step during a time bin."""

    LAST = "last"
    """The quantity at the end of the bin."""
    MAX = "max"
    """The largest quantity at any time of the bin."""
    INTEGRAL = "integral"
    """The sum of quantity times milliseconds; divided by the covered time it is the mean."""


class Side(StrEnum):
    """Whose quantities count."""

    BOTH = "both"
    BIDS = "bids"
    ASKS = "asks"


class ColourMap(StrEnum):
    """From few to many: which colours a quantity goes through."""

    FIRE = "fire"
    """From black through violet and orange to a pale yellow."""
    DUSK = "dusk"
    """From navy through grey to yellow: alike for all common kinds of colour blindness."""
    GREY = "grey"
    """From black to white."""
    TWO_HUES = "two-hues"
    """Bids through blue, asks through orange."""
