"""The window's actions, their shortcuts and the menu bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.theme import Appearance

FURTHER_SHORTCUTS: Final = (
    ("Ladder: pick a row", "Up, Down"),
    ("Ladder: scroll", "Page Up, Page Down, wheel"),
    ("Ladder: back to the spread", "Space, Home"),
    ("Ladder: copy the picked row", "Ctrl+C"),
    ("Chart: zoom", "+, -, wheel"),
    ("Chart: reset", "0, Home, double click"),
    ("Chart: move the crosshair", "Left, Right (Shift: faster)"),
    ("Recordings: start or stop", "Space"),
    ("Recordings: show on screen", "Enter"),
    ("Recordings: remove from the list", "Delete"),
)


@dataclass(frozen=True, slots=True)
class Commands:
    """What the menus can do; the window fills it in. None: not on offer."""

    find_symbol: Callable[[], None]
    quit: Callable[[], None]
    finer: Callable[[], None]
    coarser: Callable[[], None]
    recentre: Callable[[], None]
    reset_chart: Callable[[], None]
    highlight_changes: Callable[[bool], None]
    set_appearance: Callable[[Appearance], None]
    set_full_screen: Callable[[bool], None]
    select_source: Callable[[SourceKind], None]
    set_recording: Callable[[bool], None]
    keep_recording: Callable[[bool], None]
    manage_recordings: Callable[[], None]
    show_space: Callable[[], None] | None
    show_browsers: Callable[[], None] | None
    show_welcome: Callable[[], None]
    show_shortcuts: Callable[[], None]
    show_about: Callable[[], None]


class Menus:
    """Builds the menu bar of `window`; its checkable actions follow the desk by `show_state`."""

    def __init__(
        self,
        window: QMainWindow,
        commands: Commands,
        appearance: Appearance,
        *,
        highlights_changes: bool,
    ) -> None:
        self._window = window
        self._commands = commands
        self.actions: list[QAction] = []
        self._sources: dict[SourceKind, QAction] = {}
        self._file_menu()
        self._view_menu(appearance, highlights_changes=highlights_changes)
        self._source_menu()
        self._recording_menu()
        self._help_menu()

    def show_state(self, kind: SourceKind, *, recording: bool, kept: bool) -> None:
        """Check what is so."""
        self._sources[kind].setChecked(True)
        self._record.setChecked(recording)
        self._keep.setChecked(kept)

    def shortcut_texts(self) -> list[tuple[str, str]]:
        """Return every command with its keys as text."""
        native = QKeySequence.SequenceFormat.NativeText
        named = [
            (
                action.text().replace("&", "").rstrip("…"),
                ", ".join(keys.toString(native) for keys in action.shortcuts()),
            )
            for action in self.actions
            if action.shortcuts()
        ]
        return [*named, *FURTHER_SHORTCUTS]

    def _file_menu(self) -> None:
        menu = self._menu("&File")
        self._add(menu, "&Find symbol…", self._commands.find_symbol, ("Ctrl+K", "/"))
        menu.addSeparator()
        quit_action = self._add(menu, "&Quit", self._commands.quit, ("Ctrl+Q",))
        quit_action.setMenuRole(QAction.MenuRole.QuitRole)

    def _view_menu(self, appearance: Appearance, *, highlights_changes: bool) -> None:
        commands, menu = self._commands, self._menu("&View")
        self._add(menu, "&Finer grouping", commands.finer, ("[", "Ctrl+-"))
        self._add(menu, "&Coarser grouping", commands.coarser, ("]", "Ctrl++", "Ctrl+="))
        menu.addSeparator()
        self._add(menu, "&Recentre the ladder", commands.recentre, ("Ctrl+Home",))
        self._add(menu, "Reset the &chart", commands.reset_chart, ("Ctrl+0",))
        self._add(
            menu, "&Highlight changes", commands.highlight_changes, checked=highlights_changes
        )
        if commands.show_browsers is not None:
            menu.addSeparator()
            self._add(menu, "&Browser view…", commands.show_browsers, ("Ctrl+B",))
        menu.addSeparator()
        looks = menu.addMenu("&Appearance")
        group = QActionGroup(self._window)
        for choice, text in (
            (Appearance.SYSTEM, "&As the system"),
            (Appearance.DARK, "&Dark"),
            (Appearance.LIGHT, "&Light"),
        ):
            action = self._add(looks, text, self._setter(choice), checked=choice is appearance)
            group.addAction(action)
        self._add(menu, "F&ull screen", commands.set_full_screen, ("F11",), checked=False)

    def _source_menu(self) -> None:
        menu = self._menu("&Source")
        group = QActionGroup(self._window)
        for kind, text, keys in (
            (SourceKind.MONGO, "&Recorded (through the database)", "Ctrl+1"),
            (SourceKind.DIRECT, "&Direct (lowest delay)", "Ctrl+2"),
        ):
            action = self._add(menu, text, self._selector(kind), (keys,), checked=False)
            group.addAction(action)
            self._sources[kind] = action

    def _recording_menu(self) -> None:
        menu = self._menu("&Recording")
        self._record = self._add(
            menu, "&Record this symbol", self._commands.set_recording, ("Ctrl+R",), checked=False
        )
        self._keep = self._add(
            menu, "&Keep recording this symbol", self._commands.keep_recording, checked=False
        )
        self._add(menu, "&Manage recordings…", self._commands.manage_recordings, ("Ctrl+Shift+R",))
        if self._commands.show_space is not None:
            self._add(menu, "&Disk space and retention…", self._commands.show_space)

    def _help_menu(self) -> None:
        menu = self._menu("&Help")
        self._add(menu, "&Welcome", self._commands.show_welcome)
        self._add(menu, "&Keyboard shortcuts", self._commands.show_shortcuts, ("F1",))
        about = self._add(menu, "&About Orderbook Desktop", self._commands.show_about)
        about.setMenuRole(QAction.MenuRole.AboutRole)

    def _setter(self, choice: Appearance) -> Callable[[bool], None]:
        return lambda _checked: self._commands.set_appearance(choice)

    def _selector(self, kind: SourceKind) -> Callable[[bool], None]:
        return lambda _checked: self._commands.select_source(kind)

    def _menu(self, title: str) -> QMenu:
        return self._window.menuBar().addMenu(title)

    def _add(
        self,
        menu: QMenu,
        text: str,
        command: Callable[[], None] | Callable[[bool], None],
        shortcuts: Sequence[str] = (),
        *,
        checked: bool | None = None,
    ) -> QAction:
        """Add a command; with `checked` it is an on/off one, told whether it is on."""
        action = QAction(text, self._window)
        action.setShortcuts([QKeySequence(keys) for keys in shortcuts])
        if checked is not None:
            action.setCheckable(True)
            action.setChecked(checked)
            action.triggered.connect(command)
        else:
            action.triggered.connect(lambda _checked: command())  # type: ignore[call-arg]
        menu.addAction(action)
        self.actions.append(action)
        return action
