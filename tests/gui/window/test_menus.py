"""The menus, the list of keys and the README's table have the declared actions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.gui.actions import Action, key_table
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window import menus
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import FakeDesk
from tests.gui.fake_storage import FakeStorage
from tests.gui.fake_switch import FakeSwitch

_README = Path(__file__).parents[3] / "README.md"


@pytest.fixture
def whole(qapp: QApplication, qtbot: QtBot, preferences: Preferences) -> Iterator[MainWindow]:
    """A window with all its parts."""
    preferences.welcomed = True
    window = MainWindow(
        FakeDesk(),
        preferences,
        qapp,
        panes=PANES,
        storage=FakeStorage(),
        browsers=FakeSwitch(),
    )
    qtbot.addWidget(window)
    yield window
    window.finish_close()


def test_every_declared_action_is_in_a_menu(whole: MainWindow) -> None:
    declared = [one for one in vars(menus).values() if isinstance(one, Action)]
    assert len(declared) > 10
    groups = (menus.APPEARANCES, menus.SOURCES, menus.TEXT_SIZES)
    declared += [action for group in groups for action in group.values()]
    assert {one.text for one in declared} <= {made.text() for made in whole.menus.actions}


def test_the_menus_have_the_declared_keys(whole: MainWindow) -> None:
    made = {
        one.text(): [keys.toString() for keys in one.shortcuts()] for one in whole.menus.actions
    }
    assert made["&Coarser grouping"] == ["]", "Ctrl++", "Ctrl+="]
    for action in whole.menus.with_keys:
        assert made[action.text] == list(action.keys)


def test_tool_tips_name_the_declared_keys(whole: MainWindow) -> None:
    bar = whole.top_bar
    assert bar.browser_control is not None
    tips = {
        bar.symbol_box: "Search the traded symbols (Ctrl+K or /)",
        bar.record_button: "Not recording. Click to record this symbol (Ctrl+R)",
        bar.grouping_box: "Group the ladder's levels by this price step ([ finer, ] coarser)",
        bar.browser_control.details: "Address and QR code of the browser view (Ctrl+B)",
    }
    assert {part: part.toolTip() for part in tips} == tips
    buttons = [one.text() for one in whole.findChildren(QPushButton)]
    assert "Recentre (Space)" in buttons


def test_the_readme_has_the_declared_keys(whole: MainWindow) -> None:
    actions = whole.actions_with_keys()
    readme = _README.read_text(encoding="utf-8")
    assert f"<!-- keys -->\n{key_table(actions)}\n<!-- /keys -->" in readme


def test_every_action_with_keys_says_what_it_does(whole: MainWindow) -> None:
    actions = whole.actions_with_keys()
    assert all(action.help and action.keys_text for action in actions)
    assert len({action.help for action in actions}) == len(actions)


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_f1_lists_them_with_their_help(whole: MainWindow) -> None:
    whole.show()
    keys = next(one for one in whole.menus.actions if one.text() == menus.SHOW_KEYS.text)
    keys.trigger()
    dialog = whole.findChild(QDialog)
    assert isinstance(dialog, QDialog)
    labels = [one for one in dialog.findChildren(QLabel) if isinstance(one, QLabel)]
    listed = [(one.text(), one.toolTip()) for one in labels]
    for action in whole.actions_with_keys():
        assert (action.title, action.help) in listed
        assert (action.keys_text, action.help) in listed
    dialog.close()
