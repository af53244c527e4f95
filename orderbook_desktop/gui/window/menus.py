"""The window's actions, and the menu bar that is made of them and of those of the panes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMainWindow, QMenu

from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.actions import Action, Choice, Command, Switch
from orderbook_desktop.gui.theme import Appearance

FIND_SYMBOL: Final = Action("&Find symbol…", "find a symbol: type, Up/Down, Enter", ("Ctrl+K", "/"))
QUIT: Final = Action("&Quit", "quit", ("Ctrl+Q",), role=QAction.MenuRole.QuitRole)
FINER: Final = Action("&Finer grouping", "finer grouping of the prices", ("[", "Ctrl+-"))
COARSER: Final = Action(
    "&Coarser grouping", "coarser grouping of the prices", ("]", "Ctrl++", "Ctrl+=")
)
SHOW_BROWSERS: Final = Action(
    "&Browser view…", "the browser view: switch, address, QR code, viewers", ("Ctrl+B",)
)
APPEARANCES: Final = {
    Appearance.SYSTEM: Action("&As the system", "look as the system does"),
    Appearance.DARK: Action("&Dark", "light text on a dark ground"),
    Appearance.LIGHT: Action("&Light", "dark text on a light ground"),
}
FULL_SCREEN: Final = Action("F&ull screen", "full screen, and back", ("F11",))
SOURCES: Final = {
    SourceKind.MONGO: Action(
        "&Recorded (through the database)", "source: the recorded book", ("Ctrl+1",)
    ),
    SourceKind.DIRECT: Action(
        "&Direct (lowest delay)", "source: the exchange's own book", ("Ctrl+2",)
    ),
}
RECORD: Final = Action("&Record this symbol", "record this symbol, or stop", ("Ctrl+R",))
KEEP: Final = Action(
    "&Keep recording this symbol", "record this symbol also while another one is on screen"
)
MANAGE: Final = Action(
    "&Manage recordings…", "all recordings: add, start, stop, remove", ("Ctrl+Shift+R",)
)
SHOW_SPACE: Final = Action(
    "&Disk space and retention…", "what room the recordings take, and what is kept of them"
)
SHOW_WELCOME: Final = Action("&Welcome", "what is recorded, where, and how much disk that takes")
SHOW_KEYS: Final = Action("&Keyboard shortcuts", "all keys", ("F1",))
SHOW_ABOUT: Final = Action(
    "&About Orderbook Desktop", "version and licence", role=QAction.MenuRole.AboutRole
)


class Menus:
    """Builds the menu bar of `window`; its checkable actions follow the desk by `show_state`.

    `bound` are the window's own actions with what does them; one that is not there is not on
    offer. `of_panes` come into the view menu.
    """

    def __init__(
        self,
        window: QMainWindow,
        bound: Iterable[Command | Switch | Choice],
        of_panes: Sequence[Command | Switch],
    ) -> None:
        self._window = window
        self._bound = {one.action: one for one in (*bound, *of_panes)}
        self._made: dict[Action, QAction] = {}
        self._add_menu("&File", (FIND_SYMBOL,), (QUIT,))
        view = self._add_menu(
            "&View", (FINER, COARSER), [one.action for one in of_panes], (SHOW_BROWSERS,)
        )
        view.addSeparator()
        self._fill_exclusive(view.addMenu("&Appearance"), APPEARANCES.values())
        self._fill(view, (FULL_SCREEN,))
        self._fill_exclusive(self._add_menu("&Source"), SOURCES.values())
        self._add_menu("&Recording", (RECORD, KEEP, MANAGE, SHOW_SPACE))
        self._add_menu("&Help", (SHOW_WELCOME, SHOW_KEYS, SHOW_ABOUT))

    @property
    def actions(self) -> list[QAction]:
        """What the menus have, in their order."""
        return list(self._made.values())

    @property
    def with_keys(self) -> list[Action]:
        """The actions that have keys, in the order of the menus."""
        return [action for action in self._made if action.keys]

    def show_state(self, kind: SourceKind, *, recording: bool, kept: bool) -> None:
        """Check what is so."""
        for action, is_so in ((SOURCES[kind], True), (RECORD, recording), (KEEP, kept)):
            self._made[action].setChecked(is_so)

    def _add_menu(self, title: str, *groups: Sequence[Action]) -> QMenu:
        """Add a menu of `groups`, with lines between them."""
        menu = self._window.menuBar().addMenu(title)
        for group in groups:
            on_offer = [action for action in group if action in self._bound]
            if on_offer and not menu.isEmpty():
                menu.addSeparator()
            self._fill(menu, on_offer)
        return menu

    def _fill(self, menu: QMenu, actions: Iterable[Action]) -> None:
        for action in actions:
            if action in self._bound:
                self._made[action] = made = self._make(self._bound[action])
                menu.addAction(made)

    def _fill_exclusive(self, menu: QMenu, actions: Iterable[Action]) -> None:
        """Add `actions` of which one at a time is on."""
        self._fill(menu, actions)
        group = QActionGroup(self._window)
        for made in menu.actions():
            group.addAction(made)

    def _make(self, bound: Command | Switch | Choice) -> QAction:
        action = bound.action
        made = QAction(action.text, self._window)
        made.setShortcuts(action.sequences)
        made.setMenuRole(action.role)
        if not isinstance(bound, Command):
            made.setCheckable(True)
            made.setChecked(bound.is_on)
        if isinstance(bound, Switch):
            made.triggered.connect(bound.turn)
        else:
            # What the signal hands over, whether it is checked, means nothing here.
            made.triggered.connect(lambda _checked: bound.run())
        return made
