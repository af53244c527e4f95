"""The menu of the ladder's header: which columns are shown, in which order, and what is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.traded_volume import Period
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.panes.ladder.flow import WINDOWS_S
from orderbook_desktop.gui.panes.ladder.layout import Column, ColumnChoice

_NAMES: Final = {column: column.value.capitalize() for column in Column}
Chosen = TypeVar("Chosen")

_TIMES: Final = (0, 5, 10, 20)
_PERIODS: Final = {
    Period(): "Since the reset",
    Period(is_session=True): "Of the session (since 0:00 UTC)",
    **{
        Period(minutes=minutes): f"Of the last {counted(minutes, 'minute')}"
        for minutes in (1, 5, 15, 60)
    },
}


class VolumeMenu(NamedTuple):
    """What the menu does with the traded volume: the period now, and what changes it.

    `clear` forgets what was traded above the mid (`Side.ASK`), below it, or (None) all.
    """

    period: Period
    choose: Callable[[Period], None]
    clear: Callable[[Side | None], None]


def column_menu(
    parent: QWidget,
    choice: ColumnChoice,
    movable: Sequence[Column],
    choose: Callable[[ColumnChoice], None],
    marking: tuple[int, Callable[[int], None]],
    volume: VolumeMenu,
    flow: tuple[int, Callable[[int], None]],
) -> QMenu:
    """Return the menu; it deletes itself when it is closed.

    `choose` is called with the new choice. `movable` are the columns that can be moved.
    `marking` is from how many times the usual size on sizes are marked, and what changes that.
    `flow` is of how many seconds it is shown what was added and pulled, and what changes that.
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
    _add_volume(menu, volume)
    _add_flow(menu, *flow)
    return menu


def _add_flow(menu: QMenu, seconds_now: int, choose: Callable[[int], None]) -> None:
    """Add the choices of the columns of what was added and pulled."""
    flows = menu.addMenu("Added and pulled")
    group = QActionGroup(menu)
    for seconds in WINDOWS_S:
        text = f"In the last {counted(seconds, 'second')}"
        action = _add_checkable(flows, text, seconds == seconds_now)
        group.addAction(action)
        action.triggered.connect(partial(_call, choose, seconds))


def _add_volume(menu: QMenu, volume: VolumeMenu) -> None:
    """Add the choices of the columns of what was bought and sold."""
    traded = menu.addMenu("Bought and sold")
    group = QActionGroup(menu)
    for period, text in _PERIODS.items():
        action = _add_checkable(traded, text, period == volume.period)
        group.addAction(action)
        action.triggered.connect(partial(_call, volume.choose, period))
    traded.addSeparator()
    for text, side in (
        ("Clear above the mid", Side.ASK),
        ("Clear below the mid", Side.BID),
        ("Clear all, and begin anew", None),
    ):
        cleared = traded.addAction(text)
        cleared.triggered.connect(partial(_call, volume.clear, side))


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
