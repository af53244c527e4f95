"""A heatmap as an image: cells, gaps and lines are where they belong, with a legend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.panes.heatmap.image import HeatmapImage, Labels, Shown, png_of
from orderbook_desktop.gui.theme import DARK
from tests.core.heatmap.test_cells import made_of, span_with

_SIZE = 1000, 500
_LABELS = Labels("BTC/USDT, today", "made up", "BTC", "USDT")
_GAP = Gap(25_000, 60_000, 13, 49, GapCause.DISCONNECT, "")
# The plot: 12 from the left, 48 from the top.
_PLOT = slice(48, 48 + 394), slice(12, 12 + 892)


def _heatmap(statistic: Statistic = Statistic.MAX) -> Heatmap:
    levels = [(100 + n, 5 + 90 * n, False) for n in range(5)]
    levels += [(106 + n, 500 - 90 * n, True) for n in range(5)]
    known = Horizon(100, 112)
    before = span_with(levels, until_ms=25_000, horizon=known)
    after = span_with(levels, from_ms=60_000, until_ms=90_000, horizon=known, first_id=50)
    bins = TimeBins(0, 90_000, 1_000)
    return made_of([before, after], bins, 1, statistic, rows=(97, 16), opens=(True, True))


def _drawn(colours: ColourMap = ColourMap.FIRE, statistic: Statistic = Statistic.MAX) -> QImage:
    made = _heatmap(statistic)
    shown = Shown.of(made, (97, 113), [(25_000, 60_000)], [_GAP], colours)
    return HeatmapImage(shown, _SIZE).draw(_LABELS)


def _pixels(image: QImage) -> npt.NDArray[np.uint32]:
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    data = np.frombuffer(bytes(image.constBits()), dtype=np.uint32)
    return data.reshape(image.height(), image.bytesPerLine() // 4)[:, : image.width()]


@pytest.mark.parametrize("colours", list(ColourMap))
def test_a_gap_is_hatched_as_long_as_it_was(qapp: QApplication, colours: ColourMap) -> None:
    plot = _pixels(_drawn(colours))[_PLOT]
    hatch = {0xFFD69E52, 0xFF463622}
    # The lowest rows lie beyond the horizon, where no line and no label is drawn.
    is_gap = np.isin(plot[-40:], list(hatch)).all(axis=0)
    left, right = round(892 * 25 / 90), round(892 * 60 / 90)
    assert np.flatnonzero(is_gap).tolist() == list(range(left, right))
    # Below 100 nothing is known, and it does not look like a quantity.
    low = plot[-70:, :200]
    assert set(np.unique(low).tolist()) == {0xFF343A42, 0xFF808A96}


def test_the_best_prices_are_lines_that_a_gap_interrupts(qapp: QApplication) -> None:
    plot = _pixels(_drawn())[_PLOT]
    for price, colour in ((104, DARK.bid), (106, DARK.ask)):
        y = round((113 - price) * 394 / 16)
        near = plot[y - 2 : y + 3]
        wanted = np.array([colour.red(), colour.green(), colour.blue()])
        channels = np.stack([near >> shift & 0xFF for shift in (16, 8, 0)], axis=-1).astype(int)
        is_line = (np.abs(channels - wanted).sum(axis=-1) < 60).any(axis=0)
        assert is_line[:240].mean() > 0.95
        assert is_line[605:880].mean() > 0.95
        assert not is_line[260:580].any()


def test_an_image_says_what_it_shows(qapp: QApplication) -> None:
    images = [_drawn(statistic=statistic) for statistic in Statistic]
    assert [image.text("Source") for image in images] == ["made up"] * 3
    assert images[0].text("Title") == "BTC/USDT, today"
    # The legend names the statistic, and each one has other numbers or another name.
    legends = [_pixels(image)[:48].tobytes() for image in images]
    assert len(set(legends)) == 3
    for image in images:
        assert (image.width(), image.height()) == _SIZE
        # There is text below the time axis, beside the prices, and in the gap.
        pixels = _pixels(image)
        for part in (pixels[-57:, :900], pixels[60:400, 910:], pixels[52:74, 265:560]):
            assert len(np.unique(part)) > 4


def test_it_is_a_png_file(qapp: QApplication) -> None:
    image = _drawn(ColourMap.TWO_HUES)
    data = png_of(image)
    assert data.startswith(b"\x89PNG")
    read = QImage.fromData(data)
    assert _pixels(read).tobytes() == _pixels(image).tobytes()


def test_labels_of_long_times_are_dates(qapp: QApplication) -> None:
    day = 86_400_000
    span = span_with([(100, 5, False)], until_ms=40 * day, horizon=Horizon())
    for length in (200, 5_000, 3_600_000, 40 * day):
        bins = TimeBins(0, length, max(1, length // 50))
        heatmap = made_of([span], bins, 1, rows=(99, 3))
        shown = Shown.of(heatmap, (99, 102), [], [], ColourMap.GREY)
        image = HeatmapImage(shown, _SIZE).draw(_LABELS)
        assert len(np.unique(_pixels(image)[445:475, 20:900])) > 4
