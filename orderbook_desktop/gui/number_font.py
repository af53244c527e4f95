"""The font of numbers: digits of one width, so that columns stand still while values change."""

from __future__ import annotations

from typing import Final

from PySide6.QtGui import QFont, QFontDatabase, QFontMetricsF

_TO_ZERO: Final = str.maketrans("123456789", "0" * 9)


def number_font(base: QFont) -> QFont:
    """Return `base` with tabular digits; where it has none, the system's fixed-width font."""
    font = QFont(base)
    font.setFeature(QFont.Tag("tnum"), 1)
    metrics = QFontMetricsF(font)
    if len({metrics.horizontalAdvance(digit) for digit in "0123456789"}) == 1:
        return font
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    fixed.setPointSizeF(base.pointSizeF())
    return fixed


class NumberMetrics:
    """Widths of texts in one number font; texts that differ only in digits share a cached width."""

    def __init__(self, font: QFont) -> None:
        self.font = font
        self._metrics = QFontMetricsF(font)
        self._widths: dict[str, float] = {}
        self.height = self._metrics.height()
        self.ascent = self._metrics.ascent()
        self.digit = self._metrics.horizontalAdvance("0")
        self.digit_height = self._metrics.capHeight()

    def width(self, text: str) -> float:
        """Return the advance of `text` in logical pixels."""
        shape = text.translate(_TO_ZERO)
        width = self._widths.get(shape)
        if width is None:
            width = self._widths[shape] = self._metrics.horizontalAdvance(shape)
        return width

    def baseline(self, top: float, height: float) -> float:
        """Return the baseline of a text centred in a row, `height` pixels high from `top`."""
        return top + (height - self.height) / 2 + self.ascent
