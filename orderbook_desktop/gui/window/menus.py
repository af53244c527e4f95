"""The window's actions, and the menu bar with these actions and those of the panes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from PySide6.QtGui import QAction, QActionGroup, QCursor
from PySide6.QtWidgets import QMainWindow, QMenu, QToolTip

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.heatmap.pages import TileStatus
from orderbook_desktop.core.replay import ReplayStatus
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.actions import Action, Choice, Command, Switch
from orderbook_desktop.gui.theme import TEXT_PERCENTS, Appearance
from orderbook_desktop.gui.window import replay_control

FIND_SYMBOL: Final = Action(
    "&Find symbol…", "find a symbol: type, Up/Down, Enter", ("Ctrl+K", "/"), everywhere=True
)
QUIT: Final = Action("&Quit", "quit", ("Ctrl+Q",), role=QAction.MenuRole.QuitRole, everywhere=True)
DEMO: Final = Action("&Demo market", "the demo, a made-up market without a network, and back")
FINER: Final = Action("&Finer grouping", "finer grouping of the prices", ("[", "Ctrl+-"))
COARSER: Final = Action(
    "&Coarser grouping", "coarser grouping of the prices", ("]", "Ctrl++", "Ctrl+=")
)
QUOTE_UNITS: Final = Action(
    "Sizes in the &quote asset",
    "sizes, totals and the chart in the quote asset, and back",
    ("U",),
)
UTC: Final = Action("Times in U&TC", "times in UTC, and back to local time", ("Ctrl+U",))
REPLAY: Final = Action(
    "&Replay", "go back into the recording, and return to live", ("Ctrl+Shift+P",), everywhere=True
)
SHOW_BROWSERS: Final = Action(
    "&Browser view…", "the browser view: switch, address, QR code, viewers", ("Ctrl+B",)
)
APPEARANCES: Final = {
    Appearance.SYSTEM: Action("&As the system", "look as the system does"),
    Appearance.DARK: Action("&Dark", "light text on a dark ground"),
    Appearance.LIGHT: Action("&Light", "dark text on a light ground"),
}
TEXT_SIZES: Final = {
    percent: Action(f"{percent} %", f"text of {percent} % of the system's size")
    for percent in TEXT_PERCENTS
}
FULL_SCREEN: Final = Action("F&ull screen", "full screen, and back", ("F11",), everywhere=True)
LEAVE_FULL_SCREEN: Final = Action("&Leave full screen", "leave full screen", ("Esc",))
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
HERE_TOO: Final = Action(
    "Record here, &too",
    "record this symbol also while another program records it, or follow that program",
    ("Ctrl+T",),
)
MANAGE: Final = Action(
    "&Library of recordings…",
    "all recordings: start, stop, play, verify, export, import, pack, remove",
    ("Ctrl+Shift+R",),
)
SHOW_GAPS: Final = Action(
    "&Gaps of this recording…", "the gaps of this symbol's recording: when, and why", ("Ctrl+G",)
)
SHOW_SPACE: Final = Action(
    "&Disk space and retention…", "the disk space of the recordings, and how much of them is kept"
)
BUILD_TILES: Final = Action(
    "Build heatmap tiles in spare t&ime",
    "build the heatmap's tiles when recording and painting leave time for it, or pause that",
)
SHOW_WELCOME: Final = Action("&Welcome", "what is recorded, where, and how much disk that takes")
SHOW_KEYS: Final = Action("&Keyboard shortcuts", "all keys", ("F1",), everywhere=True)
SHOW_ABOUT: Final = Action(
    "&About Orderbook Desktop", "version and licence", role=QAction.MenuRole.AboutRole
)


class Menus:
    """Builds the menu bar of `window`; its checkable actions follow the desk by `show_desk`.

    `bound` are the window's own actions with their callables; the menus leave out an action that
    is not among them. `of_panes` are the panes' entries for the view menu.
    """

    def __init__(
        self,
        window: QMainWindow,
        bound: Iterable[Command | Switch | Choice],
        of_panes: Sequence[Command | Switch],
    ) -> None:
        self._window = window
        self._bound = {entry.action: entry for entry in (*bound, *of_panes)}
        self._made: dict[Action, QAction] = {}
        self._add_menu("&File", (FIND_SYMBOL,), (DEMO,), (QUIT,))
        shown = [entry.action for entry in of_panes]
        view = self._add_menu("&View", (FINER, COARSER, QUOTE_UNITS, UTC), shown, (SHOW_BROWSERS,))
        view.addSeparator()
        self._fill_exclusive(view.addMenu("&Appearance"), APPEARANCES.values())
        self._fill_exclusive(view.addMenu("&Text size"), TEXT_SIZES.values())
        self._fill(view, (FULL_SCREEN, LEAVE_FULL_SCREEN))
        self._fill_exclusive(self._add_menu("&Source"), SOURCES.values())
        recording = (RECORD, KEEP, HERE_TOO, MANAGE, SHOW_GAPS, SHOW_SPACE)
        self.recording_menu: Final = self._add_menu("&Recording", recording, (BUILD_TILES,))
        self.replay_menu: Final = self._add_menu("Re&play", (REPLAY,))
        self._add_replay_menu(self.replay_menu)
        self._add_menu("&Help", (SHOW_WELCOME, SHOW_KEYS, SHOW_ABOUT))
        self.show_full_screen(is_full=False)
        self.show_replay(None)

    @property
    def actions(self) -> list[QAction]:
        """The actions of all menus, in the menus' order."""
        return list(self._made.values())

    @property
    def everywhere(self) -> list[QAction]:
        """The actions whose keys work in all windows of the program."""
        return [made for action, made in self._made.items() if action.everywhere]

    @property
    def with_keys(self) -> list[Action]:
        """The actions that have keys, in the order of the menus."""
        return [action for action in self._made if action.keys]

    def trigger(self, action: Action) -> None:
        """Do what choosing `action` in the menu does."""
        self._made[action].trigger()

    def show_desk(self, desk: Desk) -> None:
        """Check the actions that are on: source, switches of recording, demo and replay."""
        symbol = desk.live_symbol.symbol
        is_kept = any(
            recording.symbol == symbol and recording.kept and recording.wanted
            for recording in desk.recordings
        )
        is_recording = desk.recording.wanted
        for action, is_on in (
            *((SOURCES[desk.source_kind], True), (RECORD, is_recording), (KEEP, is_kept)),
            *((HERE_TOO, symbol in desk.here_too), (DEMO, desk.demo)),
            (REPLAY, desk.replay is not None),
        ):
            self._made[action].setChecked(is_on)

    def show_tiles(self, status: TileStatus) -> None:
        """Check whether tiles are built, and say how many there are; a tool tip has more."""
        made = self._made[BUILD_TILES]
        made.setChecked(status.is_on)
        percent = status.percent
        made.setText(BUILD_TILES.text + (f" ({percent} %)" if percent is not None else ""))
        made.setToolTip(status.sentence)

    def show_pane(self, action: Action, *, is_shown: bool) -> None:
        """Check the action of a pane that is shown."""
        self._made[action].setChecked(is_shown)

    def show_full_screen(self, *, is_full: bool) -> None:
        """Check whether the window has the full screen; only then it can be left by its key."""
        self._made[FULL_SCREEN].setChecked(is_full)
        self._made[LEAVE_FULL_SCREEN].setEnabled(is_full)

    def show_replay(self, status: ReplayStatus | None) -> None:
        """Check what is on in a replay; None: there is no replay, so its keys are free."""
        for action in replay_control.ACTIONS:
            self._made[action].setEnabled(status is not None)
        if status is not None:
            self._made[replay_control.ORDERS[status.order]].setChecked(True)
            self._made[replay_control.SKIP_QUIET].setChecked(status.skips_quiet)
            self._made[replay_control.SKIP_GAPS].setChecked(status.skips_gaps)

    def _add_replay_menu(self, menu: QMenu) -> None:
        menu.addSeparator()
        for entry in replay_control.MENU:
            if entry is None:
                menu.addSeparator()
            elif isinstance(entry, Action):
                self._fill(menu, (entry,))
            elif entry.is_choice:
                self._fill_exclusive(menu.addMenu(entry.title), entry.actions)
            else:
                self._fill(menu.addMenu(entry.title), entry.actions)

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
        """Add `actions` as a group in which one action is on."""
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
        if action is BUILD_TILES:
            # Only this one has a tool tip, as a menu shows either all of them or none.
            made.hovered.connect(lambda: QToolTip.showText(QCursor.pos(), made.toolTip()))
        if isinstance(bound, Switch):
            made.triggered.connect(bound.turn)
        else:
            # The lambda drops the signal's argument, whether the action is checked.
            made.triggered.connect(lambda _checked: bound.run())
        return made
