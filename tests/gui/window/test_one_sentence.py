"""A problem is told in one sentence at one place; all other places name only the state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.desk import Notice, NoticeLevel
from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.dialogs.recordings import RecordingManager
from orderbook_desktop.gui.panes.book_frame import message_of
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.notice_bar import NoticeRow
from tests.gui.fake_desk import NOW_NS, FakeDesk, frame_of
from tests.gui.fake_storage import FakeStorage
from tests.gui.fake_switch import FakeSwitch

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

WHY = "The frobnicator is out of grease."


@pytest.fixture
def window(
    qapp: QApplication, qtbot: QtBot, preferences: Preferences, desk: FakeDesk
) -> Iterator[MainWindow]:
    """A window with all parts that may tell of a problem."""
    window = MainWindow(
        *(desk, preferences, qapp),
        panes=PANES,
        now_ns=lambda: NOW_NS,
        storage=FakeStorage(),
        browsers=FakeSwitch(),
    )
    qtbot.addWidget(window)
    window.resize(1_280, 800)
    window.show()
    yield window
    window.dialogs.close_all()
    window.finish_close()


def tellers(window: MainWindow) -> list[QWidget]:
    """Return the widgets that show the sentence, or have it in a tool tip or description."""
    found = []
    for widget in [window, *window.findChildren(QWidget)]:
        if not isinstance(widget, QWidget) or widget.isHidden() or not widget.isVisible():
            continue
        texts = [widget.toolTip(), widget.accessibleDescription()]
        if isinstance(widget, QLabel | QAbstractButton):
            texts.append(widget.text())
        if any(WHY in text for text in texts):
            found.append(widget)
    return [*found, *(pane for pane in window.panes if WHY in pane.summary())]


def show(window: MainWindow, desk: FakeDesk) -> list[QWidget]:
    desk.revision += 1
    window.bridge.look()
    window._describe()
    QApplication.processEvents()
    return tellers(window)


FEEDS = {
    FeedState.RECONNECTING: "exchange",
    FeedState.SYNCING: "exchange",
    FeedState.DATABASE_AWAY: "database",
    FeedState.NOT_TRADED: "symbol",
}
RECORDINGS = {
    RecordingState.DELAYED: "database",
    RecordingState.PAUSED: "disk",
    RecordingState.FAILED: "symbol",
}


@pytest.mark.parametrize("state", list(FEEDS))
def test_why_there_is_no_book_is_told_once(
    window: MainWindow, desk: FakeDesk, state: FeedState
) -> None:
    desk.source.lose(state, WHY)
    desk.notify(Notice(FEEDS[state], NoticeLevel.WARNING, WHY))
    told = show(window, desk)
    assert [widget for widget in told if not _is_in_notice(widget)] == []
    assert told
    # A person who has dismissed the notice finds the reason where the book would be.
    desk.dismiss(FEEDS[state])
    told = show(window, desk)
    assert window.panes[0] in told
    assert window.panes[1] not in told
    assert {*told} <= {window.panes[0], window.top_bar.badge}


@pytest.mark.parametrize("state", list(RECORDINGS))
def test_why_nothing_is_recorded_is_told_once(
    window: MainWindow, desk: FakeDesk, state: RecordingState
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    desk.recording = replace(desk.recording, state=state, wanted=True, problem=WHY)
    desk.notify(Notice(RECORDINGS[state], NoticeLevel.WARNING, WHY))
    told = show(window, desk)
    assert [widget for widget in told if not _is_in_notice(widget)] == []
    assert told
    # That it isn't recorded is seen nevertheless.
    assert window.top_bar.record_button.text().startswith("▲")
    assert window.welcome is not None
    assert "why it is not" in window.welcome.recorded.text()
    desk.dismiss(RECORDINGS[state])
    assert show(window, desk)


def test_another_problem_than_that_of_the_notice_is_told(
    window: MainWindow, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    desk.recording = replace(desk.recording, state=RecordingState.PAUSED, wanted=True, problem=WHY)
    desk.notify(Notice("database", NoticeLevel.WARNING, "Something else."))
    assert show(window, desk)


def test_the_list_of_recordings_tells_it_in_one_cell(window: MainWindow, desk: FakeDesk) -> None:
    desk.recordings = (
        replace(desk.recording, state=RecordingState.DELAYED, problem=WHY, kept=True, wanted=True),
    )
    window.dialogs.manage_recordings()
    manager = window.dialogs.recordings
    assert isinstance(manager, RecordingManager)
    model = manager.model
    roles = range(3, 14)
    told = [
        (column, role)
        for column in range(model.columnCount())
        for role in roles
        if WHY in str(model.index(0, column).data(role))
    ]
    assert len(told) == 1


def test_of_panes_without_a_book_one_explains(desk: FakeDesk) -> None:
    desk.source.lose(FeedState.RECONNECTING, WHY)
    frame = frame_of(desk)
    message, beside = message_of(frame), message_of(replace(frame, explains=False))
    assert message is not None
    assert beside is not None
    assert message.detail == WHY
    assert (beside.title, beside.detail) == (message.title, "")


def _is_in_notice(widget: QWidget) -> bool:
    parent: QWidget | None = widget
    while parent is not None and not isinstance(parent, NoticeRow):
        parent = parent.parentWidget()
    return parent is not None
