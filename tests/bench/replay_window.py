"""A window that shows the replay of a long recording, and tells what it has painted, and when."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import qasync
from PySide6.QtCore import QSettings, QSize
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QApplication, QWidget

from orderbook_desktop.app.process.event_loop import garbage_on_this_thread
from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.panes.time_and_sales.widget import TimeAndSales
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.replay.player import Player
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.system.alarm import ThreadAlarm
from tests.bench.targets import Targets
from tests.bench.tiled_recording import Tile
from tests.gui.fake_desk import FakeDesk
from tests.gui.pane_of import ladder_of

_WAITED: Final = Path("/proc/thread-self/schedstat")
_WINDOW: Final = QSize(1600, 900)
_PAINTED_S: Final = 10.0
_NS_A_MS: Final = 1_000_000
SYMBOL: Final = "BTC/USDT"


class Now(NamedTuple):
    """A moment: by the wall (ns), and without the time that this thread waited for a processor.

    The second tells of a busy computer what it would be on one that has a processor to spare; what
    this program waits for its other threads and the database is in it.
    """

    wall_ns: int
    own_ns: int

    @classmethod
    def read(cls) -> Now:
        """Return the present moment. Only Linux tells how long a thread has waited."""
        wall_ns = time.perf_counter_ns()
        try:
            waited_ns = int(_WAITED.read_text("ascii").split()[1])
        except FileNotFoundError:
            waited_ns = 0
        return cls(wall_ns, wall_ns - waited_ns)

    def since_ms(self, before: Now) -> tuple[float, float]:
        """Return how many ms have passed since a moment, by the wall and without waiting."""
        return (self.wall_ns - before.wall_ns) / 1e6, (self.own_ns - before.own_ns) / 1e6


class Painted(NamedTuple):
    """What a paint showed: the update id of its book, and when it ended."""

    update_id: int
    ended: Now


class WatchedLadder(DepthLadder):
    """A ladder that notes each paint, and calls `painted` after it."""

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, preferences, parent)
        self.paints: list[Painted] = []
        self.painted: Callable[[Painted], None] | None = None
        self._update_id = 0

    def set_frame(self, frame: BookFrame) -> None:
        """Show a book."""
        self._update_id = frame.update_id
        super().set_frame(frame)
        # It paints only what looks different.
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint, and note it."""
        super().paintEvent(event)
        paint = Painted(self._update_id, Now.read())
        self.paints.append(paint)
        if self.painted is not None:
            self.painted(paint)


@dataclass(frozen=True)
class Truth:
    """When the events of a tile's first round were received, and their update ids."""

    tile: Tile
    received_ns: Int64Array
    final_ids: Int64Array

    @classmethod
    def of(cls, tile: Tile) -> Truth:
        """Read it from the tile's chunks."""
        numbers = [decode_chunk(chunk).numbers for chunk in tile.chunks]
        received = np.concatenate([one.received_ns for one in numbers])
        ids = np.concatenate([one.final_ids for one in numbers])
        return cls(tile, np.maximum.accumulate(received), ids)

    def moment(self, share: float, number: int) -> tuple[int, int]:
        """Return a time of the round `number`, and the update id of the book then."""
        first, last = int(self.received_ns[0]), int(self.received_ns[-1])
        at_ns = first + int((last - first) * share)
        index = int(self.received_ns.searchsorted(at_ns, side="right")) - 1
        later = number * self.tile.ms * _NS_A_MS
        return at_ns + later, int(self.final_ids[index]) + number * self.tile.ids

    def before(self, update_id: int) -> int:
        """Return the update id of the event before another."""
        tile = self.tile
        number = self._round_of(update_id)
        index = int(self.final_ids.searchsorted(update_id - number * tile.ids))
        earlier = int(self.final_ids[index - 1]) if index else tile.start.last_update_id
        return earlier + number * tile.ids

    def due_between(self, after_id: int, last_id: int) -> list[int]:
        """Return when the events behind one update id, to another one, were received."""
        found: list[int] = []
        for number in {self._round_of(after_id + 1), self._round_of(last_id)}:
            ids = self.final_ids + number * self.tile.ids
            inside = (ids > after_id) & (ids <= last_id)
            found += (self.received_ns[inside] + number * self.tile.ms * _NS_A_MS).tolist()
        return found

    def _round_of(self, update_id: int) -> int:
        return (update_id - self.tile.start.last_update_id - 1) // self.tile.ids


class ReplayWindow:
    """The window, whose desk shows a player once there is one."""

    def __init__(self, application: QApplication, window: MainWindow, desk: FakeDesk) -> None:
        self.application = application
        self.window = window
        self.desk = desk
        ladder = ladder_of(window)
        assert isinstance(ladder, WatchedLadder)
        self.ladder = ladder

    def show(self, player: Player) -> None:
        """Show the book of `player` from now on."""
        self.desk.source = player  # type: ignore[assignment]  # any source of books
        self.desk.replay = player
        self.desk.revision += 1
        player.call_on_change(self.desk.tell_changed)
        self.desk.tell_changed()

    async def painted(self, update_id: int) -> Now:
        """Wait until the book with an update id was painted; return when that ended."""
        if self.ladder.paints and self.ladder.paints[-1].update_id == update_id:
            return self.ladder.paints[-1].ended
        found: asyncio.Future[Now] = asyncio.get_running_loop().create_future()

        def look(paint: Painted) -> None:
            if paint.update_id == update_id and not found.done():
                found.set_result(paint.ended)

        self.ladder.painted = look
        try:
            async with asyncio.timeout(_PAINTED_S):
                return await found
        finally:
            self.ladder.painted = None


@contextmanager
def shown_window(application: QApplication) -> Iterator[ReplayWindow]:
    """Show a window with all panes."""
    desk = FakeDesk()
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        panes = WatchedLadder, DepthChart, TimeAndSales
        window = MainWindow(desk, Preferences(store), application, panes=panes)
        window.resize(_WINDOW)
        window.show()
        try:
            yield ReplayWindow(application, window, desk)
        finally:
            window.finish_close()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    """Give the database in a folder, on a server of its own."""
    async with DatabaseServer(folder) as server:
        database = Database("bench")
        database.connect(server.dsn)
        try:
            yield database
        finally:
            database.close()


@asynccontextmanager
async def player_of(database: Database, market: str, at_ns: int) -> AsyncIterator[Player]:
    """Give a player at a time, as the program makes it."""
    alarm = ThreadAlarm(asyncio.get_running_loop())
    player = Player(store_of(database), market, SYMBOL, alarm=alarm)
    try:
        await player.start(at_ns)
        yield player
    finally:
        await player.close()


def run(work: Callable[[QApplication], Coroutine[Any, Any, int]]) -> int:
    """Run `work` in Qt's event loop, as the program does; return what it returns."""
    application = QApplication([])
    with qasync.QEventLoop(application) as loop, garbage_on_this_thread():
        code: int = loop.run_until_complete(work(application))
    gc.enable()
    return code


Took = list[tuple[float, float]]
"""How long things took in ms, by the wall and without waiting for a processor."""


def told(took: Took) -> str:
    """Return median and 99th percentile of both, in words."""
    wall, own = zip(*took, strict=True)
    return (
        f"{statistics.median(wall):.1f} ms, p99 {p99(wall):.1f} ms, without waiting for a "
        f"processor {statistics.median(own):.1f} ms, p99 {p99(own):.1f} ms of {len(took)}"
    )


def verdict(targets: Targets, took: Took, target_ms: float) -> str:
    """Return the verdict on the 99th percentile, without waiting for a processor."""
    return targets.at_most(p99([own for _, own in took]), target_ms)


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]
