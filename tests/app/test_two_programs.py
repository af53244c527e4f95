"""Two programs on one database, as on two machines: one records, and the other has a window."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.app.window import PANES, first_here_too
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState, SourceKind, badge_for
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.settings import FollowTimes
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.menus import HERE_TOO
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from orderbook_desktop.system.steady_clock import steady_ns
from tests.app.conftest import NOWHERE
from tests.desk.one_desk import end, one_desk
from tests.storage.mongodb_here import a_database, a_name, a_replica_set, drop
from tests.storage.processes import eventually
from tests.unhurried import DESK_TIMES

pytestmark = [
    pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: "),
    pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal"),
    # The window has no exchange, and starts before the recording.
    pytest.mark.allows_log(r"WARNING .*"),
]


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server that both programs use."""
    with a_replica_set(tmp_path_factory.mktemp("server")) as dsn:
        yield dsn


@pytest.fixture
async def shared(dsn: str) -> AsyncIterator[tuple[str, str]]:
    """The server, and the name of a database that only this test uses."""
    name = a_name()
    yield dsn, name
    await drop(dsn, name)


class HeadlessRecorder:
    """`orderbook-desktop record` in its own process."""

    def __init__(self, settings: Settings, shared: tuple[str, str], folder: Path) -> None:
        self._variables = {
            "ORDERBOOK_REST_URL": settings.rest_url,
            "ORDERBOOK_WS_URL": settings.ws_url,
            "ORDERBOOK_DATA_DIR": str(folder),
            "MONGO_DSN": shared[0],
            "DB_NAME": shared[1],
        }
        self.output = ""

    async def start(self) -> None:
        """Start it, and wait until it records."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orderbook_desktop", "record", "BTC/USDT"),
            env={**os.environ, **self._variables},
            stderr=asyncio.subprocess.PIPE,
        )
        said_before = len(self.output)
        while "BTC/USDT: synced" not in self.output[said_before:]:
            assert self._process.stderr is not None
            line = await self._process.stderr.readline()
            assert line, self.output
            self.output += line.decode()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def end(self) -> None:
        """Ask it to end, and check that it ends with exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        _, rest = await self._process.communicate()
        self.output += rest.decode()
        assert self._process.returncode == 0, self.output

    async def kill(self) -> None:
        """End it like a crash; to do so after its end does nothing."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@pytest.fixture
async def recorder(
    settings: Settings, shared: tuple[str, str], tmp_path: Path
) -> AsyncIterator[HeadlessRecorder]:
    """A recorder that the test starts, in a folder of its own."""
    recorder = HeadlessRecorder(settings, shared, tmp_path / "recorder")
    yield recorder
    await recorder.kill()


@asynccontextmanager
async def _looking(
    shared: tuple[str, str], folder: Path, application: QApplication
) -> AsyncIterator[LiveDesk]:
    """Open a window that records nothing and reaches no exchange."""
    settings = load_settings(**NOWHERE, data_dir=folder, mongo_dsn=shared[0], db_name=shared[1])
    desk = one_desk(settings)
    desk.set_recording(False)
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(desk, Preferences(store), application, panes=PANES)
    window.show()
    try:
        await desk.program.start()
        yield desk
    finally:
        window.setEnabled(False)
        await end(desk)
        window.finish_close()


@asynccontextmanager
async def _recording(
    settings: Settings, shared: tuple[str, str], folder: Path, application: QApplication
) -> AsyncIterator[tuple[MainWindow, LiveDesk]]:
    """Open a window that would record, with what it remembers in `folder`."""
    settings = settings.model_copy(
        update={"data_dir": folder, "mongo_dsn": shared[0], "db_name": shared[1]}
    )
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    preferences = Preferences(store)
    desk = one_desk(settings, here_too=first_here_too(preferences), times=_TIMES)
    window = MainWindow(desk, preferences, application, panes=PANES)
    window.show()
    try:
        await desk.program.start()
        yield window, desk
    finally:
        window.setEnabled(False)
        await end(desk)
        window.finish_close()


_TIMES = replace(DESK_TIMES, follow=FollowTimes(look_again_s=0.1, patience_s=1.0))
_until = eventually


def _is_elsewhere(desk: LiveDesk, recorder: HeadlessRecorder) -> bool:
    """Whether the desk follows `recorder`, and says so."""
    recording = desk.recording
    return (
        recording.wanted
        and recording.state is RecordingState.ELSEWHERE
        and recording.recorded_by == f"another program (process {recorder.pid})"
    )


def _badge(desk: LiveDesk) -> FeedState:
    return badge_for(desk.source.look().status, steady_ns()).state


def _follows(desk: LiveDesk, after_id: int = 0) -> bool:
    status = desk.source.look().status
    return (
        (status.state, status.source) == (FeedState.SYNCED, SourceKind.MONGO)
        and desk.source.look().book.last_update_id > after_id
    )  # fmt: skip


def _texts(image: BookImage) -> tuple[object, ...]:
    sides = (image.bids, image.asks)
    return image.last_update_id, *(
        list(zip(side.prices.tolist(), side.quantities.tolist(), strict=True)) for side in sides
    )


@pytest.mark.timeout(400, method="thread")
async def test_a_window_shows_what_another_program_records(
    settings: Settings,
    shared: tuple[str, str],
    recorder: HeadlessRecorder,
    tmp_path: Path,
    qapp: QApplication,
) -> None:
    async with asyncio.timeout(380), _looking(shared, tmp_path / "window", qapp) as desk:
        await recorder.start()
        await _until(lambda: _follows(desk))
        first = desk.source.look().book.last_update_id
        await _until(lambda: _follows(desk, first + 200))
        shown = image_of(desk.source.look().book, "BTCUSDT")
        assert not desk.recording.wanted
        assert desk.recording.counts.events == 0
        await recorder.end()
        # Another run of it is a new segment, after a gap that the window must not bridge.
        async with a_database(*shared) as database:
            (first_run,) = await Recording(database, "BTCUSDT").segments()
        last = first_run.segment.last_id
        await recorder.start()
        await _until(lambda: _follows(desk, last))
        # Until it is known how old the book is, it is not synced, and can't become stale.
        await _until(lambda: _badge(desk) is FeedState.SYNCED)
        await recorder.kill()
        # A book that no longer moves is not shown as the present book.
        await _until(lambda: _badge(desk) is FeedState.STALE)
    async with a_database(*shared) as database:
        recording = Recording(database, "BTCUSDT")
        assert _texts(await recording.book_at(shown.event_ms)) == _texts(shown)
        # The window recorded no events: both segments are the recorder's.
        assert len(await recording.segments()) == 2


@pytest.mark.timeout(400, method="thread")
async def test_a_window_leaves_a_recording_to_another_program_until_that_ends(
    settings: Settings,
    shared: tuple[str, str],
    recorder: HeadlessRecorder,
    tmp_path: Path,
    qapp: QApplication,
) -> None:
    await recorder.start()
    async with (
        asyncio.timeout(380),
        _recording(settings, shared, tmp_path / "window", qapp) as (window, desk),
    ):
        await _until(lambda: _is_elsewhere(desk, recorder))
        await _until(lambda: _follows(desk))
        window.bridge.look()
        who = f"another program (process {recorder.pid})"
        assert window.status_line.text("recorded") == f"Recorded by {who}"
        assert window.top_bar.record_button.toolTip().startswith(f"Recorded by {who}. ")
        # The other symbol is recorded here, and the first one is left to the other program again.
        desk.select_symbol("ETH/USDT")
        # Events that wait for the first book are counted, too.
        await _until(lambda: desk.recording.state is RecordingState.RECORDING)
        waited_for = desk.recording.counts.events
        await _until(lambda: desk.recording.counts.events > waited_for + 2)
        desk.select_symbol("BTC/USDT")
        assert _is_elsewhere(desk, recorder)
        assert desk.recording.counts.events == 0
        # The notice is about the symbol that was recorded only here.
        (notice,) = desk.notices
        assert notice.text == "ETH/USDT is no longer recorded."
        await recorder.kill()
        await _until(lambda: desk.recording.counts.events > 0)
        await _until(lambda: desk.recording.state is RecordingState.RECORDING)
        # It gives way when the other recording has what comes after its own.
        await recorder.start()
        await _until(lambda: _is_elsewhere(desk, recorder))
        last = desk.source.look().book.last_update_id
        await _until(lambda: _follows(desk, last))
        # A person who switches it off does not want it to be taken over.
        desk.set_recording(False)
        assert not desk.recording.wanted
        desk.set_recording(True)
        await recorder.end()
        known = desk.recording.counts.events
        await _until(lambda: desk.recording.counts.events > known)
    async with a_database(*shared) as database:
        gaps = (await Recording(database, "BTCUSDT").timeline()).gaps
        # If the window begins before an event comes, nothing is missing, and there is no gap.
        causes = [gap.cause for gap in gaps]
        assert causes == [one for one in (GapCause.CRASH, GapCause.USER) if one in causes]
        assert (await verify(database, "BTCUSDT")).holds
        assert len(await Recording(database, "ETHUSDT").segments()) == 1


@pytest.mark.timeout(400, method="thread")
async def test_a_symbol_is_recorded_here_too_and_that_is_remembered(
    settings: Settings,
    shared: tuple[str, str],
    recorder: HeadlessRecorder,
    tmp_path: Path,
    qapp: QApplication,
) -> None:
    await recorder.start()
    async with asyncio.timeout(380):
        async with _recording(settings, shared, tmp_path / "window", qapp) as (window, desk):
            await _until(lambda: _is_elsewhere(desk, recorder))
            for wanted in (True, False, True):
                _switch_here_too(window)
                assert desk.here_too == (("BTC/USDT",) if wanted else ())
                known = desk.recording.counts.events
                if wanted:
                    await _until(lambda known=known: desk.recording.counts.events > known + 5)  # type: ignore[misc]
                    assert desk.recording.recorded_by == ""
                else:
                    await _until(lambda: _is_elsewhere(desk, recorder))
        async with _recording(settings, shared, tmp_path / "window", qapp) as (_, desk):
            assert desk.here_too == ("BTC/USDT",)
            await _until(lambda: desk.recording.state is RecordingState.RECORDING)
            async with a_database(*shared) as database:
                await _until_stored(database, recorder, desk.recording.counts.first_id)
            # The other one is killed amid it: nothing is missing.
            await recorder.kill()
            known = desk.recording.counts.events
            await _until(lambda: desk.recording.counts.events > known + 5)
    async with a_database(*shared) as database:
        await CrashWatch(database).close_crashed()
        (summary,) = await summaries(database)
        assert summary.timeline.gaps == ()
        # The window has what the other program missed by its crash.
        (last,) = [gap for gap in summary.healed if gap.cause is GapCause.CRASH]
        assert last.by == f"another recorder (process {os.getpid()})"
        assert (await verify(database, "BTCUSDT")).holds


async def _until_stored(database: Database, recorder: HeadlessRecorder, update_id: int) -> None:
    """Wait until the running segment of `recorder` is stored up to `update_id`."""
    running = {"end_cause": None, "owner.pid": recorder.pid, "last_id": {"$gte": update_id}}
    while await database.collection("segments").find_one(running) is None:
        await asyncio.sleep(0.05)


def _switch_here_too(window: MainWindow) -> None:
    action = next(one for one in window.menus.actions if one.text() == HERE_TOO.text)
    action.trigger()
