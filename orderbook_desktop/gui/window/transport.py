"""The parts of the window that only a replay has: its transport bar, and its dialogs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QMainWindow, QMenu, QWidget

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.replay import ReplayStatus
from orderbook_desktop.gui.theme import ThemeKeeper
from orderbook_desktop.gui.window.replay_control import ReplayControl

if TYPE_CHECKING:
    from orderbook_desktop.gui.dialogs.bookmark_list import BookmarkList
    from orderbook_desktop.gui.window.transport_bar import TransportBar


class Transport(QObject):
    """Makes the transport bar of `window` when a replay begins, and removes it at the end.

    `place` puts the bar into the window. The first picture does without all of these, so their
    modules are imported with the first replay.

    Signals:
        left(): the focus should go back to the book.
        live_wanted(): the person wants to see the live book again.
        gaps_wanted(): the person wants to see the list of gaps.
        utc_turned(): the person wants times in UTC, or in local time again.
    """

    left = Signal()
    live_wanted = Signal()
    gaps_wanted = Signal()
    utc_turned = Signal()

    def __init__(
        self,
        window: QMainWindow,
        desk: Desk,
        control: ReplayControl,
        themes: ThemeKeeper,
        replay_menu: QMenu,
        place: Callable[[QWidget], None],
    ) -> None:
        super().__init__(window)
        self.bar: TransportBar | None = None
        self.bookmarks: BookmarkList | None = None
        self._window = window
        self._desk = desk
        self._control = control
        self._themes = themes
        self._menu = replay_menu
        self._place = place
        self._zone: tzinfo | None = None
        control.time_wanted.connect(self._type_time)
        control.bookmarks_wanted.connect(self._show_bookmarks)
        control.large_wanted.connect(self._choose_large)

    def show_status(self, status: ReplayStatus | None) -> None:
        """Show the replay at a moment; None: the window is live."""
        if status is not None:
            self._shown_bar().show_status(status)
        elif self.bar is not None:
            bar, self.bar = self.bar, None
            had_focus = bar.isAncestorOf(self._window.focusWidget() or self._window)
            bar.stop()
            bar.hide()
            bar.deleteLater()
            if had_focus:
                self.left.emit()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        if self.bar is not None:
            self.bar.set_zone(zone)
        if self.bookmarks is not None:
            self.bookmarks.set_zone(zone)

    def describe(self) -> None:
        """Update what assistive technology reads."""
        if self.bar is not None:
            self.bar.describe()

    def stop(self) -> None:
        """Stop looking at the replay."""
        if self.bar is not None:
            self.bar.stop()

    def _shown_bar(self) -> TransportBar:
        if self.bar is None:
            from orderbook_desktop.gui.window.transport_bar import TransportBar  # noqa: PLC0415

            theme = self._themes.theme
            self.bar = bar = TransportBar(self._control, theme, self._menu, self._window)
            bar.left.connect(self.left)
            bar.live_wanted.connect(self.live_wanted)
            bar.gaps_wanted.connect(self.gaps_wanted)
            bar.utc_turned.connect(self.utc_turned)
            self._themes.changed.connect(bar.set_theme)
            bar.set_zone(self._zone)
            self._place(bar)
            bar.show()
        return self.bar

    def _type_time(self) -> None:
        if self.bar is not None:
            self.bar.type_time()

    def _show_bookmarks(self) -> None:
        from orderbook_desktop.gui.dialogs.bookmark_list import BookmarkList  # noqa: PLC0415

        if self.bookmarks is None:
            self.bookmarks = BookmarkList(self._desk, self._window, self._zone)
            self.bookmarks.wanted.connect(self._control.seek_bookmark)
        self.bookmarks.set_zone(self._zone)
        self.bookmarks.show()
        self.bookmarks.raise_()
        self.bookmarks.activateWindow()

    def _choose_large(self) -> None:
        from orderbook_desktop.gui.dialogs.large_trades import LargeTradesChoice  # noqa: PLC0415

        choice = LargeTradesChoice(self._control.large, self._desk.symbol.base, self._window)
        choice.chosen.connect(self._control.set_large)
        choice.finished.connect(choice.deleteLater)
        choice.open()
