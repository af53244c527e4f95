"""Draws many short numbers at once: their glyphs are copied from one picture, in one call of Qt.

Each of hundreds of texts costs Qt more time to lay out than to draw. Numbers need no layout: they
have about twenty glyphs, and their digits are of one width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPixmap
from shiboken6 import Shiboken

_USUAL: Final = "0123456789,.<≥ EPTBMK"
# The numbers of a `QPainter.PixmapFragment`, in the order of its fields.
_X, _Y, _LEFT, _TOP, _WIDTH, _HEIGHT, _SCALE_X, _SCALE_Y, _ROTATION, _OPACITY = range(10)
_FIELDS: Final = 10
_SPACE: Final = ord(" ")


class GlyphAtlas:
    """The glyphs of numbers in one font and colour, for a device with the pixel ratio `ratio`.

    All lengths inside are in device pixels.
    """

    def __init__(self, font: QFont, colour: QColor, ratio: float) -> None:
        self.ratio = ratio
        self._font = font
        self._colour = colour
        self._fragments: npt.NDArray[np.float64] = np.zeros((0, _FIELDS))
        self._take(_USUAL)

    def draw(
        self, painter: QPainter, texts: Sequence[str], right: float, baselines: Sequence[float]
    ) -> None:
        """Draw each text at its baseline so that it ends at the x coordinate `right`."""
        if not texts:
            return
        longest = max(map(len, texts))
        joined = "".join([text.rjust(longest) for text in texts])
        unknown = set(joined).difference(self._characters)
        if unknown:
            self._take(self._characters + "".join(sorted(unknown)))
        codes = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
        glyphs = codes.reshape(len(texts), longest)
        # The distance of each glyph's left edge from the end of its text.
        before_end = self._advances[glyphs][:, ::-1].cumsum(axis=1)[:, ::-1]
        drawn = glyphs != _SPACE
        fragments = self._room(int(drawn.sum()))
        lefts = np.rint(right * self.ratio - before_end[drawn])
        tops = np.rint(np.asarray(baselines) * self.ratio - self._ascent)
        fragments[:, _X] = lefts - self._margin + self._cell / 2
        fragments[:, _Y] = np.repeat(tops, drawn.sum(axis=1)) + self._height / 2
        fragments[:, _LEFT] = self._lefts[glyphs[drawn]]
        painter.save()
        painter.scale(1 / self.ratio, 1 / self.ratio)
        # Qt reads the fragments that lie one after another from the first one on.
        first = Shiboken.wrapInstance(self._fragments.ctypes.data, QPainter.PixmapFragment)
        painter.drawPixmapFragments(
            cast(QPainter.PixmapFragment, first), len(fragments), self._picture
        )
        painter.restore()

    def _room(self, count: int) -> npt.NDArray[np.float64]:
        """Return `count` fragments of the size of a glyph."""
        if len(self._fragments) < count:
            self._fragments = np.zeros((2 * count, _FIELDS))
            for field, value in (
                (_WIDTH, self._cell),
                (_HEIGHT, self._height),
                (_SCALE_X, 1.0),
                (_SCALE_Y, 1.0),
                (_OPACITY, 1.0),
            ):
                self._fragments[:, field] = value
        return self._fragments[:count]

    def _take(self, characters: str) -> None:
        """Make the picture of these glyphs, side by side in cells of one size."""
        metrics, ratio = QFontMetricsF(self._font), self.ratio
        widths = [metrics.horizontalAdvance(character) for character in characters]
        self._characters = characters
        self._margin = 2
        self._cell = int(max(widths) * ratio) + 2 * self._margin + 1
        self._height = int(metrics.height() * ratio) + 2
        self._ascent = metrics.ascent() * ratio
        self._advances = np.zeros(max(map(ord, characters)) + 1)
        self._lefts = np.zeros(len(self._advances))
        self._picture = QPixmap(self._cell * len(characters), self._height)
        self._picture.fill(Qt.GlobalColor.transparent)
        self._fragments = np.zeros((0, _FIELDS))
        with QPainter(self._picture) as painter:
            painter.scale(ratio, ratio)
            painter.setFont(self._font)
            painter.setPen(self._colour)
            for place, (character, width) in enumerate(zip(characters, widths, strict=True)):
                left = self._cell * place
                self._advances[ord(character)] = width * ratio
                self._lefts[ord(character)] = left
                at = QPointF((left + self._margin) / ratio, metrics.ascent())
                painter.drawText(at, character)
