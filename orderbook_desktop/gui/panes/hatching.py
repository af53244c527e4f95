"""The texture of prices that are not known: slanted lines, in all panes alike."""

from __future__ import annotations

from typing import Final

from PySide6.QtGui import QColor, QPainter, QPixmap

from orderbook_desktop.gui.theme import Theme, blend

_SIDE: Final = 7
# A large tile is drawn in a fraction of the time that many small ones take.
_REPEATED: Final = 32
CONTRAST: Final = 0.32
"""How opaque the lines are."""


class Hatching:
    """Makes the tiles of the texture in one theme."""

    def __init__(self, theme: Theme) -> None:
        self._line = theme.muted
        self._tiles: dict[tuple[int, float], QPixmap] = {}

    def tile(self, base: QColor, ratio: float) -> QPixmap:
        """Return a tile of lines on the colour `base`; it joins itself on all sides.

        `ratio` is the device pixel ratio.
        """
        key = base.rgb(), ratio
        if key not in self._tiles:
            self._tiles[key] = self._made(base, ratio)
        return self._tiles[key]

    def _made(self, base: QColor, ratio: float) -> QPixmap:
        side, wide = round(_SIDE * ratio), max(1, round(ratio))
        tile = QPixmap(side, side)
        tile.fill(base)
        with QPainter(tile) as painter:
            line = blend(self._line, base, CONTRAST)
            for at in range(side):
                for x in range(at, at + wide):
                    painter.fillRect(x % side, side - 1 - at, 1, 1, line)
        large = QPixmap(side * _REPEATED, side * _REPEATED)
        with QPainter(large) as painter:
            painter.drawTiledPixmap(large.rect(), tile)
        large.setDevicePixelRatio(ratio)
        return large
