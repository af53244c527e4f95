"""What the heatmap shows as files: the picture is the window's, and the cells are exact."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.cut_offs import ColourChoice
from orderbook_desktop.core.heatmap.sources import Source
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.gui.panes.heatmap.saving import HeatmapSaver, Snapshot
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from tests.core.heatmap.made_cells import MadePages

# The pane's own, with what it reads.
from tests.gui.panes.heatmap.test_widget import pages, pane  # noqa: F401


def taken(pane: HeatmapPane) -> Snapshot:  # noqa: F811
    found = pane.snapshot()
    assert found is not None
    return found


def saved(qtbot: QtBot, saver: HeatmapSaver, snapshot: Snapshot, path: Path) -> None:
    saver.save(snapshot, path)
    qtbot.waitUntil(lambda: not saver.is_busy)


def said(saver: HeatmapSaver) -> str:
    assert saver.strip.isVisible(), "nothing was said"
    text = saver.strip.label.text()
    saver.strip.button.click()
    assert not saver.strip.isVisible()
    return text


@pytest.fixture
def saver(pane: HeatmapPane) -> HeatmapSaver:  # noqa: F811
    return HeatmapSaver(pane, pane.snapshot)


@pytest.mark.parametrize("colours", [ColourMap.FIRE, ColourMap.TWO_HUES])
def test_the_picture_shows_what_the_window_shows(
    pane: HeatmapPane,  # noqa: F811
    saver: HeatmapSaver,
    qtbot: QtBot,
    tmp_path: Path,
    colours: ColourMap,
) -> None:
    pane.move_by(-0.2, 0.1)
    pane.ask()
    pane.legend.begin(ColourChoice(colours=colours, low="40", high="90"), "BTC")
    pane.ask()
    shown = pane.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    path = tmp_path / "heatmap.png"
    saved(qtbot, saver, taken(pane), path)
    image = QImage(str(path))
    assert "BTC/USDT" in image.text("Title")
    assert "Hatched: not recorded." in image.text("Source")
    plot = pane.places.plot
    assert (image.width(), image.height()) == (plot.width() + 108, plot.height() + 106)
    # Below what is written into a gap, above the buttons, and inside the frame of the focus.
    top, height, width = plot.height() // 2, plot.height() // 3, plot.width()
    wanted = shown.copy(plot.left() + 1, plot.top() + top, width - 1, height)
    assert image.copy(13, 48 + top, width - 1, height).convertToFormat(wanted.format()) == wanted
    saver.copy()
    assert QGuiApplication.clipboard().image().size() == image.size()


def test_the_cells_are_those_in_sight(
    pane: HeatmapPane,  # noqa: F811
    pages: MadePages,  # noqa: F811
    saver: HeatmapSaver,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    pane.move_by(-0.2, 0.1)
    pane.ask()
    view = pane.view
    assert view is not None
    for suffix in ("csv", "npz"):
        saved(qtbot, saver, taken(pane), tmp_path / f"cells.{suffix}")
    with np.load(tmp_path / "cells.npz") as arrays:
        times, prices, bin_ms = arrays["times_ms"], arrays["prices"], int(arrays["bin_ms"])
        values = arrays["high"] * 2**32 + arrays["low"]
    assert times[0] <= view.from_ms < times[0] + bin_ms
    assert times[-1] < view.to_ms <= times[-1] + bin_ms
    assert prices[0] <= view.low < prices[1]
    whole = pages.cells_of(pages.wishes[-1])
    columns = np.searchsorted(whole.times_ms, times)
    rows = np.searchsorted(whole.prices, prices)
    assert (values == whole.values[columns][:, rows]).all()
    with (tmp_path / "cells.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    gaps = {int(row["begin_ms"]) for row in read if row["known"] == "gap"}
    assert gaps == set(times[whole.gap[columns]].tolist())
    assert sum(1 for row in read if row["known"] == "yes") == np.count_nonzero(values)


def test_one_sentence_says_why_there_is_no_file(
    pane: HeatmapPane,  # noqa: F811
    pages: MadePages,  # noqa: F811
    saver: HeatmapSaver,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    saver.save(taken(pane), tmp_path / "heatmap.jpg")
    assert said(saver) == "heatmap.jpg was not saved: its name must end in .png, .csv or .npz."
    saved(qtbot, saver, taken(pane), tmp_path / "none" / "heatmap.png")
    assert "heatmap.png was not saved: No such file or directory." in said(saver)
    pages.waits = True
    pane.move_by(-0.9, 0)
    pane.ask()
    saver.save(taken(pane), tmp_path / "cells.csv")
    assert "have not been read yet" in said(saver)
    pane.begin_anew()
    saver.ask()
    assert said(saver) == "Nothing was saved, as the heatmap shows nothing yet."
    saver.copy()
    assert not list(tmp_path.iterdir())


def test_writing_can_be_cancelled_and_leaves_no_file(
    pane: HeatmapPane,  # noqa: F811
    saver: HeatmapSaver,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    goes_on = threading.Event()

    class Slow(Source):
        def columns(self, times: npt.NDArray[np.float64]) -> Int64Array:
            if threading.current_thread() is not threading.main_thread():
                assert goes_on.wait(20)
            return super().columns(times)

    snapshot = taken(pane)
    view = snapshot.shown.view
    slow = [Slow(source.heatmap, exponent=view.exponent) for source in snapshot.shown.sources]
    snapshot = replace(snapshot, shown=replace(snapshot.shown, sources=slow))
    saver.save(snapshot, tmp_path / "cells.csv")
    assert saver.strip.label.text() == "Writing cells.csv …"
    saver.save(snapshot, tmp_path / "other.csv")
    assert said(saver) == "other.csv was not saved, as cells.csv is still being written."
    goes_on.set()
    qtbot.waitUntil(lambda: not saver.is_busy)
    assert said(saver) == "cells.csv was not saved, as you cancelled it."
    assert not list(tmp_path.iterdir())


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_menu_asks_for_a_file(
    pane: HeatmapPane,  # noqa: F811
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    commands = {command.action.title: command for command in pane.commands()}
    save = commands["Save the heatmap"]
    save.run()  # type: ignore[union-attr]  # it is no switch
    (dialog,) = pane.findChildren(QFileDialog)
    assert dialog.defaultSuffix() == "png"
    dialog.filterSelected.emit("Exact cells for Python (*.npz)")
    assert dialog.defaultSuffix() == "npz"
    path = tmp_path / "cells.npz"
    dialog.fileSelected.emit(str(path))
    qtbot.waitUntil(path.exists)
    dialog.reject()
