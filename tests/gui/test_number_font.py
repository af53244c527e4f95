from __future__ import annotations

import pytest
from PySide6.QtGui import QFont, QFontMetricsF
from PySide6.QtWidgets import QApplication

from orderbook_desktop.gui import number_font as module
from orderbook_desktop.gui.number_font import NumberMetrics, number_font


def test_all_digits_are_of_one_width(qapp: QApplication) -> None:
    metrics = QFontMetricsF(number_font(qapp.font()))
    assert len({metrics.horizontalAdvance(digit) for digit in "0123456789"}) == 1


def test_a_font_without_tabular_digits_is_replaced(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uneven:
        def __init__(self, font: QFont) -> None:
            pass

        def horizontalAdvance(self, text: str) -> float:  # noqa: N802 (Qt's name)
            return float(ord(text))

    monkeypatch.setattr(module, "QFontMetricsF", Uneven)
    base = QFont(qapp.font())
    base.setPointSizeF(13)
    chosen = number_font(base)
    assert chosen.family()
    assert chosen.pointSizeF() == 13
    assert QFont.Tag("tnum") not in chosen.featureTags()


def test_widths_are_those_of_the_text(qapp: QApplication) -> None:
    numbers = NumberMetrics(number_font(qapp.font()))
    metrics = QFontMetricsF(numbers.font)
    for text in ("57,123.45", "0.00000812", "12.346M"):
        assert numbers.width(text) == pytest.approx(metrics.horizontalAdvance(text))
    assert numbers.width("98,765.43") == numbers.width("57,123.45")
