"""The program with a window: it starts and ends Qt, the event loop, the desk and the window."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Final, NamedTuple

import qasync
import typer
from PySide6.QtCore import QEvent, QObject, QSettings, QTimer
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.browser_view import BrowserView, BrowserViewSwitch, web_options
from orderbook_desktop.app.process.event_loop import UnexpectedErrors, garbage_on_this_thread
from orderbook_desktop.app.process.log_files import current_log
from orderbook_desktop.app.process.stopping import (
    PROGRAM_TIMES,
    ProgramTimes,
    end_at_latest,
    stop_on_signals,
)
from orderbook_desktop.app.settings import APP_NAME, Settings
from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library_jobs import LibraryFile
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.version import __version__
from orderbook_desktop.core.wording import counted
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.desk.recorded_replays import RecordedReplays
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.panes.pane import PaneMaker
from orderbook_desktop.gui.panes.time_and_sales.widget import TimeAndSales
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.storage.dsn import redacted_dsn
from orderbook_desktop.system.private_files import keep_private, private_data_folder
from orderbook_desktop.system.tasks import Workers, ending

_log = logging.getLogger(__name__)

_TELL_EVERY_S: Final = 0.1
# The views of the book, from left to right.
PANES: Final[tuple[PaneMaker, ...]] = (
    DepthLadder,
    DepthChart,
    HeatmapPane,
    TimeAndSales,
)


class ScreenLost(KnownError):
    """The connection to the window's screen is lost."""

    def __str__(self) -> str:
        return "The screen went away, and the window with it; the recording until then is kept."


def run_window(
    settings: Settings,
    *,
    demo: bool,
    serve: bool,
    replay: str | None = None,
    file: Path | None = None,
    times: ProgramTimes | None = None,
) -> int:
    """Show the window until it is closed; return the exit code.

    `demo` is whether it shows a made-up market, `serve` whether the browser view is on, `replay`
    the moment, as a person types it, from which the recording is played, and `file` a packed file
    to show, or to play: then it raises the `PackedFileError` why that can't be read. Call
    `check_screen()` before: Qt aborts the process if it finds no screen.
    """
    contents = None if file is None else asyncio.run(_contents_of(file))
    application = QApplication(sys.argv[:1])
    application.setApplicationName(APP_NAME)
    application.setApplicationDisplayName("Orderbook Desktop")
    application.setApplicationVersion(__version__)
    application.setDesktopFileName(APP_NAME)
    # The desk has to end before the program does, so closing the window must not end Qt's loop.
    application.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(application)
    loop.set_default_executor(Workers())
    with loop, garbage_on_this_thread():
        options = _Options(demo, serve, replay, contents)
        show = _show(application, settings, times or PROGRAM_TIMES, options)
        showing = loop.create_task(show)
        try:
            loop.run_until_complete(showing)
        except RuntimeError as error:
            if showing.done():
                raise
            # Qt has ended the loop, as it does when its connection to the screen breaks.
            raise ScreenLost from error
    return 0


class _Options(NamedTuple):
    """What the window shows at first; see `run_window`."""

    demo: bool
    serve: bool
    replay: str | None
    file: LibraryFile | None


async def _contents_of(path: Path) -> LibraryFile:
    # Without a file the window does without this.
    from orderbook_desktop.desk.library_work import read_file  # noqa: PLC0415

    return await read_file(path)


class FileOpener(QObject):
    """Opens the packed files that macOS wants the running program to open, by calling `open_file`.

    Install it as an event filter of the application.
    """

    def __init__(self, open_file: Callable[[Path], None]) -> None:
        super().__init__()
        self._open_file = open_file

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Open the file of a `FileOpen` event."""
        if isinstance(event, QFileOpenEvent):
            self._open_file(Path(event.file()))
            return True
        return super().eventFilter(watched, event)


def _first_program(
    settings: Settings, times: ProgramTimes, preferences: Preferences, *, demo: bool
) -> tuple[Settings, Program]:
    """Return the settings with what the window remembers, and the program that uses them."""
    fixed_connections = settings.given("connections") and settings.connections > 0
    settings = with_remembered_retention(settings, preferences)
    if not fixed_connections:
        settings = settings.with_connections(preferences.connections)
    program = Program(
        settings,
        recordings=first_recordings(preferences),
        here_too=first_here_too(preferences),
        fixed_connections=fixed_connections,
        demo=demo,
        builds_tiles=preferences.builds_tiles,
        current_log=current_log,
        times=times.desk,
    )
    return settings, program


async def _show(
    application: QApplication, settings: Settings, times: ProgramTimes, options: _Options
) -> None:
    preferences = Preferences(window_memory(settings))
    settings, program = _first_program(settings, times, preferences, demo=options.demo)
    desk = _first_desk(program, settings, preferences)
    view = BrowserView(library_of_desk(desk), web_options(settings))
    browsers = BrowserViewSwitch(view, program.report_bug)
    storage = ProgramStorage(settings, program, preferences)
    caught = UnexpectedErrors(program.report_bug).caught(asyncio.get_running_loop())
    stop = asyncio.Event()
    with caught, stop_on_signals(stop):
        window = MainWindow(
            desk, preferences, application, panes=PANES, storage=storage, browsers=browsers
        )
        window.close_requested.connect(stop.set)
        window.show()
        opener = FileOpener(window.dialogs.open_packed)
        application.installEventFilter(opener)
        try:
            await _first_paint()
            if options.file is not None:
                program.library.show_file(options.file)
                if options.replay is None:
                    window.dialogs.manage_recordings()
                _log.info("shows the packed file %s", options.file.path)
            await program.start()
            _replay(desk, options)
            if options.serve:
                await _serve(browsers)
            await stop.wait()
        finally:
            application.removeEventFilter(opener)
            window.setEnabled(False)
            telling = asyncio.create_task(_tell_waiting(program, window.status_line.say))
            try:
                async with ending(telling):
                    await _close(browsers, desk, program, times)
            finally:
                window.finish_close()
                _tell_losses(program)


def _first_desk(program: Program, settings: Settings, preferences: Preferences) -> LiveDesk:
    return LiveDesk(
        program,
        symbol=first_symbol(settings, preferences),
        source_kind=first_source(settings, preferences),
        recents=preferences.recents,
        open_replay=RecordedReplays(
            lambda: program.engine, zone=lambda: UTC if preferences.shows_utc else None
        ),
    )


def _replay(desk: Desk, options: _Options) -> None:
    """Play what the options name: of a packed file its first recording."""
    if options.replay is None:
        return
    file = options.file
    if file is None or not file.entries:
        desk.start_replay(at=options.replay)
    else:
        symbol = file.entries[0].symbol
        desk.start_replay(symbol, at=options.replay, file=Path(file.path))


async def _serve(browsers: BrowserViewSwitch) -> None:
    """Switch the browser view on; print its link, or why it failed."""
    browsers.switch(wanted=True)
    status = await browsers.settled()
    if status.problem:
        typer.echo(f"orderbook-desktop: {status.problem}", err=True)
    elif status.link:
        typer.echo(f"The order book is at {status.link}")


async def _close(
    browsers: BrowserViewSwitch, desk: LiveDesk, program: Program, times: ProgramTimes
) -> None:
    # The process ends in time, even if a cancelled task has not ended.
    end_at_latest(times.close_s + times.grace_s)
    try:
        async with asyncio.timeout(times.close_s):
            try:
                await browsers.close()
            finally:
                desk.close()
                await program.close()
    except TimeoutError:
        _log.warning("not everything ended within %.1f s", times.close_s)


async def _tell_waiting(program: Program, say: Callable[[str], None]) -> None:
    """Say how many events are still being written, while the program closes."""
    while True:
        waiting = program.engine.recorder.waiting
        what = f": {counted(waiting, 'event')} left to write" if waiting else ""
        say(f"Closing{what}…")
        await asyncio.sleep(_TELL_EVERY_S)


def _tell_losses(program: Program) -> None:
    """Say on standard error what could not be written; the log has it, too."""
    waiting = program.engine.recorder.waiting
    if waiting and not program.demo:
        with suppress(OSError):
            lost = counted(waiting, "event")
            typer.echo(f"orderbook-desktop: {lost} could not be written before the end.", err=True)


def window_memory(settings: Settings) -> QSettings:
    """Return the file of the window's memory, in the data folder; only this user can read it."""
    path = settings.data_dir / "window.ini"
    try:
        private_data_folder(settings.data_dir)
        keep_private(path)
    except OSError as error:
        _log.warning("the window's memory can't be kept: %s", error)
    return QSettings(str(path), QSettings.Format.IniFormat)


def first_symbol(settings: Settings, preferences: Preferences) -> str:
    """Return the symbol to begin with: the symbol of the settings, else the one shown last."""
    if settings.given("symbol") or not preferences.symbol:
        return settings.symbol
    try:
        return split_symbol(preferences.symbol)[0]
    except ValueError:
        return settings.symbol


def first_source(settings: Settings, preferences: Preferences) -> SourceKind:
    """Return the source to begin with: the source of the settings, else the one shown last."""
    if settings.given("source"):
        return settings.source
    return preferences.source or settings.source


def first_recordings(preferences: Preferences) -> dict[str, bool]:
    """Return the remembered recordings, by symbol; entries that can't be symbols are left out."""
    recordings = {}
    for text, is_running in preferences.recordings.items():
        with suppress(ValueError):
            recordings[split_symbol(text)[0]] = is_running
    return recordings


def first_here_too(preferences: Preferences) -> list[str]:
    """Return the remembered symbols that are recorded here, too; others are left out."""
    symbols = []
    for text in preferences.here_too:
        with suppress(ValueError):
            symbols.append(split_symbol(text)[0])
    return symbols


async def _first_paint() -> None:
    """Wait until the window has painted itself, before the desk begins its slow imports."""
    painted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    QTimer.singleShot(0, lambda: QTimer.singleShot(0, lambda: painted.set_result(None)))
    await painted


class ProgramStorage:
    """The data folder or database of `settings`, used by `program`; is a `RecordingStorage`."""

    def __init__(self, settings: Settings, program: Program, preferences: Preferences) -> None:
        self._program = program
        self._preferences = preferences
        self.text = storage_text(settings)

    @property
    def disk(self) -> DiskStatus:
        """The disk space, as it was a few seconds ago."""
        return self._program.disk

    @property
    def retention(self) -> Retention:
        """The limits of age and size beyond which recordings are removed."""
        return self._program.retention

    def set_retention(self, retention: Retention) -> None:
        """Apply `retention` from now on, and in later runs."""
        _log.info("user: keeps %s", retention.text())
        self._program.set_retention(retention)
        self._preferences.retention = retention


def storage_text(settings: Settings) -> str:
    """Return the name of the database or folder of the recordings, without a password."""
    if settings.mongo_dsn:
        return f"the database {settings.db_name} at {redacted_dsn(settings.mongo_dsn)}"
    return f"the folder {settings.data_dir}"


def with_remembered_retention(settings: Settings, preferences: Preferences) -> Settings:
    """Return `settings` with the retention chosen in the window, unless they set one themselves."""
    chosen = preferences.retention
    if chosen is None or settings.given("retention_days") or settings.given("retention_gb"):
        return settings
    fields = {"retention_days": chosen.days, "retention_gb": chosen.gigabytes}
    return settings.model_copy(update=fields)
