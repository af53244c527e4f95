"""From receiving an event to having painted it, for both sources, at 10 and 100 events/s.

The whole program runs: exchange and database as processes of their own, the window on Qt's
offscreen platform. An event counts as painted when the ladder and the chart have both
painted a book that contains it. Times are the exchange's socket's to the end of the later
paint event, in milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import qasync
from PySide6.QtCore import QSettings
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QApplication, QWidget

from orderbook_desktop.app.process.event_loop import garbage_on_this_thread
from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.system.ports import is_listening, private_port
from orderbook_desktop.system.tasks import Workers
from tests.bench.exchange_process import exchange_process
from tests.bench.targets import Targets

_SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
_TARGETS_MS = {SourceKind.DIRECT: (12.0, 25.0), SourceKind.MONGO: (20.0, 45.0)}
_CASES = [(kind, speed) for kind in SourceKind for speed in (1, 10)]


class Stopwatch:
    """Knows which events went into which book, and when each widget had painted them."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self._waiting: dict[int, deque[tuple[int, int]]] = {}
        self._painted: dict[type[QWidget], int] = {}
        self._shown: dict[type[QWidget], int] = {}
        self.book: Book | None = None
        self._watch_book()
        for widget in (DepthLadder, DepthChart):
            self._watch_widget(widget)

    def _watch_book(self) -> None:
        watched: Any = Book
        apply = watched.apply

        def applied(book: Book, diff: DepthDiff) -> None:
            apply(book, diff)
            waiting = self._waiting.setdefault(id(book), deque())
            waiting.append((diff.final_id, diff.received_ns))

        watched.apply = applied

    def _watch_widget(self, kind: Any) -> None:
        set_frame, paint = kind.set_frame, kind.paintEvent

        def take(widget: QWidget, frame: BookFrame) -> None:
            self._shown[kind] = frame.update_id
            set_frame(widget, frame)

        def painted(widget: QWidget, event: QPaintEvent) -> None:
            paint(widget, event)
            self._painted[kind] = self._shown.get(kind, 0)
            self._note()

        kind.set_frame, kind.paintEvent = take, painted

    def _note(self) -> None:
        if self.book is None or len(self._painted) < 2:
            return
        now = time.time_ns()
        waiting = self._waiting.get(id(self.book), deque())
        everywhere = min(self._painted.values())
        while waiting and waiting[0][0] <= everywhere:
            _, received_ns = waiting.popleft()
            self.latencies_ms.append((now - received_ns) / 1e6)

    def restart(self, book: Book) -> None:
        """Forget what was measured; from now on events of `book` count."""
        self.book = book
        self._waiting.clear()
        self.latencies_ms.clear()


async def _measure(
    application: QApplication, stopwatch: Stopwatch, kind: SourceKind, speed: int, folder: Path
) -> list[float]:
    port = private_port()
    with exchange_process(port, speed, folder):
        while not await is_listening(port):
            await asyncio.sleep(0.1)
        settings = load_settings(
            rest_url=f"http://127.0.0.1:{port}",
            ws_url=f"ws://127.0.0.1:{port}",
            data_dir=folder / f"{kind.value}-{speed}",
        )
        desk = LiveDesk(Program(settings), symbol="BTC/USDT", source_kind=kind)
        return await _watch_window(application, stopwatch, desk, folder)


async def _watch_window(
    application: QApplication, stopwatch: Stopwatch, desk: LiveDesk, folder: Path
) -> list[float]:
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(desk, Preferences(store), application, panes=PANES)
    window.resize(1600, 900)
    window.show()
    await desk.program.start()
    try:
        async with asyncio.timeout(20):
            while desk.source.look().status.state is not FeedState.SYNCED:
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        stopwatch.restart(desk.source.look().book)
        await asyncio.sleep(_SECONDS)
        assert desk.source.look().book is stopwatch.book, "the source changed while it was measured"
        return list(stopwatch.latencies_ms)
    finally:
        desk.close()
        await desk.program.close()
        window.finish_close()


async def _all(application: QApplication) -> int:
    targets = Targets()
    stopwatch = Stopwatch()
    for kind, speed in _CASES:
        with tempfile.TemporaryDirectory() as folder:
            values = await _measure(application, stopwatch, kind, speed, Path(folder))
        cuts = statistics.quantiles(values, n=100)
        rate = len(values) / _SECONDS
        p50, p99 = _TARGETS_MS[kind]
        print(
            f"{kind.value:7} {rate:6.1f} events/s   p50 {cuts[49]:6.1f} "
            f"{targets.at_most(cuts[49], p50)}   p99 {cuts[98]:6.1f} "
            f"{targets.at_most(cuts[98], p99)}   max {max(values):6.1f}   ({len(values)} events)",
            flush=True,
        )
    return targets.exit_code


def main() -> int:
    application = QApplication(sys.argv[:1])
    application.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(application)
    loop.set_default_executor(Workers())
    with loop, garbage_on_this_thread():
        return int(loop.run_until_complete(_all(application)))


if __name__ == "__main__":
    sys.exit(main())
