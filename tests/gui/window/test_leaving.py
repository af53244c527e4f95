"""Quitting asks while there is something to lose, and the recordings may go on without a window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QSystemTrayIcon
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import Notice, NoticeLevel
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.gui.dialogs.question import Question
from orderbook_desktop.gui.window.leaving import Leaving, Tray
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.conftest import OpenWindow
from tests.gui.fake_desk import FakeDesk
from tests.gui.pane_of import ladder_of

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support", "systemTrayWindowChanged")
CONTROL = Qt.KeyboardModifier.ControlModifier
KEPT = RecordingStatus("ETH/USDT", RecordingState.RECORDING, kept=True, waiting=3)
STOPPED = RecordingStatus("SOL/USDT", RecordingState.STOPPED, kept=True, wanted=False)
ON_SCREEN = RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=False, waiting=1)
DELAYED = replace(ON_SCREEN, state=RecordingState.DELAYED, waiting=12_345)


def question_of(window: MainWindow) -> Question | None:
    questions = [one for one in window.findChildren(Question) if one.isVisible()]
    assert len(questions) <= 1
    return questions[0] if questions else None


def asked(window: MainWindow) -> Question:
    question = question_of(window)
    assert question is not None
    return question


def on_desktop(
    window: MainWindow, desk: FakeDesk, *, has_tray: bool = False, ends: bool = False
) -> Leaving:
    """Give the window a desktop that has a tray, or has none; its session may be ending."""
    window.leaving = Leaving(window, desk, window.bridge, lambda: ends, lambda: has_tray)
    window.leaving.agreed.connect(window.close_requested)
    return window.leaving


def tray_of(leaving: Leaving) -> Tray:
    assert leaving.tray is not None
    return leaving.tray


def by_key(window: MainWindow) -> None:
    QTest.keyClick(ladder_of(window), Qt.Key.Key_Q, CONTROL)


def by_the_frame(window: MainWindow) -> None:
    window.close()


@pytest.mark.parametrize("quit_by", [by_key, by_the_frame])
@pytest.mark.parametrize(
    "recordings", [(), (STOPPED,), (ON_SCREEN,), (STOPPED, ON_SCREEN)], ids=len
)
def test_with_nothing_to_lose_it_just_ends(
    window: MainWindow,
    desk: FakeDesk,
    quit_by: Callable[[MainWindow], None],
    recordings: tuple[RecordingStatus, ...],
) -> None:
    desk.recordings = recordings
    ended = QSignalSpy(window.close_requested)
    quit_by(window)
    assert ended.count() == 1
    assert question_of(window) is None


def test_what_another_program_records_is_not_asked_about(
    window: MainWindow, desk: FakeDesk
) -> None:
    followed = replace(KEPT, state=RecordingState.ELSEWHERE, recorded_by="another program")
    desk.recordings = (followed, ON_SCREEN)
    by_key(window)
    assert question_of(window) is None
    desk.recordings = (followed, replace(KEPT, symbol="XRP/USDT"))
    by_key(window)
    assert asked(window).text.text().startswith("XRP/USDT is being recorded. ")


@pytest.mark.parametrize("quit_by", [by_key, by_the_frame])
def test_kept_recordings_are_asked_about_once(
    window: MainWindow, desk: FakeDesk, quit_by: Callable[[MainWindow], None]
) -> None:
    desk.recordings = (KEPT, STOPPED, ON_SCREEN)
    ended = QSignalSpy(window.close_requested)
    for _ in range(3):
        quit_by(window)
    question = asked(window)
    assert question.text.text() == (
        "ETH/USDT is being recorded. If the program ends, so does that, until the next start."
    )
    assert ended.count() == 0
    QTest.keyClick(question, Qt.Key.Key_Escape)
    assert window.isVisible()
    assert question_of(window) is None
    quit_by(window)
    asked(window).buttons["Stop and quit"].click()
    assert ended.count() == 1


def test_ctrl_q_in_the_question_asks_no_second_one(window: MainWindow, desk: FakeDesk) -> None:
    desk.recordings = (KEPT,)
    by_key(window)
    question = asked(window)
    QTest.keyClick(question, Qt.Key.Key_Q, CONTROL)
    assert asked(window) is question


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (2, "A0/USDT and A1/USDT are"),
        (4, "A0/USDT, A1/USDT, A2/USDT and A3/USDT are"),
        (9, "A0/USDT, A1/USDT, A2/USDT and 6 more are"),
    ],
)
def test_it_names_what_is_recorded(
    window: MainWindow, desk: FakeDesk, count: int, names: str
) -> None:
    desk.recordings = tuple(replace(KEPT, symbol=f"A{number}/USDT") for number in range(count))
    by_key(window)
    assert asked(window).text.text().startswith(names)


def test_events_that_wait_for_the_database_are_named(window: MainWindow, desk: FakeDesk) -> None:
    ended = QSignalSpy(window.close_requested)
    desk.recordings = (DELAYED,)
    by_key(window)
    assert asked(window).text.text() == (
        "12,345 events wait in memory for the database. If the program ends before the database "
        "answers, they are lost."
    )
    asked(window).reject()
    desk.recordings = (replace(DELAYED, waiting=0), KEPT)
    by_key(window)
    assert "wait" not in asked(window).text.text()
    asked(window).reject()
    desk.recordings = (replace(DELAYED, waiting=1), KEPT)
    by_key(window)
    assert "1 event waits in memory" in asked(window).text.text()
    assert "ETH/USDT is being recorded" in asked(window).text.text()
    asked(window).reject()
    assert ended.count() == 0


def test_the_demo_has_nothing_to_lose(open_window: OpenWindow) -> None:
    desk = FakeDesk(demo=True)
    desk.recordings = (KEPT, DELAYED)
    window = open_window(desk)
    ended = QSignalSpy(window.close_requested)
    by_key(window)
    assert ended.count() == 1


def test_the_end_of_the_session_is_not_held_up(window: MainWindow, desk: FakeDesk) -> None:
    on_desktop(window, desk, ends=True)
    desk.recordings = (KEPT,)
    ended = QSignalSpy(window.close_requested)
    window.close()
    assert ended.count() == 1


def test_without_a_tray_it_goes_on_minimised(
    window: MainWindow, desk: FakeDesk, qtbot: QtBot
) -> None:
    leaving = on_desktop(window, desk, has_tray=False)
    desk.recordings = (KEPT,)
    ended = QSignalSpy(window.close_requested)
    by_key(window)
    QTest.keyClick(asked(window), Qt.Key.Key_Return)
    qtbot.waitUntil(window.isMinimized)
    assert window.isVisible()
    assert leaving.tray is None
    assert ended.count() == 0


class TestTray:
    @pytest.fixture
    def leaving(self, window: MainWindow, desk: FakeDesk) -> Leaving:
        """The window is in the tray."""
        leaving = on_desktop(window, desk, has_tray=True)
        desk.recordings = (KEPT, STOPPED)
        by_key(window)
        QTest.keyClick(asked(window), Qt.Key.Key_Return)
        return leaving

    def test_the_window_goes_there_and_comes_back(
        self, window: MainWindow, leaving: Leaving
    ) -> None:
        tray = tray_of(leaving)
        bring_backs: list[Callable[[], object]] = [
            lambda: tray.icon.activated.emit(QSystemTrayIcon.ActivationReason.Trigger),
            tray.menu.actions()[0].trigger,
            tray.icon.messageClicked.emit,
        ]
        for bring_back in bring_backs:
            assert not window.isVisible()
            assert tray.icon.isVisible()
            bring_back()
            assert window.isVisible()
            assert not tray.icon.isVisible()
            tray.hide_window()

    def test_it_says_how_the_recordings_are_doing(
        self, window: MainWindow, desk: FakeDesk, leaving: Leaving
    ) -> None:
        tray = tray_of(leaving)
        assert tray.icon.toolTip() == "Orderbook Desktop: recording 1 symbol"
        paused = replace(KEPT, symbol="A/USDT", state=RecordingState.PAUSED)
        desk.recordings = (KEPT, paused, replace(DELAYED, kept=True))
        desk.revision += 1
        window.bridge.look()
        assert tray.icon.toolTip() == (
            "Orderbook Desktop: recording 1 of 3 symbols (paused, the disk is full)"
        )

    def test_a_new_warning_is_told_there_once(
        self,
        window: MainWindow,
        desk: FakeDesk,
        leaving: Leaving,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        told: list[str] = []
        tray = tray_of(leaving)
        monkeypatch.setattr(tray.icon, "showMessage", lambda _title, text, _icon: told.append(text))
        warning = Notice("disk", NoticeLevel.WARNING, "The disk is full.")
        desk.notify(warning, Notice("note", NoticeLevel.INFORMATION, "A note."))
        for _ in range(3):
            desk.revision += 1
            window.bridge.look()
        assert told == ["The disk is full."]
        tray.show_window()
        desk.notify(replace(warning, text="Another."))
        window.bridge.look()
        # The window tells it now.
        assert told == ["The disk is full."]

    def test_its_menu_quits_without_a_question(self, window: MainWindow, leaving: Leaving) -> None:
        ended = QSignalSpy(window.close_requested)
        last = tray_of(leaving).menu.actions()[-1]
        assert last.text() == "Stop 1 recording and quit"
        last.trigger()
        assert ended.count() == 1
        window.finish_close()
        assert not tray_of(leaving).icon.isVisible()

    def test_its_menu_asks_about_events_that_wait(
        self, window: MainWindow, desk: FakeDesk, leaving: Leaving
    ) -> None:
        ended = QSignalSpy(window.close_requested)
        desk.recordings = (KEPT, DELAYED)
        tray_of(leaving).menu.actions()[-1].trigger()
        assert ended.count() == 0
        assert window.isVisible()
        assert "12,345 events wait" in asked(window).text.text()
