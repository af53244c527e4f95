"""The window's frames while 50 browsers watch: the interval of a 16 ms timer in its loop.

The whole window runs on Qt's offscreen platform, painting a made-up market; exchange,
database and viewers are processes of their own. Told for no viewer first, then for all.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import qasync
from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.browser_view import BrowserView, web_options
from orderbook_desktop.app.process.event_loop import garbage_on_this_thread
from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.system.ports import private_port
from orderbook_desktop.system.tasks import Workers
from tests.bench.targets import Targets
from tests.web.browser.program import exchange, running

_VIEWERS = int(os.environ.get("VIEWERS", "50"))
_SECONDS = float(os.environ.get("BENCH_SECONDS", "15"))
_P99_AT_MOST_MS = 20.0


async def _frames(seconds: float) -> list[float]:
    """Return the intervals, in ms, of a precise 16 ms timer in this loop."""
    ticks: list[int] = []
    timer = QTimer(interval=16)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter_ns()))
    timer.start()
    await asyncio.sleep(seconds)
    timer.stop()
    return [(later - earlier) / 1e6 for earlier, later in pairwise(ticks)]


@contextmanager
def _viewers(port: int) -> Iterator[None]:
    """Let viewers watch, as a process of their own."""
    arguments = [str(port), str(_VIEWERS), str(_SECONDS + 10)]
    command = [sys.executable, "-m", "tests.bench.web_viewers", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as viewers:
        yield
        viewers.terminate()


def _tell(name: str, frames: list[float], verdict: Targets | None = None) -> None:
    p99 = statistics.quantiles(frames, n=100)[98]
    told = verdict.at_most(p99, _P99_AT_MOST_MS) if verdict is not None else ""
    median = statistics.median(frames)
    print(f"{name:12} frame median {median:5.1f}   p99 {p99:5.1f} {told}   max {max(frames):5.1f}")


async def _measure(application: QApplication, folder: Path, variables: dict[str, str]) -> int:
    port = private_port()
    settings = load_settings(
        rest_url=variables["ORDERBOOK_REST_URL"],
        ws_url=variables["ORDERBOOK_WS_URL"],
        data_dir=folder / "window",
        web_port=port,
    )
    desk = LiveDesk(Program(settings), symbol="BTC/USDT", source_kind=SourceKind.MONGO)
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(desk, Preferences(store), application, panes=PANES)
    window.resize(1600, 900)
    window.show()
    view = BrowserView(library_of_desk(desk), web_options(settings))
    targets = Targets()
    await desk.program.start()
    try:
        while desk.source.look().status.state is not FeedState.SYNCED:
            await asyncio.sleep(0.1)
        await view.switch_on()
        await asyncio.sleep(5)
        _tell("no viewer", await _frames(_SECONDS))
        with _viewers(port):
            await asyncio.sleep(5)
            _tell(f"{view.viewers} viewers", await _frames(_SECONDS), targets)
    finally:
        await view.switch_off()
        desk.close()
        await desk.program.close()
        window.finish_close()
    return targets.exit_code


def main() -> int:
    application = QApplication(sys.argv[:1])
    application.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(application)
    loop.set_default_executor(Workers())
    with tempfile.TemporaryDirectory() as folder:
        market, variables = exchange(Path(folder), "--seed", "9")
        with running(market), loop, garbage_on_this_thread():
            return int(loop.run_until_complete(_measure(application, Path(folder), variables)))


if __name__ == "__main__":
    sys.exit(main())
