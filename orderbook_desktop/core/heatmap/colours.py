"""Colour maps of the heatmap, and the table that turns a picture's bytes into colours.

In each map lightness rises with quantity, so that a picture keeps its meaning in grey, in print and
for people who tell few colours apart. What is not known has colours of its own, of no map.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.heatmap.choices import ColourMap

FIRST_SIZE: Final = 3
"""The byte of the smallest quantity; lower ones say that there is none, or that it is not known."""
EMPTY_BYTE: Final = 0
UNKNOWN_BYTE: Final = 1
GAP_BYTE: Final = 2
LAST_SIZE: Final = 255

ColourTable = npt.NDArray[np.uint32]
_Stops = tuple[tuple[int, int, int], ...]

UNKNOWN_COLOUR: Final = (52, 58, 66)
GAP_COLOUR: Final = (70, 54, 34)


# Chosen for this program: the lightness of the stops rises in about equal steps.
_BIDS: Final[_Stops] = (
    (6, 16, 34),
    (14, 62, 104),
    (36, 124, 170),
    (120, 188, 222),
    (226, 244, 252),
)
_ASKS: Final[_Stops] = ((30, 10, 4), (98, 40, 12), (178, 84, 28), (234, 152, 88), (255, 236, 214))
_STOPS: Final[dict[ColourMap, _Stops]] = {
    ColourMap.FIRE: (
        (4, 3, 20),
        (62, 14, 96),
        (140, 36, 104),
        (206, 76, 66),
        (244, 140, 40),
        (250, 208, 84),
        (253, 252, 206),
    ),
    ColourMap.DUSK: ((6, 30, 76), (66, 78, 108), (122, 122, 120), (186, 172, 96), (252, 232, 84)),
    ColourMap.GREY: ((14, 14, 14), (250, 250, 250)),
    ColourMap.TWO_HUES: _BIDS,
}
_EMPTY_COLOURS: Final = {
    ColourMap.FIRE: (0, 0, 6),
    ColourMap.DUSK: (2, 14, 44),
    ColourMap.GREY: (0, 0, 0),
    ColourMap.TWO_HUES: (2, 6, 14),
}


def colour_table(colours: ColourMap, low: float, high: float, *, asks: bool = False) -> ColourTable:
    """Return the colour of each byte, as 0xFFRRGGBB.

    Bytes up to `low` have the darkest colour of the map, those from `high` on its lightest. `asks`
    gives their hue in a map of two. Bytes below `FIRST_SIZE` have the same colour in any case.
    """
    stops = _ASKS if asks and colours is ColourMap.TWO_HUES else _STOPS[colours]
    places = np.clip((np.arange(LAST_SIZE + 1) - low) / max(1.0, high - low), 0, 1)
    at = np.linspace(0, 1, len(stops))
    channels = [
        np.rint(np.interp(places, at, channel)).astype(np.uint32)
        for channel in np.array(stops).T.astype(np.float64)
    ]
    table = packed_colour(*channels)
    table[EMPTY_BYTE] = packed_colour(*_EMPTY_COLOURS[colours])
    table[UNKNOWN_BYTE] = packed_colour(*UNKNOWN_COLOUR)
    table[GAP_BYTE] = packed_colour(*GAP_COLOUR)
    return table


def packed_colour(
    red: npt.ArrayLike, green: npt.ArrayLike, blue: npt.ArrayLike
) -> npt.NDArray[np.uint32]:
    """Return colours of channels from 0 to 255 as 0xFFRRGGBB."""
    parts = [np.asarray(channel, dtype=np.uint32) for channel in (red, green, blue)]
    packed = 0xFF000000 | parts[0] << 16 | parts[1] << 8 | parts[2]
    return packed.astype(np.uint32)
