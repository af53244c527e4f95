"""The dialog on disk space removes nothing by accident."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible, QColor, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QCheckBox, QStyle, QStyleOptionButton, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.gui.dialogs.space_dialog import SpaceDialog
from orderbook_desktop.gui.dialogs.welcome import RetentionBox
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import LIGHT, Appearance, ThemeKeeper
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import NOW_NS, FakeDesk
from tests.gui.fake_storage import FakeStorage

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


@pytest.fixture
def storage() -> FakeStorage:
    storage = FakeStorage()
    storage.measured()
    return storage


@pytest.fixture
def dialog(host: QWidget, storage: FakeStorage) -> Iterator[SpaceDialog]:
    dialog = SpaceDialog(storage, host)
    dialog.open()
    yield dialog
    if isValid(dialog):
        dialog.close()


def test_tells_honestly_what_is_used(dialog: SpaceDialog) -> None:
    assert dialog.where.text() == "Recordings go to the folder of recordings."
    assert dialog.size_label.text().startswith(
        "Recorded: 3.0 GB (3.0 GB archived, about 9.0 MB to be archived, 10.0 MB of whole books)."
    )
    assert (
        "files take 4.0 GB on the disk: 500.0 MB of it is room that it needs to work, which also "
        "holds the events to be archived; 200.0 MB is free for new recordings. The files don't "
        "shrink"
    ) in dialog.size_label.text()
    assert "enough for 45 days" in dialog.growth.text()
    assert dialog.problem.isHidden()


def test_tells_only_what_is_known(host: QWidget, storage: FakeStorage) -> None:
    storage.disk = DiskStatus()
    dialog = SpaceDialog(storage, host)
    assert dialog.size_label.text() == "The size of the recordings is not known yet."
    assert dialog.growth.text() == "Disk: being measured."
    dialog.close()


@pytest.mark.parametrize("appearance", [Appearance.DARK, Appearance.LIGHT])
def test_a_ticked_box_has_a_frame_and_a_tick(
    dialog: SpaceDialog, qapp: QApplication, appearance: Appearance
) -> None:
    theme = ThemeKeeper(qapp, appearance).theme

    def colours(box: QCheckBox) -> tuple[QColor, set[str]]:
        """Return the colour of the frame, and those within it."""
        option = QStyleOptionButton()
        box.initStyleOption(option)
        frame = box.style().subElementRect(QStyle.SubElement.SE_CheckBoxIndicator, option, box)
        image = box.grab(frame).toImage()
        inner = range(2, image.width() - 2)
        side = image.pixelColor(0, image.height() // 2)
        return side, {image.pixelColor(x, y).name() for x in inner for y in inner}

    assert colours(dialog.by_size) == (theme.muted, {theme.panel.name()})
    dialog.by_size.setChecked(True)
    side, within = colours(dialog.by_size)
    assert side == theme.focus
    assert {theme.focus.name(), theme.on_accent.name()} <= within


def test_each_widget_that_takes_the_focus_has_a_name(dialog: SpaceDialog) -> None:
    names = {
        widget: QAccessible.queryAccessibleInterface(widget).text(QAccessible.Text.Name)
        for widget in dialog.findChildren(QWidget)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None
    }
    assert len(names) >= 6
    assert [widget for widget, name in names.items() if not name] == []


@pytest.mark.parametrize("field", ["by_age", "days", "by_size", "gigabytes", "ok_button"])
def test_return_takes_the_choice_over_and_closes(
    dialog: SpaceDialog, storage: FakeStorage, qtbot: QtBot, field: str
) -> None:
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    dialog.by_age.setChecked(True)
    dialog.by_size.setChecked(True)
    dialog.days.setFocus()
    dialog.days.selectAll()
    # The last digit is typed, and no other key but Return follows.
    QTest.keyClicks(dialog.days, "21")
    widget = getattr(dialog, field)
    widget.setFocus()
    QTest.keyClick(widget, Qt.Key.Key_Return)
    assert storage.chosen == [Retention(21, 50)]
    assert not dialog.isVisible()


@pytest.mark.parametrize("how", ["escape", "cancel", "close"])
def test_escape_and_cancel_leave_all_as_it_was(
    dialog: SpaceDialog, storage: FakeStorage, qtbot: QtBot, how: str
) -> None:
    dialog.by_age.setChecked(True)
    if how == "escape":
        QTest.keyClick(dialog.days, Qt.Key.Key_Escape)
    elif how == "cancel":
        QTest.mouseClick(dialog.cancel_button, Qt.MouseButton.LeftButton)
    else:
        dialog.close()
    assert not dialog.isVisible()
    assert storage.chosen == []


def test_ok_without_a_change_commands_nothing(dialog: SpaceDialog, storage: FakeStorage) -> None:
    QTest.mouseClick(dialog.ok_button, Qt.MouseButton.LeftButton)
    assert storage.chosen == []
    assert not dialog.isVisible()


def test_nothing_changes_without_ok_or_apply(dialog: SpaceDialog, storage: FakeStorage) -> None:
    assert not dialog.apply_button.isEnabled()
    dialog.by_age.setChecked(True)
    dialog.days.setValue(14)
    dialog.by_size.setChecked(True)
    dialog.gigabytes.setValue(5)
    assert storage.chosen == []
    assert "gone for good" in dialog.warning.text()
    QTest.mouseClick(dialog.apply_button, Qt.MouseButton.LeftButton)
    assert storage.chosen == [Retention(14, 5)]
    assert dialog.warning.text() == "The last 14 days are kept, at most 5 GB."
    assert not dialog.apply_button.isEnabled()
    dialog.by_age.setChecked(False)
    dialog.by_size.setChecked(False)
    assert "Everything will be kept" in dialog.warning.text()


def test_no_sentence_is_cut_off(dialog: SpaceDialog, storage: FakeStorage) -> None:
    before = dialog.height()
    storage.disk = replace(storage.disk, problem="Recording is paused. " * 20)
    dialog._refresh()
    assert dialog.height() > before
    assert dialog.height() >= dialog._column.heightForWidth(dialog.width())


def test_nothing_moves_under_the_mouse(dialog: SpaceDialog, qapp: QApplication) -> None:
    def places() -> list[QPoint]:
        qapp.processEvents()
        dialog._refresh()
        qapp.processEvents()
        return [box.pos() for box in (dialog.by_age, dialog.by_size, dialog.days)]

    before = places()
    for click in (dialog.by_age.click, dialog.by_size.click, dialog.apply_button.click):
        click()
        assert places() == before


def test_begins_with_what_holds(host: QWidget, storage: FakeStorage) -> None:
    storage.retention = Retention(14, 2.5)
    dialog = SpaceDialog(storage, host)
    assert dialog.wanted == storage.retention
    assert dialog.days.isEnabled()
    dialog.close()


def test_follows_what_happens(dialog: SpaceDialog, storage: FakeStorage, qtbot: QtBot) -> None:
    storage.disk = replace(storage.disk, problem="Recording is paused.")
    qtbot.waitUntil(dialog.problem.isVisible)
    assert dialog.problem.text() == "Recording is paused."


def test_the_wheel_removes_nothing(host: QWidget, qtbot: QtBot) -> None:
    box = RetentionBox(host)
    box.show()
    centre = QPointF(box.rect().center())
    turn = QWheelEvent(
        centre,
        box.mapToGlobal(centre),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, turn)
    assert box.currentIndex() == 0


def test_an_unusual_choice_is_offered_too(host: QWidget) -> None:
    box = RetentionBox(host)
    box.set_retention(Retention(14, 2.5))
    assert box.currentText() == "Keep the last 14 days, at most 2.5 GB"
    box.set_retention(Retention())
    assert box.currentText() == "Keep everything"
    assert box.count() == 6


def test_the_menu_opens_it(
    qapp: QApplication, qtbot: QtBot, preferences: Preferences, desk: FakeDesk, storage: FakeStorage
) -> None:
    window = MainWindow(
        desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS, storage=storage
    )
    qtbot.addWidget(window)
    window.show()
    texts = {one.text(): one for one in window.menus.actions}
    texts["&Disk space and retention…"].trigger()
    dialog = window.findChild(SpaceDialog)
    assert dialog is not None
    assert dialog.isVisible()
    dialog.close()
    window.finish_close()


def test_without_a_place_there_is_none(
    open_window: Callable[[FakeDesk], MainWindow], desk: FakeDesk
) -> None:
    window = open_window(desk)
    assert "&Disk space and retention…" not in {one.text() for one in window.menus.actions}


@pytest.mark.parametrize("gigabytes", [0.05, 0.25, 12.345, 2.5])
def test_a_fine_setting_is_shown_as_it_is(
    host: QWidget, storage: FakeStorage, gigabytes: float
) -> None:
    storage.retention = Retention(gigabytes=gigabytes)
    dialog = SpaceDialog(storage, host)
    assert dialog.wanted == storage.retention
    assert not dialog.apply_button.isEnabled()
    # A choice of the age does not change the size.
    dialog.by_age.setChecked(True)
    assert dialog.wanted == Retention(30, gigabytes)
    dialog.close()


def test_a_day_that_does_not_fit_is_no_day(host: QWidget, storage: FakeStorage) -> None:
    storage.disk = replace(storage.disk, bytes_per_day=60 * 10**9)
    dialog = SpaceDialog(storage, host)
    assert dialog.growth.text().endswith("enough for less than a day.")
    dialog.close()


def test_numbers_are_whole(dialog: SpaceDialog, qapp: QApplication) -> None:
    keeper = ThemeKeeper(qapp, Appearance.LIGHT)
    assert keeper.theme is LIGHT
    qapp.processEvents()
    for number in (dialog.days, dialog.gigabytes):
        assert number.lineEdit().height() >= number.fontMetrics().height()


def test_numbers_stand_below_each_other(dialog: SpaceDialog) -> None:
    assert dialog.days.x() == dialog.gigabytes.x()
