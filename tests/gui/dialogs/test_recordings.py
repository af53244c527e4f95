"""The recording manager: what its table says, how it is sorted, and what it commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy, QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import Connections
from orderbook_desktop.core.recorded_gaps import NOT_READ, RecordedGaps
from orderbook_desktop.core.recording_status import (
    RecordingCounts,
    RecordingState,
    RecordingStatus,
    RepairProgress,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.dialogs.library_columns import COLUMNS, rows_of
from orderbook_desktop.gui.dialogs.question import Question
from orderbook_desktop.gui.dialogs.recordings import RecordingManager
from orderbook_desktop.gui.dialogs.recordings_model import RecordingsModel
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, LIGHT
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import FakeDesk
from tests.gui.pane_of import ladder_of

# The manager is a window, which the offscreen platform can neither raise nor size.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

BUSY = RecordingStatus(
    "BTC/USDT",
    RecordingState.RECORDING,
    counts=RecordingCounts(
        events=1_200,
        payload_bytes=1_500_000,
        archived_events=1_000,
        archived_bytes=120_000,
        gaps=2,
        last_gap="the connection to the exchange was lost",
        last_gap_ms=1_723_100_000_000,
    ),
    rate=9.96,
    lag_ms=12,
    since_ms=1_723_000_000_000,
    kept=True,
)
GAPS = RecordedGaps(
    tuple(
        Gap(1_723_100_000_000, 1_723_100_009_000, 5, 9, cause, "")
        for cause in (GapCause.DISCONNECT, GapCause.USER, GapCause.CRASH)
    ),
    1,
)
STOPPED = RecordingStatus("ETH/USDT", RecordingState.STOPPED, wanted=False, kept=True)
AWAY = RecordingStatus(
    "SOL/USDT",
    RecordingState.RECONNECTING,
    counts=RecordingCounts(events=7),
    problem="No network.",
    kept=True,
)
ON_SCREEN = replace(
    BUSY, symbol="BNB/USDT", kept=False, counts=replace(BUSY.counts, gaps=0), rate=1.0
)


@pytest.fixture
def manager(desk: FakeDesk, host: QWidget, qtbot: QtBot) -> Iterator[RecordingManager]:
    manager = RecordingManager(desk, DARK, host)
    qtbot.addWidget(manager)
    manager.show()
    qtbot.waitUntil(manager.isVisible)
    yield manager
    manager.close()


def show(manager: RecordingManager, desk: FakeDesk, *recordings: RecordingStatus) -> None:
    desk.recordings = recordings
    manager.look()


def texts(model: QAbstractItemModel, row: int) -> list[str]:
    return [model.index(row, column).data() for column in range(model.columnCount(QModelIndex()))]


def symbols(manager: RecordingManager) -> list[str]:
    model = manager.table.model()
    return [texts(model, row)[0] for row in range(model.rowCount(QModelIndex()))]


def confirm(manager: RecordingManager) -> None:
    """Answer the question about a removal by the Return key."""
    question = next(one for one in manager.findChildren(Question) if one.isVisible())
    QTest.keyClick(question, Qt.Key.Key_Return)


def select(manager: RecordingManager, *wanted: str) -> None:
    manager.table.clearSelection()
    manager.table.setSelectionMode(manager.table.SelectionMode.MultiSelection)
    for row, symbol in enumerate(symbols(manager)):
        if symbol in wanted:
            manager.table.selectRow(row)
    manager.table.setSelectionMode(manager.table.SelectionMode.ExtendedSelection)


def test_says_how_each_recording_is_doing(manager: RecordingManager, desk: FakeDesk) -> None:
    desk.gaps = {"BTC/USDT": GAPS, "BNB/USDT": RecordedGaps()}
    show(manager, desk, BUSY, STOPPED, AWAY, ON_SCREEN)
    model = manager.table.model()
    rows = {texts(model, row)[0]: texts(model, row) for row in range(4)}
    assert rows["BTC/USDT"][1:7] == ["● recording", "10.0", "12 ms", "3", "—", "—"]
    assert rows["ETH/USDT"][1:] == ["○ stopped", "—", "—", NOT_READ, *["—"] * 6]
    assert rows["SOL/USDT"][1] == "↻ reconnecting"
    assert "BNB/USDT · on screen" in rows
    assert manager.total.text() == (
        "2 of 4 being recorded · 11 events/s · 3.0 MB in this session · 3 gaps, 1 of them in this "
        "session"
    )


def test_until_the_first_event_the_state_is_connecting(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    lost = replace(AWAY, symbol="A/B", counts=RecordingCounts(gaps=1))
    show(manager, desk, replace(AWAY, counts=RecordingCounts()), lost)
    model = manager.model
    assert [texts(model, row)[1] for row in range(2)] == ["↻ connecting", "↻ reconnecting"]


def test_the_repair_of_missing_trades_is_seen(manager: RecordingManager, desk: FakeDesk) -> None:
    repair = RepairProgress(20_000, 7_000)
    show(manager, desk, replace(BUSY, repair=repair), replace(AWAY, repair=repair))
    model = manager.model
    # What keeps a recording from going on counts more.
    assert [texts(model, row)[1] for row in range(2)] == [
        *("● recording, repairing 35 %", "↻ reconnecting")
    ]
    tips = [model.index(row, 1).data(Qt.ItemDataRole.ToolTipRole) for row in range(2)]
    assert tips[0].startswith("Recording, and repairing 20,000 trades of BTC/USDT, 35 %. Since ")
    assert tips[1] == "No network."


def test_the_worst_come_first_and_headings_sort(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY, STOPPED, AWAY, ON_SCREEN)
    assert symbols(manager) == ["SOL/USDT", "BNB/USDT · on screen", "BTC/USDT", "ETH/USDT"]
    desk.gaps = {"BTC/USDT": GAPS, "ETH/USDT": RecordedGaps()}
    manager.look()
    manager.table.sortByColumn(4, Qt.SortOrder.DescendingOrder)
    assert symbols(manager)[0] == "BTC/USDT"
    manager.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert symbols(manager)[0] == "BNB/USDT · on screen"


def test_states_are_sorted_by_the_one_order_of_badness(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    rows = [replace(BUSY, symbol=f"{state.name}/USDT", state=state) for state in RecordingState]
    show(manager, desk, *reversed(rows))
    expected = sorted(rows, key=lambda one: one.state.rank)
    assert symbols(manager) == [one.symbol for one in expected]


def test_tips_explain_gaps_and_problems(manager: RecordingManager, desk: FakeDesk) -> None:
    desk.gaps = {"BTC/USDT": GAPS, "SOL/USDT": RecordedGaps()}
    show(manager, desk, BUSY, AWAY)
    tip = Qt.ItemDataRole.ToolTipRole
    model = manager.model
    gaps = model.index(0, 4).data(tip)
    assert gaps.startswith("3 gaps, 1 of them in this session. The last one began at ")
    assert "the connection to the exchange was lost" in gaps
    assert model.index(1, 1).data(tip) == "No network."
    # The state's cell alone says why.
    assert "No network." not in model.index(1, 0).data(tip)
    assert model.index(1, 4).data(tip) == "No gaps."
    desk.gaps = {}
    manager.look()
    assert model.index(0, 4).data(tip) == "The gaps are not read yet."
    assert "1,500,000 bytes" in model.index(0, 8).data(tip)
    assert "1,000 events archived" in model.index(0, 10).data(tip)


def test_the_model_keeps_qt_s_rules_and_changes_only_what_is_new() -> None:
    model = RecordingsModel(DARK)
    tester = QAbstractItemModelTester(
        model, QAbstractItemModelTester.FailureReportingMode.Fatal, model
    )
    assert tester.model() is model
    changed = QSignalSpy(model.dataChanged)
    model.show_rows(rows_of([BUSY, STOPPED, AWAY], ()))
    model.show_rows(rows_of([BUSY, AWAY], ()))
    assert changed.count() == 0
    model.show_rows(rows_of([AWAY, replace(BUSY, rate=3.0), ON_SCREEN], ()))
    assert changed.count() == 1
    assert [one.symbol for one in model.rows] == ["BTC/USDT", "SOL/USDT", "BNB/USDT"]
    assert texts(model, 0)[2] == "3.0"
    model.show_rows(rows_of([], ()))
    assert model.rowCount() == 0


def test_colours_follow_the_theme_and_are_never_alone() -> None:
    model = RecordingsModel(DARK)
    model.show_rows(rows_of([BUSY, STOPPED, AWAY], ()))
    role = Qt.ItemDataRole.ForegroundRole

    def colours() -> list[QColor]:
        return [model.index(row, 1).data(role) for row in range(3)]

    assert colours() == [DARK.good, DARK.muted, DARK.caution]
    model.set_theme(LIGHT)
    assert colours() == [LIGHT.good, LIGHT.muted, LIGHT.caution]
    assert len({texts(model, row)[1] for row in range(3)}) == 3


def test_a_symbol_is_added_by_typing(manager: RecordingManager, desk: FakeDesk) -> None:
    assert manager.empty.isVisible()
    assert manager.symbol_box.hasFocus()
    QTest.keyClicks(manager.symbol_box, "ethusdt")
    QTest.keyClick(manager.symbol_box, Qt.Key.Key_Return)
    assert desk.commands == [("start_recording", "ETH/USDT")]
    assert manager.symbol_box.text() == ""
    assert manager.table.isVisible()
    assert [one.symbol for one in manager.selected] == ["ETH/USDT"]


def test_symbols_are_typed_one_after_the_other(manager: RecordingManager, desk: FakeDesk) -> None:
    assert manager.symbol_box.popup is None
    for typed in ("ethusdt", "solusdt"):
        assert manager.symbol_box.hasFocus()
        QTest.keyClicks(manager.symbol_box, typed)
        QTest.keyClick(manager.symbol_box, Qt.Key.Key_Return)
    assert desk.commands == [("start_recording", "ETH/USDT"), ("start_recording", "SOL/USDT")]
    assert manager.symbol_box.hasFocus()
    QTest.keyClick(manager.symbol_box, Qt.Key.Key_Return)
    assert manager.table.hasFocus()


def test_the_field_has_the_focus_whenever_it_opens(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    show(manager, desk, BUSY)
    manager.table.setFocus()
    manager.hide()
    manager.show()
    assert manager.focusWidget() is manager.symbol_box
    assert manager.symbol_box.popup is None


def test_escape_ends_a_search_before_it_hides_the_window(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    QTest.keyClicks(manager.symbol_box, "eth")
    for left in ("eth", ""):
        QTest.keyClick(manager.symbol_box, Qt.Key.Key_Escape)
        assert manager.isVisible()
        assert manager.symbol_box.popup is None
        assert manager.symbol_box.text() == left
    QTest.keyClick(manager.symbol_box, Qt.Key.Key_Escape)
    assert not manager.isVisible()
    assert desk.commands == []


def test_buttons_offer_what_can_be_done(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY, STOPPED, ON_SCREEN)
    offered = {
        "BTC/USDT": (False, True, True),
        "ETH/USDT": (True, False, True),
        "BNB/USDT · on screen": (True, True, False),
    }
    for symbol, expected in offered.items():
        select(manager, symbol)
        buttons = (manager.start_button, manager.stop_button, manager.remove_button)
        assert tuple(button.isEnabled() for button in buttons) == expected, symbol
    assert manager.start_button.text().replace("&", "") == "Keep recording"
    select(manager, "BTC/USDT", "ETH/USDT")
    assert manager.start_button.text().replace("&", "") == "Start"
    assert not manager.show_button.isEnabled()


def test_buttons_command_the_desk(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY, STOPPED, ON_SCREEN)
    commanded = QSignalSpy(manager.commanded)
    select(manager, "BTC/USDT", "ETH/USDT")
    manager.stop_button.click()
    assert [one.state for one in desk.recordings[:2]] == [RecordingState.STOPPED] * 2
    select(manager, "BTC/USDT")
    manager.start_button.click()
    select(manager, "BNB/USDT · on screen")
    manager.start_button.click()
    select(manager, "ETH/USDT")
    manager.remove_button.click()
    confirm(manager)
    select(manager, "BTC/USDT")
    manager.show_button.click()
    assert desk.commands == [
        ("stop_recording", "BTC/USDT"),
        ("start_recording", "BTC/USDT"),
        ("start_recording", "BNB/USDT"),
        ("remove_recording", "ETH/USDT"),
        ("select_symbol", "BTC/USDT"),
    ]
    assert commanded.count() == 5


def test_keys_command_the_desk(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY)
    select(manager, "BTC/USDT")
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Delete):
        QTest.keyClick(manager.table, key)
    assert [name for name, _ in desk.commands][2:] == ["select_symbol"]
    confirm(manager)
    assert [name for name, _ in desk.commands] == [
        "stop_recording",
        "start_recording",
        "select_symbol",
        "remove_recording",
    ]
    assert manager.empty.isVisible()
    QTest.keyClick(manager.table, Qt.Key.Key_Escape)
    assert not manager.isVisible()


def test_rows_keep_their_selection_while_numbers_change(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    many = [replace(BUSY, symbol=f"A{number}/USDT", rate=number) for number in range(100)]
    show(manager, desk, *many)
    manager.table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    select(manager, "A50/USDT")
    show(manager, desk, *(replace(one, rate=100 - one.rate) for one in many[10:]))
    assert [one.symbol for one in manager.selected] == ["A50/USDT"]
    assert symbols(manager)[0] == "A10/USDT"


def test_looks_only_while_it_is_open(
    manager: RecordingManager, desk: FakeDesk, qtbot: QtBot
) -> None:
    desk.recordings = [BUSY]
    qtbot.waitUntil(lambda: manager.model.rowCount() == 1)
    manager.hide()
    desk.recordings = []
    assert not manager.table.isVisible()
    assert manager.model.rowCount() == 1
    manager.show()
    assert manager.model.rowCount() == 0


def test_every_column_explains_itself() -> None:
    model = RecordingsModel(DARK)
    model.show_rows(rows_of([STOPPED], ()))
    for column in range(len(COLUMNS)):
        assert model.index(0, column).data(Qt.ItemDataRole.ToolTipRole)


def test_the_window_opens_it_and_remembers_what_is_kept(
    window: MainWindow, desk: FakeDesk, preferences: Preferences, qtbot: QtBot
) -> None:
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(ladder_of(window), Qt.Key.Key_R, keys)
    assert window.dialogs.recordings is not None
    qtbot.waitUntil(window.dialogs.recordings.isVisible)
    desk.start_recording("ETH/USDT")
    desk.start_recording("SOL/USDT")
    desk.stop_recording("SOL/USDT")
    desk.recordings = (*desk.recordings, ON_SCREEN)
    window.bridge.look()
    assert preferences.recordings == {"ETH/USDT": True, "SOL/USDT": False}
    assert window.dialogs.recordings.model.rowCount() == 3
    window.dialogs.recordings.hide()
    QTest.keyClick(ladder_of(window), Qt.Key.Key_R, keys)
    qtbot.waitUntil(window.dialogs.recordings.isVisible)
    # Each key acts at once.
    assert len(window.dialogs.recordings.selected) == 1
    window.dialogs.recordings.hide()


def test_the_last_removal_leads_to_the_field(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY)
    select(manager, "BTC/USDT")
    manager.table.setFocus()
    QTest.keyClick(manager.table, Qt.Key.Key_Delete)
    confirm(manager)
    assert manager.empty.isVisible()
    assert manager.focusWidget() is manager.symbol_box
    assert manager.symbol_box.popup is None


def test_what_was_stopped_is_not_begun_by_its_removal(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    # Without the stopped recording, the symbol on screen would be recorded again.
    show(manager, desk, replace(STOPPED, symbol="BTC/USDT"), STOPPED)
    for symbol in ("ETH/USDT", "BTC/USDT"):
        select(manager, symbol)
        manager.remove_button.click()
        confirm(manager)
    assert desk.commands == [
        ("remove_recording", "ETH/USDT"),
        ("set_recording", False),
        ("remove_recording", "BTC/USDT"),
    ]


@pytest.mark.parametrize("first", ["start_button", "stop_button", "remove_button"])
@pytest.mark.parametrize("status", [BUSY, STOPPED, ON_SCREEN, AWAY])
def test_the_space_bar_alone_never_removes(
    manager: RecordingManager, desk: FakeDesk, first: str, status: RecordingStatus
) -> None:
    show(manager, desk, status, replace(BUSY, symbol="A/USDT"))
    select(manager, texts(manager.model, 0)[0])
    button = getattr(manager, first)
    if not button.isEnabled():
        return
    button.setFocus()
    for _ in range(4):
        active = QApplication.activeModalWidget() or manager
        QTest.keyClick(active.focusWidget() or active, Qt.Key.Key_Space)
    assert "remove_recording" not in {name for name, _ in desk.commands}
    for question in manager.findChildren(Question):
        question.reject()


def test_a_removal_says_what_it_does(manager: RecordingManager, desk: FakeDesk) -> None:
    show(manager, desk, BUSY, STOPPED)
    asked = []
    for chosen in (("BTC/USDT",), ("ETH/USDT",), ("BTC/USDT", "ETH/USDT")):
        select(manager, *chosen)
        manager.remove_button.click()
        question = next(one for one in manager.findChildren(Question) if one.isVisible())
        asked.append(question.text.text())
        question.reject()
    stays = " off the list? What has been recorded stays."
    assert asked == [
        f"Take BTC/USDT{stays} It is no longer recorded, unless it is on screen.",
        f"Take ETH/USDT{stays}",
        f"Take 2 recordings{stays} They are no longer recorded, unless on screen.",
    ]
    assert desk.commands == []


def test_what_ended_while_the_question_was_open_is_not_removed_again(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    show(manager, desk, BUSY, STOPPED)
    manager.table.selectAll()
    manager.remove_button.click()
    show(manager, desk, STOPPED)
    confirm(manager)
    assert desk.commands == [("remove_recording", "ETH/USDT")]


@pytest.mark.parametrize("width", [600, 900, 1_300])
def test_no_state_is_cut_off(manager: RecordingManager, desk: FakeDesk, width: int) -> None:
    states = [RecordingStatus(f"{one.name}/USDT", one, kept=True) for one in RecordingState]
    long = replace(ON_SCREEN, symbol="1000SATS/FDUSD")
    show(manager, desk, *states, long)
    manager.resize(width, 440)
    QApplication.processEvents()
    for column in range(manager.model.columnCount()):
        wanted = manager.table.sizeHintForColumn(column)
        assert manager.table.columnWidth(column) >= wanted, COLUMNS[column].heading


def test_it_is_no_larger_than_the_screen(manager: RecordingManager) -> None:
    assert manager.width() <= manager.screen().availableSize().width()


def test_another_program_is_named_and_recording_here_too_is_a_switch(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    who = "another program (process 7)"
    elsewhere = replace(STOPPED, state=RecordingState.ELSEWHERE, wanted=True, recorded_by=who)
    show(manager, desk, elsewhere, BUSY)
    tip = Qt.ItemDataRole.ToolTipRole
    assert manager.model.index(0, 1).data() == "◇ recorded by another program"
    assert manager.model.index(0, 1).data(tip).startswith(f"Recorded by {who}; ")
    assert not manager.here_too_box.isChecked()
    row = next(row for row in range(2) if manager.table.model().index(row, 0).data() == "ETH/USDT")
    manager.table.select_only(row)
    QTest.keyClick(manager.table, Qt.Key.Key_T)
    assert desk.commands == [("record_here", ("ETH/USDT", True))]
    assert manager.here_too_box.isChecked()
    assert "while another program records it" in manager.model.index(0, 0).data(tip)
    # The box shows the switch of the selected recording.
    manager.table.select_only(1 - row)
    assert not manager.here_too_box.isChecked()
    manager.table.selectAll()
    manager.here_too_box.click()
    assert set(desk.here_too) == {"ETH/USDT", "BTC/USDT"}
    manager.here_too_box.click()
    assert desk.here_too == ()


def test_two_connections_are_a_switch_unless_a_setting_says_how_many(
    manager: RecordingManager, desk: FakeDesk
) -> None:
    assert not manager.two_box.isChecked()
    for count in (2, 1, 2):
        manager.two_box.click()
        assert desk.commands[-1] == ("set_connections", count)
        assert manager.two_box.isChecked() == (count == 2)
    desk.connections = Connections(3, fixed=True)
    manager.look()
    assert not manager.two_box.isEnabled()
    assert manager.two_box.isChecked()
    tip = "3 connections, as ORDERBOOK_CONNECTIONS or --connections says"
    assert manager.two_box.toolTip() == tip


def test_it_opens_as_wide_as_its_columns(
    desk: FakeDesk, host: QWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide_screen = "orderbook_desktop.gui.dialogs.recordings.size_on_screen"
    monkeypatch.setattr(wide_screen, lambda _window, wanted: wanted)
    manager = RecordingManager(desk, DARK, host)
    qtbot.addWidget(manager)
    manager.show()
    qtbot.waitExposed(manager)
    assert manager.table.horizontalScrollBar().maximum() == 0
