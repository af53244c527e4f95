"""What the heatmap pane costs: frames of pans and zooms, the slider, a day, memory.

The pane shows a recording of hours, whose cells are read from a database as in the program. A
frame is all from a command to the end of the paint; an answer is what the pane does with cells that
were read, which is work of the same thread. Two sizes are measured: 1200 x 600 and 3840 x 2000
pixels of the plot. Then the first picture of a whole day is timed: until something is seen, and
until all of it is. Memory is that of this process with ladder, chart, tape and heatmap in a window;
the database is another process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from psutil import Process
from PySide6.QtCore import QEvent, QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import decode_snapshot
from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.colours import colour_table
from orderbook_desktop.core.heatmap.pages import HeatmapPart
from orderbook_desktop.core.heatmap.plot import Tables
from orderbook_desktop.desk.heatmap_pages import RecordedHeatmaps
from orderbook_desktop.gui.panes.book_frame import read_frame
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore
from tests.bench.replay_window import Now, Took, opened, run, told, verdict
from tests.bench.targets import Targets
from tests.bench.tiled_recording import Tile, make_tile, store
from tests.gui.fake_desk import FakeDesk, FakeSource
from tests.gui.pane_of import heatmap_of, trades_of

_HOURS: Final = 24.0
_SIZES: Final = (((1200, 600), 20.0), ((3840, 2000), 33.0))
_SLIDER_MS: Final = 2.0
_FIRST_S: Final = 0.3
_WHOLE_S: Final = 5.0
_MEMORY_MB: Final = 400.0
_WINDOW: Final = 1600, 900
_FRAMES: Final = 300
_SETTLED_S: Final = 0.4
_LONGEST_S: Final = 60.0
_HOUR_MS: Final = 3_600_000


class WatchedPane(HeatmapPane):
    """A heatmap that notes how long it takes to take in what was read."""

    def __init__(self, preferences: Preferences) -> None:
        super().__init__(DARK, preferences)
        self.answers: Took = []
        self.is_complete = False

    def _take_part(self, part: HeatmapPart, is_first: bool) -> None:
        began = Now.read()
        super()._take_part(part, is_first)
        self.answers.append(Now.read().since_ms(began))
        self.is_complete = part.is_complete


class Bench:
    """The pane over a recording, and what was measured of it."""

    def __init__(self, tile: Tile, database: Database, end_ms: int, folder: Path) -> None:
        self.tile, self.end_ms = tile, end_ms
        self.targets = Targets()
        self._jobs: set[asyncio.Task[None]] = set()
        self._database = database
        settings = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
        self._preferences = Preferences(settings)
        self._desk = FakeDesk()
        self._source = FakeSource(tile.market)
        image = tile.start
        self._source.book.load(decode_snapshot(encode_image(image), image.market, end_ms))

    @contextmanager
    def pane(self, size: tuple[int, int]) -> Iterator[WatchedPane]:
        """Give a pane whose plot has so many pixels."""
        pane = WatchedPane(self._preferences)
        pane.set_heatmaps(RecordedHeatmaps(self._store, self._run))
        pane.set_frame(read_frame(self._desk.symbol, self._source.look()))
        plot = pane.places.plot
        pane.resize(size[0] + pane.width() - plot.width(), size[1] + pane.height() - plot.height())
        pane.show()
        try:
            yield pane
        finally:
            pane.close()
            pane.reader.forget()
            pane.deleteLater()
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    async def measure(self, size: tuple[int, int], frame_ms: float) -> None:
        """Measure all on so many pixels."""
        name = "{} x {}".format(*size)
        for hours in (0.25, 2.5):
            with self.pane(size) as pane:
                began = time.perf_counter()
                await self._settled(pane)
                pane.zoom_time(hours * _HOUR_MS / _view_ms(pane))
                await self._settled(pane)
                took = (time.perf_counter() - began) * 1e3
                print(f"{name}, {hours:g} hours: read and shown after {took:.0f} ms")
                view = pane.view
                for kind, command in _commands(pane).items():
                    pane.navigator.view = view
                    pane.ask()
                    await self._settled(pane)
                    frames = await self._frames(pane, command)
                    print(f"  {kind}: {told(frames)} {verdict(self.targets, frames, frame_ms)}")
                print(f"  answers: {told(pane.answers)}")
                pane.navigator.view = view
                pane.ask()
                await self._settled(pane)
                slider = self._slider(pane)
                print(f"  slider: {told(slider)} {verdict(self.targets, slider, _SLIDER_MS)}")

    async def first_picture(self, size: tuple[int, int]) -> None:
        """Time the first picture of all that is recorded, until it begins and until it is whole."""
        with self.pane(size) as pane:
            await self._settled(pane)
            pane.answers.clear()
            pane.is_complete = False
            began = time.perf_counter()
            pane.navigator.show_all()
            pane.ask()
            async with asyncio.timeout(_LONGEST_S):
                while not pane.answers:
                    await asyncio.sleep(0.005)
                pane.repaint()
                first = time.perf_counter() - began
                while not pane.is_complete:
                    await asyncio.sleep(0.005)
            pane.repaint()
            whole = time.perf_counter() - began
        reached = self.targets.at_most(first, _FIRST_S), self.targets.at_most(whole, _WHOLE_S)
        hours = _view_ms(pane) / _HOUR_MS
        print(f"{hours:.1f} hours: something after {first:.2f} s {reached[0]}")
        print(f"  all of it after {whole:.2f} s {reached[1]}")

    async def memory(self, application: QApplication) -> None:
        """Tell the memory of this process with a window of all panes."""
        before = Process().memory_info().rss / 1e6
        window = MainWindow(self._desk, self._preferences, application, panes=PANES)
        window.resize(*_WINDOW)
        window.show()
        try:
            pages = RecordedHeatmaps(self._store, self._run)
            window.pane_row.set_heatmaps(pages)
            window.pane_row.set_frame(read_frame(self._desk.symbol, self._source.look()))
            heatmap = heatmap_of(window)
            heatmap.show()
            trades_of(window).show()
            for factor in (1.0, 8.0, 12.0):
                heatmap.zoom_time(factor)
                await asyncio.sleep(_SETTLED_S)
                for _ in range(5):
                    heatmap.move_by(-0.3, 0)
                    heatmap.repaint()
                    await asyncio.sleep(_SETTLED_S)
            used = Process().memory_info().rss / 1e6
            reached = self.targets.at_most(used, _MEMORY_MB)
            print(f"memory with all panes: {used:.0f} MB {reached}, {before:.0f} MB before that")
        finally:
            window.finish_close()

    async def _frames(self, pane: WatchedPane, command: Callable[[int], None]) -> Took:
        frames: Took = []
        for number in range(_FRAMES):
            began = Now.read()
            command(number)
            pane.repaint()
            frames.append(Now.read().since_ms(began))
            await asyncio.sleep(0.002)
        return frames

    @staticmethod
    def _slider(pane: WatchedPane) -> Took:
        took: Took = []
        pane.repaint()
        for number in range(100):
            began = Now.read()
            # As the pane does when a handle is moved.
            pane.scene.set_tables(Tables(colour_table(ColourMap.FIRE, 40 + number % 60, 200)))
            pane.repaint(pane.places.plot)
            took.append(Now.read().since_ms(began))
        return took

    @staticmethod
    async def _settled(pane: WatchedPane) -> None:
        """Wait until all that is in sight was read."""
        async with asyncio.timeout(_LONGEST_S):
            await asyncio.sleep(_SETTLED_S)
            while not pane.is_complete:
                await asyncio.sleep(0.01)
        pane.repaint()

    async def close(self) -> None:
        """End all reading."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _store(self) -> RecordingStore:
        return store_of(self._database)

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        job = asyncio.get_running_loop().create_task(work, name=name)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job


def _view_ms(pane: WatchedPane) -> int:
    assert pane.view is not None
    return pane.view.length_ms


def _commands(pane: WatchedPane) -> dict[str, Callable[[int], None]]:
    """Return ways to lead through the past; each goes to and fro."""

    def way(number: int) -> int:
        return -1 if number // 75 % 2 else 1

    return {
        "pan": lambda number: pane.move_by(-0.01 * way(number), 0.004 * way(number)),
        "wheel": lambda number: pane.move_by(-0.1 * way(number), 0),
        "zoom time": lambda number: pane.zoom_time(1.02 ** way(number), 300),
        "zoom prices": lambda number: pane.zoom_price(1.02 ** way(number), 300),
    }


async def _measure(application: QApplication) -> int:
    application.setQuitOnLastWindowClosed(False)
    tile = make_tile()
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as database:
            recording = await store(database, tile, _HOURS)
            end_ms = tile.first_ms + recording.rounds * tile.ms
            bench = Bench(tile, database, end_ms, Path(folder))
            for size, frame_ms in _SIZES:
                if "memory" not in sys.argv:
                    await bench.measure(size, frame_ms)
            if "memory" not in sys.argv:
                await bench.first_picture(_SIZES[0][0])
            await bench.memory(application)
            await bench.close()
    return bench.targets.exit_code


def main() -> int:
    return run(_measure)


if __name__ == "__main__":
    sys.exit(main())
