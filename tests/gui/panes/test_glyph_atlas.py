"""The glyphs of an atlas are where Qt's own text would be, at each pixel ratio."""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter
from PySide6.QtWidgets import QApplication

from orderbook_desktop.gui.number_font import number_font
from orderbook_desktop.gui.panes.glyph_atlas import GlyphAtlas

WIDTH, HEIGHT = 160, 24
INK, PAPER = QColor("#e3e8ef"), QColor("#11161d")
TEXTS = ["61,824.35", "0.00001432", "<0.01", "≥ 1,597.75", "93.000B", "7"]


def paper(ratio: float, rows: int) -> QImage:
    image = QImage(round(WIDTH * ratio), round(HEIGHT * rows * ratio), QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(ratio)
    image.fill(PAPER)
    return image


def ink(image: QImage) -> npt.NDArray[np.float64]:
    """Return how much ink there is in each pixel."""
    pixels = np.frombuffer(image.constBits(), dtype=np.uint8)
    return pixels.reshape(image.height(), image.width(), 4)[:, :, 0].astype(np.float64)


def by_atlas(atlas: GlyphAtlas, texts: list[str]) -> QImage:
    image = paper(atlas.ratio, len(texts))
    with QPainter(image) as painter:
        baselines = [HEIGHT * row + 17 for row in range(len(texts))]
        atlas.draw(painter, texts, WIDTH - 8, baselines)
    return image


def by_qt(font: QFont, ratio: float, texts: list[str]) -> QImage:
    image, metrics = paper(ratio, len(texts)), QFontMetricsF(font)
    with QPainter(image) as painter:
        painter.setFont(font)
        painter.setPen(INK)
        for row, text in enumerate(texts):
            left = WIDTH - 8 - metrics.horizontalAdvance(text)
            painter.drawText(QPointF(left, HEIGHT * row + 17), text)
    return image


@pytest.fixture
def font(qapp: QApplication) -> QFont:
    return number_font(qapp.font())


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 2.0])
def test_texts_look_as_qt_draws_them(font: QFont, ratio: float) -> None:
    atlas = GlyphAtlas(font, INK, ratio)
    drawn, expected = ink(by_atlas(atlas, TEXTS)), ink(by_qt(font, ratio, TEXTS))
    for row in range(len(TEXTS)):
        lines = slice(round(HEIGHT * row * ratio), round(HEIGHT * (row + 1) * ratio))
        ours, qts = drawn[lines] - ink(paper(ratio, 1)).min(), expected[lines]
        qts = qts - ink(paper(ratio, 1)).min()
        assert ours.sum() == pytest.approx(qts.sum(), rel=0.12)
        # The same columns and lines have ink, to a pixel.
        for axis in (0, 1):
            inked = [np.flatnonzero(one.max(axis=axis) > 40) for one in (ours, qts)]
            assert abs(inked[0][0] - inked[1][0]) <= 1 + ratio / 2
            assert abs(inked[0][-1] - inked[1][-1]) <= 1 + ratio / 2


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_texts_of_one_length_align(font: QFont, ratio: float) -> None:
    picked = random.Random(5)
    texts = [f"{picked.randrange(10, 100)}.{picked.randrange(10**5):05}" for _ in range(30)]
    drawn = ink(by_atlas(GlyphAtlas(font, INK, ratio), texts))
    metrics, side = QFontMetricsF(font), round(HEIGHT * ratio)
    left = WIDTH - 8 - metrics.horizontalAdvance(".00000")
    within = slice(
        math.ceil(left * ratio), math.floor((left + metrics.horizontalAdvance(".")) * ratio)
    )
    points = [drawn[row * side : (row + 1) * side, within] for row in range(len(texts))]
    assert points[0].max() - points[0].min() > 60
    assert all((point == points[0]).all() for point in points)


def test_glyphs_are_added_when_they_are_needed(font: QFont) -> None:
    atlas = GlyphAtlas(font, INK, 1.0)
    before = ink(by_atlas(atlas, ["12"]))
    assert (ink(by_atlas(atlas, ["-5 %"])) > 100).any()
    assert (ink(by_atlas(atlas, ["12"])) == before).all()


def test_no_text_draws_nothing(font: QFont) -> None:
    atlas, image = GlyphAtlas(font, INK, 1.0), paper(1.0, 2)
    with QPainter(image) as painter:
        atlas.draw(painter, [], WIDTH, [])
        atlas.draw(painter, ["", ""], WIDTH, [5, 9])
    assert image == paper(1.0, 2)
