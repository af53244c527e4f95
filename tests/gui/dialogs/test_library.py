"""The library in the window: stored recordings and files as rows, commands on them, and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QMimeData, QModelIndex, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QFileDialog, QMenu, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.library_jobs import (
    ALL,
    EntryKey,
    Job,
    JobKind,
    JobState,
    RemovalPreview,
    Span,
)
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.gui.dialogs.gap_list import GapList
from orderbook_desktop.gui.dialogs.library_columns import COLUMNS
from orderbook_desktop.gui.dialogs.order_dialogs import RemovalDialog, TargetDialog
from orderbook_desktop.gui.dialogs.question import Question
from orderbook_desktop.gui.dialogs.recordings import RecordingManager
from orderbook_desktop.gui.theme import DARK, LIGHT
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import FakeDesk
from tests.gui.fake_library import BEGIN_MS, HOUR_MS, FakeLibrary, entry

# The offscreen platform can neither raise nor size a window.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

_FROM = [column.heading for column in COLUMNS].index("From")
FILE = "/somewhere/week.obd"
BTC, IN_FILE = EntryKey("BTCUSDT"), EntryKey("BTCUSDT", FILE)
_Dialog = TypeVar("_Dialog", TargetDialog, RemovalDialog, Question, GapList, QFileDialog)


@pytest.fixture
def library(desk: FakeDesk) -> FakeLibrary:
    """A market that is recorded, one that was, one that another program records, and a file."""
    library = FakeLibrary(
        entry("BTC/USDT", 3, 2),
        entry("ETH/USDT"),
        entry("SOL/USDT", 1, recorded=True),
        entry("BTC/USDT", 1, file=FILE),
    )
    desk.library = library
    desk.recordings = (RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=True),)
    return library


@pytest.fixture
def manager(
    desk: FakeDesk, library: FakeLibrary, host: QWidget, qtbot: QtBot
) -> Iterator[RecordingManager]:
    del library
    manager = RecordingManager(desk, DARK, host)
    qtbot.addWidget(manager)
    manager.show()
    qtbot.waitUntil(manager.isVisible)
    yield manager
    manager.close()


def rows(manager: RecordingManager) -> dict[str, list[str]]:
    """The texts of the rows, by the name in the first column."""
    model = manager.table.model()
    columns = range(model.columnCount(QModelIndex()))
    found = [
        [model.index(place, column).data() for column in columns]
        for place in range(model.rowCount(QModelIndex()))
    ]
    return {row[0]: row for row in found}


def select(manager: RecordingManager, *names: str) -> None:
    manager.table.clearSelection()
    manager.table.setSelectionMode(manager.table.SelectionMode.MultiSelection)
    for place, name in enumerate(rows(manager)):
        if name in names:
            manager.table.selectRow(place)
    manager.table.setSelectionMode(manager.table.SelectionMode.ExtendedSelection)
    manager.table.setFocus()


def opened(kind: type[_Dialog], parent: QWidget) -> _Dialog:
    """The visible dialog of a kind."""
    return next(one for one in parent.findChildren(kind) if one.isVisible())


def press(manager: RecordingManager, key: Qt.Key, shift: bool = False) -> None:
    modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(manager.table, key, modifier)


def test_all_that_was_ever_recorded_is_a_row(manager: RecordingManager) -> None:
    found = rows(manager)
    assert list(found) == ["SOL/USDT", "BTC/USDT", "ETH/USDT", "BTC/USDT · week.obd"]
    end = BEGIN_MS + 4 * HOUR_MS + 3 * 540_000
    assert found["BTC/USDT"][1:] == [
        *("● recording", "0.0", "—", "3 · 2 of trades", "89.88 %"),
        *(time_text(BEGIN_MS)[:19], time_text(end)[:19], "144,000", "12,345", "14.4 MB"),
    ]
    assert found["ETH/USDT"][1:6] == ["· stored", "—", "—", "0", "100 %"]
    assert found["SOL/USDT"][1] == "◇ recorded by another program"
    assert found["BTC/USDT · week.obd"][1] == "▤ packed file"
    assert manager.total.text().endswith(" · 3 markets stored, 25.2 MB")


def test_every_cell_of_a_stored_row_explains_itself(manager: RecordingManager) -> None:
    tip = Qt.ItemDataRole.ToolTipRole
    for place, row in enumerate(manager.model.rows):
        tips = [manager.model.index(place, column).data(tip) for column in range(11)]
        assert all(tips), row.name
        assert "45 trades were asked for later." in tips
        assert (
            manager.model.index(place, 5)
            .data(Qt.ItemDataRole.AccessibleTextRole)
            .startswith("Covered: ")
        )


def test_the_bar_shows_gaps_in_both_themes(manager: RecordingManager) -> None:
    for theme in (DARK, LIGHT):
        manager.set_theme(theme)
        image = manager.table.viewport().grab().toImage()
        colours = {
            image.pixelColor(x, y).name()
            for x in range(image.width())
            for y in range(0, image.height(), 2)
        }
        assert {theme.good.name(), theme.trouble.name()} <= colours


def test_rows_stay_while_nothing_changes(manager: RecordingManager, library: FakeLibrary) -> None:
    changed = QSignalSpy(manager.model.dataChanged)
    manager.look()
    assert changed.count() == 0
    first, *others = library.entries or ()
    library.entries = (replace(first, events=7), *others)
    manager.look()
    assert changed.count() == 1
    library.problem = "The database failed."
    manager.look()
    assert manager.total.text() == "The database failed."


def test_what_can_be_done_depends_on_what_is_selected(manager: RecordingManager) -> None:
    bar = manager.stored

    def offered() -> list[str]:
        buttons = (
            *(bar.play_button, bar.verify_button, bar.export_button, bar.pack_button),
            *(bar.merge_button, bar.remove_button, manager.start_button, manager.remove_button),
        )
        return [one.text().replace("&", "").rstrip("…") for one in buttons if one.isEnabled()]

    select(manager, "ETH/USDT")
    assert offered() == ["Play", "Verify", "Export", "Pack", "Remove", "Start"]
    select(manager, "BTC/USDT · week.obd")
    assert offered() == ["Play", "Verify", "Export", "Merge", "Take off the list"]
    select(manager, "ETH/USDT", "SOL/USDT")
    assert offered() == ["Verify", "Pack", "Start"]
    manager.table.clearSelection()
    assert offered() == []


def test_a_stored_market_is_recorded_again(manager: RecordingManager, desk: FakeDesk) -> None:
    select(manager, "ETH/USDT")
    press(manager, Qt.Key.Key_Space)
    assert desk.commands == [("start_recording", "ETH/USDT")]
    assert rows(manager)["ETH/USDT"][1] == "● recording"


def test_recordings_are_played(manager: RecordingManager, desk: FakeDesk) -> None:
    select(manager, "ETH/USDT")
    press(manager, Qt.Key.Key_P)
    assert not manager.isVisible()  # What is played was behind the list.
    manager.show()
    select(manager, "BTC/USDT · week.obd")
    press(manager, Qt.Key.Key_Return)
    assert desk.commands == [
        ("start_replay", ("ETH/USDT", None, None)),
        ("start_replay", ("BTC/USDT", None, Path(FILE))),
    ]


def test_several_are_proven_one_after_another_and_stopped(
    manager: RecordingManager, library: FakeLibrary
) -> None:
    select(manager, "ETH/USDT", "BTC/USDT · week.obd")
    assert not manager.jobs.isVisible()
    press(manager, Qt.Key.Key_V)
    assert library.commands == [
        ("verify", (EntryKey("ETHUSDT"), ALL)),
        ("verify", (IN_FILE, ALL)),
    ]
    assert manager.jobs.texts == ["Verifying BTCUSDT: waiting", "Verifying ETHUSDT: waiting"]
    library.change(1, state=JobState.RUNNING, progress=0.5, step="reading the file")
    manager.look()
    assert manager.jobs.texts[1] == "Verifying ETHUSDT: reading the file"
    button = manager.jobs.button(1)
    assert button.accessibleName() == "Stop: Verifying ETHUSDT"
    button.click()
    assert not button.isEnabled()
    library.change(1, state=JobState.STOPPED, sentence="It was stopped.", remarks=("So.",))
    manager.look()
    assert manager.jobs.texts[1] == "○ It was stopped.\nSo."
    manager.jobs.button(1).click()
    assert library.commands[2:] == [("stop", 1), ("dismiss", 1)]
    library.jobs = ()
    manager.look()
    assert not manager.jobs.isVisible()


def test_a_job_s_end_is_seen_without_a_look(
    manager: RecordingManager, library: FakeLibrary, qtbot: QtBot
) -> None:
    library.jobs = (Job(1, JobKind.PACK, "BTC/USDT", JobState.RUNNING),)
    qtbot.waitUntil(lambda: bool(manager.jobs.texts))
    library.jobs = (Job(1, JobKind.PACK, "BTC/USDT", JobState.FAILED, sentence="No room."),)
    qtbot.waitUntil(lambda: manager.jobs.texts == ["✕ No room."])


def test_a_recording_is_exported(
    manager: RecordingManager, library: FakeLibrary, tmp_path: Path
) -> None:
    select(manager, "BTC/USDT")
    press(manager, Qt.Key.Key_E)
    dialog = opened(TargetDialog, manager)
    assert dialog.target.text().endswith("/BTCUSDT.csv.gz")
    dialog.formats.setCurrentIndex(3)
    assert dialog.target.text().endswith("/BTCUSDT-trades.parquet")
    path = tmp_path / "mine.parquet"
    dialog.target.setText(str(path))
    dialog.formats.setCurrentIndex(2)
    assert dialog.target.text() == str(path)
    dialog.span.end.setText("yesterday at nine")
    dialog.write_button.click()
    assert "is not a time such as" in dialog.problem.text()
    dialog.span.end.setText("77")
    dialog.write_button.click()
    assert dialog.problem.text().startswith("An update id is no time")
    dialog.span.begin.setText(str(BEGIN_MS + 5_000))
    dialog.span.end.setText(str(BEGIN_MS + 5_000))
    dialog.write_button.click()
    assert dialog.problem.text() == "The end has to come after the beginning."
    dialog.span.end.setText(str(BEGIN_MS + 9_000))
    dialog.write_button.click()
    span = Span(BEGIN_MS + 5_000, BEGIN_MS + 9_000)
    assert library.commands == [("export", (BTC, ExportFormat.PARQUET, path, span, False))]


def test_a_file_that_is_there_is_replaced_only_if_that_is_wanted(
    manager: RecordingManager, library: FakeLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "a.obd"
    path.touch()
    select(manager, "BTC/USDT", "ETH/USDT")
    press(manager, Qt.Key.Key_K)
    dialog = opened(TargetDialog, manager)
    assert dialog.windowTitle() == "Pack 2 recordings"
    assert not dialog.formats.isVisible()
    for text, problem in ((str(tmp_path), "is a folder"), (" ", "Name a file.")):
        dialog.target.setText(text)
        dialog.write_button.click()
        assert problem in dialog.problem.text()
    dialog.target.setText(str(path))
    dialog.write_button.click()
    assert library.commands == []
    QTest.keyClick(opened(Question, dialog), Qt.Key.Key_Return)
    assert library.commands == [("pack", (["BTCUSDT", "ETHUSDT"], path, ALL, True))]
    # The next file goes into the same folder.
    press(manager, Qt.Key.Key_K)
    assert opened(TargetDialog, manager).target.text() == str(tmp_path / "recordings.obd")


def test_nothing_is_removed_before_it_is_said_what(
    manager: RecordingManager, library: FakeLibrary, qtbot: QtBot
) -> None:
    select(manager, "BTC/USDT")
    press(manager, Qt.Key.Key_Delete, shift=True)
    dialog = opened(RemovalDialog, manager)
    assert library.commands == [("preview_removal", ("BTCUSDT", ALL))]
    assert not dialog.remove_button.isEnabled()
    library.answer()
    assert dialog.preview.text() == (
        "This removes 12 events of BTC/USDT, about 1.2 kB. It can't be undone."
    )
    assert dialog.remove_button.isEnabled()
    # Another stretch of time is another question.
    dialog.span.begin.setText(str(BEGIN_MS))
    assert not dialog.remove_button.isEnabled()
    library.preview = RemovalPreview(problem="It is being recorded.")
    qtbot.waitUntil(lambda: len(library.commands) == 2)
    library.answer()
    assert (dialog.preview.text(), dialog.remove_button.isEnabled()) == (
        *("It is being recorded.", False),
    )
    library.preview = RemovalPreview("9 events of BTC/USDT")
    dialog.span.begin.setText("then")
    qtbot.waitUntil(lambda: "is not a time such as" in dialog.preview.text())
    dialog.span.begin.setText(str(BEGIN_MS + 1))
    qtbot.waitUntil(lambda: len(library.commands) == 3)
    library.answer()
    dialog.remove_button.click()
    assert library.commands[-1] == ("remove", ("BTCUSDT", Span(BEGIN_MS + 1)))


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Escape])
def test_return_and_escape_remove_nothing(
    manager: RecordingManager, library: FakeLibrary, key: Qt.Key
) -> None:
    select(manager, "ETH/USDT")
    manager.stored.remove_button.click()
    dialog = opened(RemovalDialog, manager)
    library.answer()
    dialog.remove_button.clearFocus()
    QTest.keyClick(dialog, key)
    library.answer()
    assert [name for name, _ in library.commands] == ["preview_removal"]


def test_files_are_opened_imported_merged_and_closed(
    manager: RecordingManager, library: FakeLibrary
) -> None:
    press(manager, Qt.Key.Key_I)
    dialog = opened(QFileDialog, manager)
    dialog.filesSelected.emit(["/a/eth.csv", "/a/b.OBD"])
    dialog.close()
    press(manager, Qt.Key.Key_O)
    dialog = opened(QFileDialog, manager)
    dialog.filesSelected.emit(["/a/c.obd"])
    dialog.close()
    select(manager, "BTC/USDT · week.obd")
    press(manager, Qt.Key.Key_M)
    press(manager, Qt.Key.Key_Delete)
    assert library.commands == [
        ("import_files", ([Path("/a/eth.csv")], None)),
        ("open_file", Path("/a/b.OBD")),
        ("open_file", Path("/a/c.obd")),
        ("unpack", Path(FILE)),
        ("close_file", FILE),
    ]
    assert list(rows(manager)) == ["SOL/USDT", "BTC/USDT", "ETH/USDT"]


def test_the_kind_of_files_is_chosen_where_it_can_not_be_detected(
    manager: RecordingManager, library: FakeLibrary
) -> None:
    press(manager, Qt.Key.Key_I)
    dialog = opened(QFileDialog, manager)
    for kind in dialog.nameFilters():
        dialog.selectNameFilter(kind)
        dialog.filesSelected.emit(["/a/day.dat"])
    dialog.close()
    chosen = [form for _, form in map(itemgetter(1), library.commands)]
    assert chosen == [None, None, *ImportFormat]


def test_times_are_written_and_read_in_the_zone_of_the_window(
    window: MainWindow, desk: FakeDesk
) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    desk.library = FakeLibrary(entry("BTC/USDT", 2, 1, file=FILE))
    window.dialogs.manage_recordings()
    manager = window.dialogs.recordings
    assert manager is not None
    name = "BTC/USDT · week.obd"
    window.dialogs.set_zone(zone)
    from_text = rows(manager)[name][_FROM]
    assert from_text == time_text(BEGIN_MS, zone)[:19] != time_text(BEGIN_MS, UTC)[:19]
    select(manager, name)
    press(manager, Qt.Key.Key_E)
    dialog = opened(TargetDialog, manager)
    assert dialog.span.begin.placeholderText() == time_text(BEGIN_MS, zone)
    dialog.span.begin.setText("2024-08-08 12:00")
    begin = datetime(2024, 8, 8, 12, tzinfo=zone)
    assert dialog.span.span().from_ms == round(begin.timestamp() * 1_000)
    dialog.close()
    press(manager, Qt.Key.Key_G)
    gaps = opened(GapList, window)
    assert gaps.model.index(0, 0).data().endswith("+05:30")
    window.dialogs.set_zone(UTC)
    assert gaps.model.index(0, 0).data().endswith("+00:00")
    assert gaps.headline.text().endswith("in UTC.")
    assert rows(manager)[name][_FROM] == time_text(BEGIN_MS, UTC)[:19]


def test_files_may_be_dropped(manager: RecordingManager, library: FakeLibrary) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/a/b.obd"), QUrl("http://127.0.0.1/c.obd")])
    buttons, modifiers = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    copy = Qt.DropAction.CopyAction
    manager.dropEvent(QDropEvent(QPointF(5, 5), copy, data, buttons, modifiers))
    assert library.commands == [("open_file", Path("/a/b.obd"))]


def test_the_menu_of_a_row_has_what_it_offers(
    manager: RecordingManager, library: FakeLibrary
) -> None:
    select(manager, "ETH/USDT")
    manager.table.customContextMenuRequested.emit(QPoint(5, 5))
    (menu,) = [one for one in manager.findChildren(QMenu) if one.isVisible()]
    made = {action.text().replace("&", ""): action for action in menu.actions()}
    assert list(made) == [
        *("Play", "Verify", "Export…", "Pack…", "Remove…", "Start", "Show", "Gaps…")
    ]
    made["Verify"].trigger()
    menu.close()
    assert library.commands == [("verify", (EntryKey("ETHUSDT"), ALL))]


def test_the_gaps_of_a_file_are_listed_too(window: MainWindow, desk: FakeDesk) -> None:
    desk.library = FakeLibrary(entry("BTC/USDT", 2, 1, file=FILE))
    window.dialogs.manage_recordings()
    manager = window.dialogs.recordings
    assert manager is not None
    select(manager, "BTC/USDT · week.obd")
    press(manager, Qt.Key.Key_G)
    gaps = opened(GapList, window)
    assert gaps.windowTitle() == "Gaps · BTC/USDT in week.obd"
    assert gaps.model.rowCount() == 3
    causes = [gaps.model.index(row, 4).data() for row in range(3)]
    assert any(text.startswith("Trades: ") for text in causes)


def test_the_window_opens_a_file(window: MainWindow, desk: FakeDesk) -> None:
    window.dialogs.open_packed(Path(FILE))
    assert window.dialogs.recordings is None
    library = desk.library = FakeLibrary()
    window.dialogs.open_packed(Path(FILE))
    assert library.commands == [("open_file", Path(FILE))]
    assert window.dialogs.recordings is not None
    assert window.dialogs.recordings.isVisible()
