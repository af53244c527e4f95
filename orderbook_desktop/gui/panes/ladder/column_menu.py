"""The menu of the ladder's header: which columns are shown, in which order, and what is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from orderbook_desktop.gui.panes.ladder.layout import Column, ColumnChoice

_NAMES: Final = {Column.PRICE: "Price", Column.SIZE: "Size", Column.TOTAL: "Total"}
Chosen = TypeVar("Chosen")

_TIMES: Final = (0, 5, 10, 20)


def column_menu(
    parent: QWidget,
    choice: ColumnChoice,
    movable: Sequence[Column],
    choose: Callable[[ColumnChoice], None],
    marking: tuple[int, Callable[[int], None]],
) -> QMenu:
    """Return the menu; it deletes itself when it is closed.

    `choose` is called with the new choice. `movable` are the columns that can be moved.
    `marking` is from how many times the usual size on sizes are marked, and what changes that.
    """
    menu = QMenu(parent)
    menu.aboutToHide.connect(menu.deleteLater)
    for column in choice.order:
        shown = _add_checkable(menu, _NAMES[column], column in choice.shown)
        shown.setEnabled(column is not Column.PRICE)
        shown.toggled.connect(lambda on, one=column: choose(choice.with_shown(one, shown=on)))
    menu.addSeparator()
    for column in movable:
        for by, where in ((-1, "left"), (1, "right")):
            moved = menu.addAction(f"Move {_NAMES[column].lower()} {where}")
            moved.setEnabled(choice.moved(column, by) != choice)
            moved.triggered.connect(partial(_call, choose, choice.moved(column, by)))
    menu.addSeparator()
    group = QActionGroup(menu)
    for text, wanted in (("Price at the side", False), ("Price in the middle", True)):
        place = _add_checkable(menu, text, choice.has_price_in_middle is wanted)
        group.addAction(place)
        placed = choice.with_price_in_middle(wanted=wanted)
        place.triggered.connect(partial(_call, choose, placed))
    _add_marking(menu, *marking)
    return menu


def _add_marking(menu: QMenu, times_now: int, mark: Callable[[int], None]) -> None:
    marks = menu.addMenu("Mark large sizes")
    group = QActionGroup(menu)
    for times in _TIMES:
        text = f"From {times} times the usual size" if times else "None"
        action = _add_checkable(marks, text, times == times_now)
        group.addAction(action)
        action.triggered.connect(partial(_call, mark, times))


def _add_checkable(menu: QMenu, text: str, is_on: bool) -> QAction:
    action = menu.addAction(text)
    action.setCheckable(True)
    action.setChecked(is_on)
    return action


def _call(run: Callable[[Chosen], None], value: Chosen, _checked: bool = False) -> None:
    run(value)
