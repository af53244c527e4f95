"""The view of a packed file: what is in it, its gaps, and that it is a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester, QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.packed_contents import PackedContents, PackedRecording
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.gui.dialogs.packed_file import PackedFileView, PackedModel
from orderbook_desktop.gui.window.main_window import MainWindow

# The view is a window, which the offscreen platform can neither raise nor size.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

_BEGIN_MS = 1_723_100_000_250


def contents(*gap_counts: int, name: str = "week.obd") -> PackedContents:
    """A file with a recording for each number of gaps."""
    recordings = []
    for number, count in enumerate(gap_counts):
        gaps = tuple(
            Gap(_BEGIN_MS + 60_000 * at, _BEGIN_MS + 60_000 * at + 9_000, at, at + 1, cause, "")
            for at, cause in zip(range(count), GapCause, strict=False)
        )
        covers = (Cover("a", 0, 9, _BEGIN_MS, _BEGIN_MS + 3_600_000, False),)
        timeline = Timeline(covers, gaps)
        recordings.append(PackedRecording(f"C{number}/USDT", timeline, 3, 12_345, 2_000_000))
    return PackedContents(name, f"/somewhere/{name}", 4_100_000, tuple(recordings))


@pytest.fixture
def view(host: QWidget, qtbot: QtBot) -> Iterator[PackedFileView]:
    view = PackedFileView(host)
    qtbot.addWidget(view)
    view.show_contents(contents(2, 0))
    view.show()
    qtbot.waitUntil(view.isVisible)
    yield view
    view.close()


def test_it_says_that_it_is_a_file(view: PackedFileView) -> None:
    assert view.windowTitle() == "week.obd · a packed file"
    text = view.headline.text()
    assert text.startswith("/somewhere/week.obd is a file with 2 recordings, 4.1 MB. It is not in ")
    assert "nothing is recorded into it" in text


def test_each_recording_has_its_numbers(view: PackedFileView) -> None:
    model = view.model
    row = [model.index(0, column).data() for column in range(model.columnCount())]
    ends = [time_text(_BEGIN_MS), time_text(_BEGIN_MS + 3_600_000)]
    assert row == ["C0/USDT", *ends, "1:00:00.000", "12,345", "3", "2", "2.0 MB"]
    spoken = model.index(1, 6).data(Qt.ItemDataRole.AccessibleTextRole)
    assert spoken == "Gaps: 0"


def test_the_gaps_are_those_of_the_selected_recording(view: PackedFileView) -> None:
    assert view.gap_headline.text() == "C0/USDT: 2 gaps, the newest first."
    assert view.gap_model.rowCount() == 2
    QTest.keyClick(view.table, Qt.Key.Key_Down)
    assert view.gap_headline.text() == "C1/USDT: every second of the recording is covered."
    assert not view.gap_table.isVisible()


def test_another_file_takes_its_place(view: PackedFileView) -> None:
    view.show_contents(contents(name="a\nb\x1b.obd"))
    assert view.windowTitle() == "a b?.obd · a packed file"
    assert (view.model.rowCount(), view.gap_headline.text()) == (0, "")
    view.show_contents(contents(1))
    assert view.gap_model.rowCount() == 1


def test_without_an_event_with_a_book(view: PackedFileView) -> None:
    empty = PackedRecording("A/B", Timeline((), ()), 0, 0, 0)
    view.show_contents(PackedContents("a.obd", "a.obd", 200, (empty,)))
    assert [view.model.index(0, column).data() for column in (1, 2)] == ["—", "—"]


def test_the_model_is_sound(qtbot: QtBot) -> None:
    model = PackedModel()
    QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.show_recordings(contents(1, 2).recordings)


def test_the_window_opens_it_once(window: MainWindow, qtbot: QtBot) -> None:
    window.dialogs.show_packed(contents(1))
    window.dialogs.show_packed(contents(1, 2))
    (view,) = window.findChildren(PackedFileView)
    qtbot.waitUntil(view.isVisible)
    assert view.model.rowCount() == 2
    QTest.keyClick(view, Qt.Key.Key_Escape)
    assert not view.isVisible()
