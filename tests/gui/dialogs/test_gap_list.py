"""The list of a recording's gaps: what it says, how it follows the recording, and its keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy, QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.recorded_gaps import HealedGap, RecordedGaps
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.replay import Coverage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.gui.dialogs.gap_list import GapList, GapModel
from orderbook_desktop.gui.dialogs.recordings import RecordingManager
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import FakeDesk
from tests.gui.fake_replay import FakeReplay

# The list is a window, which the offscreen platform can neither raise nor size.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

_BEGIN_MS = 1_723_100_000_250
_CAUSES = list(GapCause)


def gap(number: int, details: str = "", length_ms: int = 12_250) -> Gap:
    """Return the gap of that number; the causes take turns."""
    from_ms = _BEGIN_MS + number * 60_000
    cause = _CAUSES[number % len(_CAUSES)]
    return Gap(from_ms, from_ms + length_ms, number * 100, number * 100 + 7, cause, details)


def gaps(count: int, in_session: int = 0) -> RecordedGaps:
    return RecordedGaps.of([gap(number) for number in range(count)], (count - in_session) * 100 - 1)


def texts(model: GapModel, row: int) -> list[str]:
    return [model.index(row, column).data() for column in range(model.columnCount())]


@pytest.fixture
def shown(desk: FakeDesk, host: QWidget, qtbot: QtBot) -> Iterator[GapList]:
    dialog = GapList(desk, host)
    qtbot.addWidget(dialog)
    dialog.show_symbol("BTC/USDT")
    dialog.show()
    qtbot.waitUntil(dialog.isVisible)
    yield dialog
    dialog.close()


def test_each_gap_has_its_times_its_length_and_its_cause(shown: GapList, desk: FakeDesk) -> None:
    desk.gaps["BTC/USDT"] = RecordedGaps.of(
        [
            gap(0),
            gap(1, "ids 5 to 9", length_ms=93_784_005),
            gap(2, "Connection reset.", length_ms=0),
        ],
        150,
    )
    shown.look()
    from_ms = _BEGIN_MS + 2 * 60_000
    assert texts(shown.model, 0) == [
        *(time_text(from_ms), time_text(from_ms), "0:00:00.000", "this one"),
        "The connection to the exchange was lost (Connection reset)",
    ]
    assert texts(shown.model, 1)[2:4] == ["1 day 2:03:04.005", "earlier"]
    assert texts(shown.model, 2)[4] == "Recording was stopped"
    assert shown.headline.text().startswith(
        "BTC/USDT: 3 gaps, 1 of them in this session, 1 day 2:03:16.255 in all."
    )
    tip = shown.model.index(0, 4).data(Qt.ItemDataRole.ToolTipRole)
    assert "update ids 200 to 207" in tip


def test_every_cause_is_told_in_plain_words(shown: GapList, desk: FakeDesk) -> None:
    desk.gaps["BTC/USDT"] = gaps(len(_CAUSES))
    shown.look()
    told = [texts(shown.model, row)[4] for row in range(len(_CAUSES))]
    assert [one.lower() for one in told] == [cause.sentence.lower() for cause in _CAUSES[::-1]]
    assert all(one[0].isupper() for one in told)


def test_before_it_is_read_and_without_gaps_it_says_so(shown: GapList, desk: FakeDesk) -> None:
    assert shown.headline.text() == "The gaps in the recording of BTC/USDT are not known yet."
    assert not shown.table.isVisible()
    desk.gaps["BTC/USDT"] = RecordedGaps()
    shown.look()
    assert shown.headline.text() == "No gaps in the recording of BTC/USDT."
    assert shown.note.isVisible()


def test_it_follows_the_recording(shown: GapList, desk: FakeDesk, qtbot: QtBot) -> None:
    desk.gaps["BTC/USDT"] = gaps(2)
    qtbot.waitUntil(lambda: shown.model.rowCount() == 2)
    shown.table.selectRow(1)
    selected = texts(shown.model, 1)
    reset, added = QSignalSpy(shown.model.modelReset), QSignalSpy(shown.model.rowsInserted)
    desk.gaps["BTC/USDT"] = gaps(4, in_session=2)
    qtbot.waitUntil(lambda: shown.model.rowCount() == 4)
    assert (reset.count(), added.count()) == (0, 1)
    (index,) = shown.table.selectionModel().selectedRows()
    assert texts(shown.model, index.row()) == selected
    assert [texts(shown.model, row)[3] for row in range(4)] == ["this one"] * 2 + ["earlier"] * 2


def test_the_model_keeps_qt_s_rules() -> None:
    model = GapModel()
    tester = QAbstractItemModelTester(
        model, QAbstractItemModelTester.FailureReportingMode.Fatal, model
    )
    assert tester.model() is model
    for count, in_session in ((3, 0), (5, 2), (5, 2), (4, 1), (0, 0), (5_000, 4_000)):
        model.show_gaps(gaps(count, in_session))
        assert model.rowCount() == count
    assert model.rowCount(model.index(0, 0)) == model.columnCount(model.index(0, 0)) == 0
    assert model.headerData(0, Qt.Orientation.Vertical) is None
    assert [model.headerData(at, Qt.Orientation.Horizontal) for at in range(5)] == [
        *("From", "To", "Length", "Session", "Cause")
    ]
    role = Qt.ItemDataRole.AccessibleTextRole
    assert model.index(0, 4, QModelIndex()).data(role).startswith("Cause: ")


def test_thousands_of_gaps_are_scrolled_by_keys(
    shown: GapList, desk: FakeDesk, qtbot: QtBot
) -> None:
    desk.gaps["BTC/USDT"] = gaps(5_000)
    shown.look()
    shown.activateWindow()
    qtbot.waitUntil(shown.isActiveWindow)
    assert shown.focusWidget() is shown.table
    assert shown.table.currentIndex().row() == 0
    QTest.keyClick(shown.table, Qt.Key.Key_Down)
    assert shown.table.currentIndex().row() == 1
    QTest.keyClick(shown.table, Qt.Key.Key_End, Qt.KeyboardModifier.ControlModifier)
    assert shown.table.currentIndex().row() == 4_999
    QTest.keyClick(shown.table, Qt.Key.Key_Escape)
    assert not shown.isVisible()


def test_it_is_opened_from_the_window_in_three_ways(window: MainWindow, desk: FakeDesk) -> None:
    desk.gaps["BTC/USDT"] = gaps(3, in_session=1)
    desk.recording = RecordingStatus(
        "BTC/USDT", RecordingState.RECORDING, kept=False, gaps=desk.gaps["BTC/USDT"]
    )
    desk.revision += 1
    window.bridge.look()
    button = window.status_line.gaps_button
    assert button.text() == "Gaps 3 · 1 this session"

    def press_keys() -> None:
        QTest.keyClick(window, Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier)

    def press_return() -> None:
        QTest.keyClick(button, Qt.Key.Key_Return)

    for open_list in (button.click, press_return, press_keys):
        open_list()
        (dialog,) = (one for one in window.findChildren(GapList) if one.isVisible())
        assert dialog.windowTitle() == "Gaps · BTC/USDT"
        assert dialog.model.rowCount() == 3
        dialog.reject()
        assert not dialog.isVisible()


def test_it_is_opened_from_the_manager_for_any_recording(
    window: MainWindow, desk: FakeDesk
) -> None:
    desk.recordings = (
        RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=False),
        RecordingStatus("ETH/USDT", RecordingState.STOPPED, kept=True, wanted=False),
    )
    desk.gaps = {"BTC/USDT": gaps(1), "ETH/USDT": gaps(7, in_session=3)}
    window.dialogs.manage_recordings()
    manager = window.dialogs.recordings
    assert isinstance(manager, RecordingManager)
    assert manager.gaps_button.isEnabled()
    row = next(at for at, one in enumerate(desk.recordings) if one.symbol == "ETH/USDT")
    assert manager.model.index(row, 4).data() == "7"
    assert manager.total.text().endswith("8 gaps, 3 of them in this session")
    for at in range(2):
        manager.table.select_only(at)
        if manager.selected[0].symbol == "ETH/USDT":
            break
    QTest.keyClick(manager.table, Qt.Key.Key_G)
    (dialog,) = (one for one in window.findChildren(GapList) if one.isVisible())
    assert dialog.windowTitle() == "Gaps · ETH/USDT"
    assert dialog.model.rowCount() == 7
    # The same window is used for the other symbol.
    window.dialogs.show_gaps("BTC/USDT")
    assert [one for one in window.findChildren(GapList) if one.isVisible()] == [dialog]
    assert dialog.model.rowCount() == 1
    manager.table.selectAll()
    assert not manager.gaps_button.isEnabled()
    window.dialogs.close_all()


def test_go_there_wants_the_selected_gap(shown: GapList, desk: FakeDesk) -> None:
    assert not shown.go_button.isEnabled()
    desk.gaps["BTC/USDT"] = gaps(3)
    shown.look()
    wanted = QSignalSpy(shown.gap_wanted)
    shown.table.selectRow(1)
    shown.go_button.click()
    shown.table.doubleClicked.emit(shown.model.index(1, 0))
    assert [wanted.at(place) for place in range(wanted.count())] == [["BTC/USDT", None, gap(1)]] * 2
    assert shown.close_button.isDefault()
    played = FakeReplay()
    desk.play(played, played.source)
    shown.show_symbol("BTC/USDT")
    QTest.keyClick(shown.table, Qt.Key.Key_Return)
    assert wanted.count() == 3
    assert shown.isVisible()


def test_in_a_replay_of_a_file_it_has_the_gaps_of_the_file(
    window: MainWindow, desk: FakeDesk
) -> None:
    played = FakeReplay()
    played.status = replace(played.status, file="day.obd")
    played.coverage = Coverage(Timeline((), (gap(4),)))
    desk.play(played, played.source)
    window.bridge.look()
    QTest.keyClick(window, Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier)
    (dialog,) = (one for one in window.findChildren(GapList) if one.isVisible())
    assert dialog.windowTitle() == "Gaps · BTC/USDT in day.obd"
    dialog.go_button.click()
    assert played.commands == [("seek_id", gap(4).first_missing - 1)]
    dialog.reject()


def test_a_healed_gap_says_what_healed_it(shown: GapList, desk: FakeDesk) -> None:
    who = "another recorder on host-2 (process 7)"
    healed = [
        HealedGap(_BEGIN_MS, _BEGIN_MS + 500, 1, 9, GapCause.DISCONNECT, "", by=who),
        HealedGap(
            _BEGIN_MS + 10**6, _BEGIN_MS + 10**6, 950, 960, GapCause.USER, "", by="an import"
        ),
    ]
    desk.gaps["BTC/USDT"] = RecordedGaps.of([gap(3)], 200, healed)
    shown.look()
    assert [texts(shown.model, row)[3] for row in range(3)] == ["this one", "this one", "earlier"]
    assert texts(shown.model, 0)[4] == "Recording was stopped; healed by an import"
    assert texts(shown.model, 2)[4].endswith(f" was lost; healed by {who}")
    tip = shown.model.index(2, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert tip.endswith(". Another recorder on host-2 (process 7) has what was missing.")
    assert f" Besides: 2 healed (by an import, {who}). " in shown.headline.text()
    # Without any other gap the list is shown all the same.
    desk.gaps["BTC/USDT"] = RecordedGaps.of([], 200, healed)
    shown.look()
    assert shown.table.isVisible()
    assert shown.headline.text().startswith("No gaps in the recording of BTC/USDT. Besides: 2 ")


def test_gaps_of_trades_are_told_apart(shown: GapList, desk: FakeDesk) -> None:
    lost = TradeGap(9, 14, _BEGIN_MS, _BEGIN_MS + 500, GapCause.NOT_SERVED)
    desk.gaps["BTC/USDT"] = RecordedGaps.of([gap(3)], 200, (), [lost], session_ms=_BEGIN_MS)
    shown.look()
    assert texts(shown.model, 1)[2:] == [
        *("0:00:00.500", "this one", "Trades: the exchange no longer serves these trades")
    ]
    tip = shown.model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert tip.endswith("serves these trades; 4 trades are missing, 10 to 13.")
    assert " in all. Besides: 1 gap of trades. Times are " in shown.headline.text()
