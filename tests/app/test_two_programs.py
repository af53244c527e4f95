"""Two programs on one database, as on two machines: one records, and the other has a window."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.status import FeedState, SourceKind, badge_for
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.system.steady_clock import steady_ns
from tests.app.conftest import NOWHERE
from tests.desk.one_desk import end, one_desk
from tests.storage.mongodb_here import a_database, a_name, a_replica_set, drop
from tests.storage.processes import eventually

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

    async def end(self) -> None:
        """Ask it to end, and check that it ends with exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        _, rest = await self._process.communicate()
        self.output += rest.decode()
        assert self._process.returncode == 0, self.output

    async def kill(self) -> None:
        """End it like a crash."""
        self._process.kill()
        await self._process.wait()


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


_until = eventually


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
    settings: Settings, shared: tuple[str, str], tmp_path: Path, qapp: QApplication
) -> None:
    recorder = HeadlessRecorder(settings, shared, tmp_path / "recorder")
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
        last = desk.source.look().book.last_update_id
        await recorder.start()
        await _until(lambda: _follows(desk, last))
        await recorder.kill()
        # A book that no longer moves is not shown as the present book.
        await _until(lambda: _badge(desk) is FeedState.STALE)
    async with a_database(*shared) as database:
        recording = Recording(database, "BTCUSDT")
        assert _texts(await recording.book_at(shown.event_ms)) == _texts(shown)
        # The window recorded no events: both segments are the recorder's.
        assert len(await recording.segments()) == 2
