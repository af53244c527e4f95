"""The whole program for a long time: does anything grow?

`python -m tests.bench.soak [--minutes 30] [--speed 50] [--windowless]`. The capture is
played over and over; the program records and archives it, and follows its own recording, with
the window on Qt's offscreen platform. What is sampled every two seconds: the memory of the
program and of its database, and the number of asyncio tasks, timers, threads, open files and
sockets. After the warm-up, the first third, memory may grow by so much an hour at most, and the
rest by nothing. At the end `verify` must prove what was recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import psutil
import qasync
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.process.event_loop import garbage_on_this_thread
from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.system.ports import is_listening, private_port
from orderbook_desktop.system.tasks import Workers
from tests.bench.exchange_process import exchange_process
from tests.bench.targets import Targets

_SAMPLE_EVERY_S = 2.0
_ROWS = 20
# Of the program; what it allocates varies by a few MB, which is much an hour in a short run.
_APP_MB_AN_HOUR = 20.0
# Its cache (64 MB) and its oplog fill up first, which takes longer than a short run.
_DATABASE_MB = 600.0
# Of what is recorded, so much may go on to wait for the archive (which looks every 30 s).
_BACKLOG_SHARE = 0.2
_LEAST_MINUTES_FOR_SLOPE = 10.0
# Connections and threads of pools come and go.
_COUNT_TOLERANCE = 3.0


@dataclass(frozen=True)
class Sample:
    """What there is at one time: seconds since the start, MB, and numbers of things."""

    s: float
    app_mb: float
    database_mb: float
    tasks: float
    timers: float
    threads: float
    files: float
    sockets: float
    events: float
    archived: float


_COUNTED = ("tasks", "timers", "threads", "files", "sockets")


class Sampler:
    """Takes samples of this process, and of the database of `desk`."""

    def __init__(self, desk: LiveDesk, loop: qasync.QEventLoop) -> None:
        self._desk = desk
        self._loop = loop
        self._process = psutil.Process()
        self._begun = time.monotonic()

    def take(self) -> Sample:
        engine = self._desk.program.engine
        pid = engine.server.pid
        database = psutil.Process(pid).memory_info().rss if pid else 0
        sockets = len(self._process.net_connections("all"))
        return Sample(
            time.monotonic() - self._begun,
            self._process.memory_info().rss / 2**20,
            database / 2**20,
            len(asyncio.all_tasks()),
            self._timers(),
            threading.active_count(),
            self._process.num_fds() - sockets,
            sockets,
            self._desk.recording.counts.events,
            self._desk.recording.counts.archived_events,
        )

    def _timers(self) -> int:
        """Count Qt's timers: those of widgets, and one for each delayed call of the loop."""
        widgets = sum(issubclass(type(one), QTimer) for one in gc.get_objects())
        return widgets + len(vars(self._loop._timer)["_SimpleTimer__callbacks"])


async def _run(application: QApplication, given: argparse.Namespace, folder: Path) -> list[Sample]:
    port = private_port()
    with exchange_process(port, given.speed, folder, loop=True):
        while not await is_listening(port):
            await asyncio.sleep(0.1)
        settings = load_settings(
            rest_url=f"http://127.0.0.1:{port}",
            ws_url=f"ws://127.0.0.1:{port}",
            data_dir=folder / "data",
            low_disk_gb=0,
        )
        desk = LiveDesk(Program(settings), symbol="BTC/USDT", source_kind=SourceKind.MONGO)
        with _shown(application, desk, folder, windowless=given.windowless):
            await desk.program.start()
            try:
                samples = await _sample(desk, given.minutes * 60)
            finally:
                desk.close()
                await desk.program.close()
        _verify(settings)
        return samples


@contextmanager
def _shown(
    application: QApplication, desk: LiveDesk, folder: Path, *, windowless: bool
) -> Iterator[None]:
    if windowless:
        yield
        return
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(desk, Preferences(store), application, panes=PANES)
    window.resize(1600, 900)
    window.show()
    try:
        yield
    finally:
        window.finish_close()


async def _sample(desk: LiveDesk, for_s: float) -> list[Sample]:
    async with asyncio.timeout(30):
        while desk.source.look().status.state is not FeedState.SYNCED:
            await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, qasync.QEventLoop)
    sampler = Sampler(desk, loop)
    samples = [sampler.take()]
    print("".join(f"{field.name:>12}" for field in fields(Sample)), flush=True)
    row_every_s = max(for_s / _ROWS, _SAMPLE_EVERY_S)
    while samples[-1].s < for_s:
        await asyncio.sleep(_SAMPLE_EVERY_S)
        samples.append(sampler.take())
        if samples[-1].s // row_every_s > samples[-2].s // row_every_s:
            print("".join(f"{value:12.0f}" for value in astuple(samples[-1])), flush=True)
    assert desk.recording.problem == "", desk.recording.problem
    return samples


def _verify(settings: Settings) -> None:
    command = [sys.executable, "-m", "orderbook_desktop", "verify", settings.symbol]
    print(f"verify {settings.symbol}", flush=True)
    subprocess.run([*command, "--data-dir", str(settings.data_dir)], check=True)


def _judge(samples: Sequence[Sample], minutes: float) -> int:
    targets = Targets()
    steady = samples[len(samples) // 3 :]
    rate = (steady[-1].events - steady[0].events) / (steady[-1].s - steady[0].s)
    print(f"after the warm-up of {steady[0].s:.0f} s ({rate:.0f} events/s recorded):")
    app = _slope_an_hour([one.s for one in steady], [one.app_mb for one in steady])
    if minutes >= _LEAST_MINUTES_FOR_SLOPE:
        print(f"  app      {app:+8.1f} MB/h {targets.at_most(app, _APP_MB_AN_HOUR)}")
    else:
        print(f"  app      {app:+8.1f} MB/h (too short a run for a target)")
    database = _slope_an_hour([one.s for one in steady], [one.database_mb for one in steady])
    most = max(one.database_mb for one in samples)
    verdict = targets.at_most(most, _DATABASE_MB)
    print(f"  database {database:+8.1f} MB/h, at most {most:.0f} MB {verdict}")
    half = len(steady) // 2
    for name in _COUNTED:
        early, late = (
            statistics.median(getattr(one, name) for one in part)
            for part in (steady[:half], steady[half:])
        )
        growth = late - early
        print(f"  {name:8} {growth:+8.0f} {targets.at_most(growth, _COUNT_TOLERANCE)}")
    backlog = _slope_an_hour(
        [one.s for one in steady], [one.events - one.archived for one in steady]
    )
    share = backlog / 3600 / rate
    print(f"  not archived: {share:+.0%} of what comes in {targets.at_most(share, _BACKLOG_SHARE)}")
    return targets.exit_code


def _slope_an_hour(seconds: Sequence[float], values: Sequence[float]) -> float:
    return statistics.linear_regression(seconds, values).slope * 3600


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the program for long; does it grow?")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=50.0)
    parser.add_argument("--windowless", action="store_true")
    given = parser.parse_args()
    application = QApplication(sys.argv[:1])
    application.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(application)
    loop.set_default_executor(Workers())
    with tempfile.TemporaryDirectory() as folder, loop, garbage_on_this_thread():
        samples: list[Sample] = loop.run_until_complete(_run(application, given, Path(folder)))
    return _judge(samples, given.minutes)


if __name__ == "__main__":
    sys.exit(main())
