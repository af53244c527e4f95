"""The list of a replay's bookmarks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy, QTest
from PySide6.QtWidgets import QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.gui.dialogs.bookmark_list import BookmarkList, BookmarkModel
from tests.gui.fake_desk import FakeDesk
from tests.gui.fake_replay import FakeReplay

# The list is a window, which the offscreen platform can neither raise nor size.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

_T0_MS = 1_723_100_000_250
_MARKS = (
    Bookmark("a", "BTCUSDT", _T0_MS, 1_234, "the sweep"),
    Bookmark("b", "BTCUSDT", _T0_MS + 60_000, 0),
)


@pytest.fixture
def replay(desk: FakeDesk) -> FakeReplay:
    played = FakeReplay()
    played.bookmarks = _MARKS
    desk.play(played, played.source)
    return played


@pytest.fixture
def shown(
    desk: FakeDesk, replay: FakeReplay, host: QWidget, qtbot: QtBot
) -> Iterator[BookmarkList]:
    dialog = BookmarkList(desk, host, UTC)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    yield dialog
    dialog.close()


def texts(model: BookmarkModel) -> list[list[str]]:
    columns = range(model.columnCount())
    return [[model.index(row, at).data() for at in columns] for row in range(model.rowCount())]


def test_each_bookmark_has_its_time_its_update_id_and_its_note(shown: BookmarkList) -> None:
    assert texts(shown.model) == [
        ["8 Aug 2024 06:53:20.250 UTC", "1234", "the sweep"],
        ["8 Aug 2024 06:54:20.250 UTC", "in a gap", ""],
    ]
    assert shown.headline.text() == "Bookmarks in the recording of BTC/USDT"


def test_return_goes_to_the_selected_one(shown: BookmarkList) -> None:
    wanted = QSignalSpy(shown.wanted)
    QTest.keyClick(shown.table, Qt.Key.Key_Down)
    QTest.keyClick(shown.table, Qt.Key.Key_Return)
    assert wanted.count() == 1
    assert wanted.at(0) == [_MARKS[1]]
    assert shown.isVisible()


def test_a_note_is_changed_in_its_cell(
    shown: BookmarkList, replay: FakeReplay, qtbot: QtBot
) -> None:
    shown.note_button.click()
    editor = shown.table.findChild(QLineEdit)
    assert isinstance(editor, QLineEdit)
    assert editor.text() == "the sweep"
    editor.setText(" a larger sweep ")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(replay.commands))
    assert replay.commands == [("change_bookmark", "a", "a larger sweep")]
    assert not shown.model.setData(shown.model.index(0, 2), "the sweep")


def test_a_double_click_goes_there_or_changes_the_note(
    shown: BookmarkList, replay: FakeReplay
) -> None:
    wanted = QSignalSpy(shown.wanted)
    shown.table.doubleClicked.emit(shown.model.index(0, 0))
    assert wanted.count() == 1
    shown.table.doubleClicked.emit(shown.model.index(0, 2))
    assert wanted.count() == 1
    assert shown.table.findChild(QLineEdit) is not None


def test_delete_removes(shown: BookmarkList, replay: FakeReplay) -> None:
    QTest.keyClick(shown.table, Qt.Key.Key_Delete)
    shown.table.selectRow(1)
    shown.remove_button.click()
    assert replay.commands == [("remove_bookmark", "a"), ("remove_bookmark", "b")]


def test_it_follows_the_replay(shown: BookmarkList, replay: FakeReplay, qtbot: QtBot) -> None:
    shown.table.selectRow(1)
    replay.bookmarks = (_MARKS[0], replace(_MARKS[1], note="seen again"))
    qtbot.waitUntil(lambda: texts(shown.model)[1][2] == "seen again")
    assert shown.table.currentIndex().row() == 1
    replay.bookmarks = ()
    shown.look()
    assert shown.note.isVisible()
    assert shown.note.text().startswith("There is no bookmark yet.")
    assert not shown.go_button.isEnabled()
    replay.bookmarks_problem = "A packed file can't be written."
    shown.look()
    assert shown.headline.text() == "A packed file can't be written."
    assert shown.note.text() == ""


def test_it_closes_with_the_replay(shown: BookmarkList, desk: FakeDesk) -> None:
    desk.leave_replay()
    shown.look()
    assert not shown.isVisible()
    # Nothing is selected in what no longer is.
    shown.go_button.click()
    shown.remove_button.click()


def test_times_follow_the_zone(shown: BookmarkList) -> None:
    changed = QSignalSpy(shown.model.dataChanged)
    shown.set_zone(None)
    assert changed.count() == 1


def test_the_model_keeps_qt_s_rules() -> None:
    model = BookmarkModel(lambda _key, _note: None)
    tester = QAbstractItemModelTester(
        model, QAbstractItemModelTester.FailureReportingMode.Fatal, model
    )
    assert tester.model() is model
    for marks in (_MARKS, _MARKS[:1], (), _MARKS):
        model.show_bookmarks(marks, UTC)
        assert model.rowCount() == len(marks)
