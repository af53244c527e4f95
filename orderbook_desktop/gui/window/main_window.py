"""The main window: it puts the parts together and connects them to the desk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from functools import partial
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QHideEvent, QIcon, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QLabel,
    QMainWindow,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.desk import BrowserSwitch, Desk, NoticeAction
from orderbook_desktop.core.disk import RecordingStorage
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.status import Badge
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.gui.actions import Action, Choice, Command, Switch
from orderbook_desktop.gui.dialogs.welcome import WelcomePanel
from orderbook_desktop.gui.panes.book_frame import BookFrame, message_of
from orderbook_desktop.gui.panes.pane import PaneMaker
from orderbook_desktop.gui.parts import size_on_screen
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Appearance, ThemeKeeper, text_scale
from orderbook_desktop.gui.window import menus
from orderbook_desktop.gui.window.bridge import DeskBridge
from orderbook_desktop.gui.window.leaving import Leaving
from orderbook_desktop.gui.window.notice_bar import NoticeBar
from orderbook_desktop.gui.window.pane_row import PaneRow
from orderbook_desktop.gui.window.replay_control import ReplayControl
from orderbook_desktop.gui.window.replay_view import ReplayView
from orderbook_desktop.gui.window.status_line import StatusLine
from orderbook_desktop.gui.window.top_bar import TopBar
from orderbook_desktop.gui.window.transport import Transport
from orderbook_desktop.gui.window.veil import Veil
from orderbook_desktop.gui.window.window_dialogs import WindowDialogs
from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.system.steady_clock import steady_ns

_DESCRIBE_MS: Final = 1_000
_LEAST_SIZE: Final = QSize(640, 480)
_DEMO_TEXT: Final = "DEMO · a made-up market: no price here is real"


class MainWindow(QMainWindow):
    """The window that shows one desk.

    The close button only emits `close_requested`, after a question if there is something to lose
    (see `Leaving`). The caller then stops what has to be stopped, and calls `finish_close()`;
    meanwhile the signal may come again.

    `panes` make the views of the book, from left to right; the first pane gets the focus.
    `storage` is where recordings go: with it, a person who has never seen the window gets an
    explanation. `browsers` is the switch of the browser view; without it the window offers no
    browser view.

    Signals:
        close_requested(): the person wants to quit.
    """

    close_requested = Signal()

    def __init__(
        self,
        desk: Desk,
        preferences: Preferences,
        application: QApplication,
        *,
        panes: Iterable[PaneMaker],
        now_ns: Callable[[], int] = steady_ns,
        storage: RecordingStorage | None = None,
        browsers: BrowserSwitch | None = None,
    ) -> None:
        super().__init__()
        self._desk = desk
        self._preferences = preferences
        self._finishing = False
        self._shows_demo = desk.demo
        self._shown_replay: Replay | None = None
        self._shown_heatmaps: HeatmapPages | None = None
        self._storage = storage
        self.welcome: WelcomePanel | None = None
        self.themes = ThemeKeeper(
            application, preferences.appearance, self, preferences.text_percent
        )
        self.bridge = DeskBridge(desk, self, now_ns)
        self.dialogs = WindowDialogs(self, desk, self.themes, self.bridge)
        self.leaving = Leaving(self, desk, self.bridge, application.isSavingSession)
        self.replay = ReplayControl(desk, self)
        theme = self.themes.theme
        self.top_bar = TopBar(desk, preferences, theme, self, browsers)
        self.demo_strip = QLabel(_DEMO_TEXT, self)
        self.notice_bar = NoticeBar(self, desk.next_attempt)
        self.panes = [make(theme, preferences, self) for make in panes]
        self.replay_view = ReplayView(self.panes, now_ns, self)
        self.pane_row = PaneRow(self.replay_view.striped, preferences, self)
        self.status_line = StatusLine(self)
        of_panes = [command for pane in self.panes for command in pane.commands()]
        self.menus = menus.Menus(self, self._commands(), [*self.pane_row.switches(), *of_panes])
        self.transport = Transport(
            self, desk, self.replay, self.themes, self.menus.replay_menu, self._place_transport
        )
        self.addActions(self.menus.everywhere)
        self._describer = QTimer(self, interval=_DESCRIBE_MS)
        self._lay_out()
        self._take_zone()
        self._connect()
        self._restore()
        if storage is not None and not preferences.welcomed:
            self._show_welcome()

    def finish_close(self) -> None:
        """Stop looking at the desk, save the preferences, and close the window."""
        self._finishing = True
        self.leaving.close()
        self.bridge.stop()
        self.transport.stop()
        self._describer.stop()
        self._save()
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """Emit `close_requested`; close only after `finish_close()`."""
        if self._finishing:
            event.accept()
            return
        event.ignore()
        self.leaving.ask()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to look at the desk with the first show, at the screen's refresh rate."""
        super().showEvent(event)
        handle = self.windowHandle()
        if handle is not None:
            handle.screenChanged.connect(
                self.bridge.follow_screen, Qt.ConnectionType.UniqueConnection
            )
        self.bridge.follow_screen(self.screen())
        self._wake()
        if not self._finishing:
            self.bridge.start()
        # The icon's SVG plugin must not keep the first picture waiting.
        QTimer.singleShot(0, self, self._take_icon)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop reading the book while the window is hidden."""
        super().hideEvent(event)
        self._wake()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop reading the book while the window is minimised; follow full screen and font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._wake()
            self.menus.show_full_screen(is_full=self.isFullScreen())
        elif event.type() == QEvent.Type.FontChange:
            # The bar gets the font later than this window.
            QTimer.singleShot(0, self, self._fit)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Leave out captions while the window is narrow."""
        super().resizeEvent(event)
        self.top_bar.fit(self.width())
        self.pane_row.fit(self.width())

    def _fit(self) -> None:
        """Leave the text the room that it needs, as far as the screen has it."""
        self.setMinimumSize(size_on_screen(self, _LEAST_SIZE * text_scale(self)))
        self.top_bar.fit(self.width())

    def _lay_out(self) -> None:
        self._fit()
        self.demo_strip.setObjectName("demoStrip")
        self.demo_strip.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.demo_strip.setVisible(self._desk.demo)
        middle = QWidget(self)
        self._column = column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for part in (self.top_bar, self.demo_strip, self.notice_bar):
            column.addWidget(part)
        column.addWidget(self.pane_row, 1)
        column.addWidget(self.status_line)
        self.setCentralWidget(middle)
        self.veil = Veil(self.pane_row, self.themes.theme, middle)
        self.gap_card = self.replay_view.lay_over(self.pane_row, middle)
        self.pane_row.focus_first()

    def _connect(self) -> None:
        bridge = self.bridge
        bridge.symbol_changed.connect(self._show_symbol)
        bridge.frame_changed.connect(self._show_frame)
        bridge.desk_changed.connect(self._show_desk)
        bridge.badge_changed.connect(self._show_badge)
        bridge.recording_changed.connect(self._show_recording)
        bridge.rate_changed.connect(self.status_line.show_rate)
        self.status_line.gaps_wanted.connect(self._show_gaps)
        self.installEventFilter(self.replay)
        bridge.replay_changed.connect(self.replay_view.show_status)
        bridge.replay_changed.connect(self.menus.show_replay)
        bridge.replay_changed.connect(self.pane_row.set_replay)
        self.replay.commanded.connect(self._follow_command)
        self.replay_view.turned.connect(self.top_bar.record_button.show_live)
        self.replay_view.told.connect(self._show_moment)
        self.replay_view.passed.connect(self._pass_gap)
        self.replay_view.paced.connect(self.transport.show_status)
        self.transport.left.connect(self.pane_row.focus_first)
        self.transport.live_wanted.connect(partial(self._switch_replay, wanted=False))
        self.transport.gaps_wanted.connect(self._show_gaps)
        self.transport.utc_turned.connect(partial(self.menus.trigger, menus.UTC))
        self.dialogs.gap_wanted.connect(self.replay.go_to_gap)
        self._describer.timeout.connect(self.transport.describe)
        self.top_bar.commanded.connect(bridge.look)
        self.top_bar.left.connect(self.pane_row.focus_first)
        self.pane_row.set_pages(self._desk.trade_pages)
        self.pane_row.moment_wanted.connect(self._go_to)
        self.pane_row.pane_shown.connect(
            lambda action, is_shown: self.menus.show_pane(action, is_shown=is_shown)
        )
        self.top_bar.grouping_box.step_changed.connect(self.pane_row.set_step)
        self.themes.changed.connect(self.pane_row.set_theme)
        self.menus.recording_menu.aboutToShow.connect(self._show_tiles)
        self.leaving.agreed.connect(self._end)
        self.notice_bar.acted.connect(self._act)
        self.notice_bar.dismissed.connect(self._dismiss)
        self.notice_bar.retried.connect(self._desk.retry)
        self.notice_bar.left.connect(self.pane_row.focus_first)
        self.themes.changed.connect(self.top_bar.badge.set_theme)
        self.themes.changed.connect(self.veil.set_theme)
        self._describer.timeout.connect(self._describe)
        self._describer.timeout.connect(self._show_disk)
        self._describer.timeout.connect(self.replay_view.tick)

    def _commands(self) -> Iterator[Command | Switch | Choice]:
        """Iterate over the window's own actions, with their callables."""
        bar = self.top_bar
        yield Command(menus.FIND_SYMBOL, self._find_symbol)
        yield Switch(menus.DEMO, self._switch_demo)
        yield Command(menus.QUIT, self._ask_to_close)
        yield Command(menus.FINER, bar.grouping_box.finer)
        yield Command(menus.COARSER, bar.grouping_box.coarser)
        yield Switch(menus.QUOTE_UNITS, self._show_in_quote, self._preferences.shows_quote)
        yield Switch(menus.UTC, self._show_utc, self._preferences.shows_utc)
        if bar.browser_control is not None:
            yield Command(menus.SHOW_BROWSERS, bar.browser_control.open_panel)
        for appearance, action in menus.APPEARANCES.items():
            is_on = appearance is self._preferences.appearance
            yield Choice(action, partial(self._set_appearance, appearance), is_on)
        for percent, action in menus.TEXT_SIZES.items():
            is_on = percent == self._preferences.text_percent
            yield Choice(action, partial(self._set_text_percent, percent), is_on)
        yield Switch(menus.FULL_SCREEN, self._set_full_screen)
        yield Command(menus.LEAVE_FULL_SCREEN, partial(self._set_full_screen, wanted=False))
        for kind, action in menus.SOURCES.items():
            yield Choice(action, partial(bar.select_source, kind))
        yield Switch(menus.RECORD, bar.set_recording)
        yield Switch(menus.KEEP, bar.keep_recording)
        yield Switch(menus.HERE_TOO, bar.record_here)
        yield Switch(menus.REPLAY, self._switch_replay)
        yield Command(menus.MANAGE, self.dialogs.manage_recordings)
        yield Command(menus.SHOW_GAPS, self._show_gaps)
        yield from self.replay.commands()
        if self._storage is not None:
            yield Command(menus.SHOW_SPACE, partial(self.dialogs.show_space, self._storage))
        if self._desk.tiles is not None:
            yield Switch(menus.BUILD_TILES, self._build_tiles, self._desk.tiles.status.is_on)
        yield Command(menus.SHOW_WELCOME, self._show_welcome)
        yield Command(menus.SHOW_KEYS, self._show_keys)
        yield Command(menus.SHOW_ABOUT, self.dialogs.show_about)

    def actions_with_keys(self) -> list[Action]:
        """Return all actions with keys: those of the menus, of the panes and of the tables."""
        # Imported here because the first picture does without it.
        from orderbook_desktop.gui.dialogs.library_table import TABLE_ACTIONS  # noqa: PLC0415
        from orderbook_desktop.gui.window.coverage_bar import BAR_ACTIONS  # noqa: PLC0415

        of_panes = [action for pane in self.panes for action in pane.focus_keys.actions]
        return [*self.menus.with_keys, *of_panes, *BAR_ACTIONS, *TABLE_ACTIONS]

    def _restore(self) -> None:
        if not self.restoreGeometry(self._preferences.geometry):
            self.resize(size_on_screen(self, QSize(1440, 860)))
        self.pane_row.restore(self._preferences.splitter, self.width())

    def _save(self) -> None:
        self._preferences.geometry = self.saveGeometry()
        self._preferences.splitter = self.pane_row.saveState()
        self._preferences.save()

    def _show_symbol(self, symbol: SymbolInfo) -> None:
        self.top_bar.symbol_box.set_current(symbol.symbol)

    def _show_frame(self, frame: BookFrame) -> None:
        self.top_bar.grouping_box.set_frame(frame)
        self.top_bar.show_status(frame.status)
        if self.replay_view.at_gap:
            # The card tells all about it.
            frame = replace(frame, explains=False)
        self.pane_row.set_frame(frame)
        self.veil.show_book(has_book=message_of(frame) is None, is_lost=frame.is_lost)
        self.status_line.show_frame(frame)

    def _show_desk(self) -> None:
        desk = self._desk
        self.top_bar.show_desk()
        self.status_line.show_exchange(desk.exchange)
        if self.welcome is not None:
            self.welcome.show_desk()
        self.notice_bar.set_notices(desk.notices)
        self._show_demo()
        if not desk.demo:
            # The next start must not begin with choices made in the demo's market.
            self._preferences.remember(desk)
        self.menus.show_desk(self._desk)
        if desk.replay is not self._shown_replay:
            self._shown_replay = desk.replay
            self.pane_row.set_pages(desk.trade_pages)
        if desk.heatmaps is not self._shown_heatmaps:
            self._shown_heatmaps = desk.heatmaps
            self.pane_row.set_heatmaps(desk.heatmaps)

    def _go_to(self, at_ns: int) -> None:
        """Show the recording at a time: in the replay, or in one that begins there."""
        replay = self._desk.replay
        if replay is not None:
            replay.seek(at_ns)
        else:
            self._desk.start_replay(at=at_ns)
        self.bridge.look()

    def _place_transport(self, bar: QWidget) -> None:
        self._column.insertWidget(self._column.indexOf(self.status_line), bar)

    def _follow_command(self) -> None:
        self.bridge.look()
        # A switch may have been pressed that the replay has not obeyed yet.
        self.menus.show_replay(self.replay_view.status)

    def _show_moment(self, time: str, moment: str) -> None:
        """Show the time of a replay; empty texts: there is none."""
        self.top_bar.badge.set_moment(time)
        live_symbol = self._desk.live_symbol.symbol
        self.status_line.show_replay(moment, self.replay_view.file, live_symbol)
        self._show_title()

    def _pass_gap(self) -> None:
        replay = self._desk.replay
        if replay is not None:
            replay.play()
            self.bridge.look()
        self.pane_row.focus_first()

    def _show_demo(self) -> None:
        """Show whether the market is made up; when that changes, the panes start afresh."""
        demo = self._desk.demo
        self._show_title()
        self.demo_strip.setVisible(demo)
        if demo != self._shows_demo:
            self._shows_demo = demo
            self.pane_row.begin_anew()

    def _show_title(self) -> None:
        parts = (self.replay_view.word, "DEMO" if self._desk.demo else "", self._desk.symbol.symbol)
        self.setWindowTitle(" · ".join([*filter(None, parts), "Orderbook Desktop"]))

    def _show_badge(self, badge: Badge) -> None:
        self.top_bar.badge.set_badge(badge)
        self.veil.show_badge(badge)
        if self.welcome is not None:
            # The text of the welcome depends on whether there is a book.
            self.welcome.show_desk()

    def _show_recording(self, recording: RecordingStatus) -> None:
        self.top_bar.record_button.set_recording(recording)
        self.status_line.show_recording(recording)
        if self.welcome is not None:
            self.welcome.show_recording(recording)
        self.menus.show_desk(self._desk)

    def _show_disk(self) -> None:
        if self._storage is not None:
            self.status_line.show_disk(self._storage.disk, self._storage.retention)
        if self.welcome is not None:
            self.welcome.show_disk()

    def _act(self, action: NoticeAction) -> None:
        self._desk.act(action)
        self.bridge.look()

    def _switch_demo(self, wanted: bool) -> None:
        self._act(NoticeAction.START_DEMO if wanted else NoticeAction.LEAVE_DEMO)
        # The change takes a while, in which the menu shows the market that is still there.
        self.menus.show_desk(self._desk)

    def _switch_replay(self, wanted: bool) -> None:
        if wanted:
            self._desk.start_replay()
        else:
            self._desk.leave_replay()
        self.bridge.look()
        # It takes a moment until the recording is open.
        self.menus.show_desk(self._desk)

    def _dismiss(self, key: str) -> None:
        self._desk.dismiss(key)
        self.bridge.look()

    def _describe(self) -> None:
        """Update the panes' spoken descriptions, at a pace at which a person can listen."""
        self.pane_row.describe(self.replay_view.word, self.veil.text)

    def _show_in_quote(self, wanted: bool) -> None:
        self._preferences.shows_quote = wanted
        self.pane_row.set_quote_units(wanted)

    def _show_utc(self, wanted: bool) -> None:
        self._preferences.shows_utc = wanted
        self._take_zone()

    def _take_zone(self) -> None:
        """Write times in the zone that the person wants."""
        zone = UTC if self._preferences.shows_utc else None
        self.status_line.set_zone(zone)
        self.replay_view.set_zone(zone)
        self.transport.set_zone(zone)
        self.pane_row.set_zone(zone)
        self.dialogs.set_zone(zone)

    def _build_tiles(self, wanted: bool) -> None:
        self._preferences.builds_tiles = wanted
        if self._desk.tiles is not None:
            self._desk.tiles.switch(wanted)

    def _show_tiles(self) -> None:
        if self._desk.tiles is not None:
            self.menus.show_tiles(self._desk.tiles.status)

    def _set_appearance(self, appearance: Appearance) -> None:
        self._preferences.appearance = appearance
        self.themes.set_appearance(appearance)

    def _set_text_percent(self, percent: int) -> None:
        self._preferences.text_percent = percent
        self.themes.set_text_percent(percent)

    def _set_full_screen(self, wanted: bool) -> None:
        # A maximised window stays maximised behind the full screen.
        full, state = Qt.WindowState.WindowFullScreen, self.windowState()
        self.setWindowState(state | full if wanted else state & ~full)

    def _find_symbol(self) -> None:
        """Search for a symbol in this window, whichever window has the focus."""
        self.dialogs.cancel_questions()
        self.activateWindow()
        self.top_bar.symbol_box.search_now()

    def _show_welcome(self) -> None:
        if self.welcome is not None:
            return
        self.welcome = panel = WelcomePanel(self._desk, self._storage, self)
        panel.commanded.connect(self.bridge.look)
        panel.search_wanted.connect(self.top_bar.symbol_box.search_now)
        panel.dismissed.connect(self._end_welcome)
        self._column.insertWidget(self._column.indexOf(self.pane_row), panel)
        panel.show()
        self._preferences.welcomed = True

    def _end_welcome(self) -> None:
        panel, self.welcome = self.welcome, None
        if panel is not None:
            panel.hide()
            panel.deleteLater()
        self.pane_row.focus_first()

    def _show_gaps(self) -> None:
        replay = self._desk.replay
        if replay is not None and replay.status.file:
            self.dialogs.show_gaps_of_replay(replay)
        else:
            self.dialogs.show_gaps(self._desk.symbol.symbol)

    def _show_keys(self) -> None:
        self.dialogs.show_keys(self.actions_with_keys())

    def _ask_to_close(self) -> None:
        self.close()

    def _end(self) -> None:
        self.status_line.say("Closing…")
        self.close_requested.emit()

    def _take_icon(self) -> None:
        self.setWindowIcon(QIcon(str(resource_path("icons/orderbook-desktop.svg"))))

    def _wake(self) -> None:
        """Work while there is something to see; otherwise nearly rest."""
        self.bridge.awake = awake = self.isVisible() and not self.isMinimized()
        if not awake or self._finishing:
            self._describer.stop()
        elif not self._describer.isActive():
            self._describer.start()
