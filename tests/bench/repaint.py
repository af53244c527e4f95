"""What painting costs: the ladder and the chart alone, a whole frame, and live windows.

A paint is timed inside `paintEvent`, while its widget is the only one that waits to be painted:
Qt paints every waiting widget of a window together, so the time around `repaint()` holds the
others' paints, too. A whole frame is the window's look at the desk and all events that follow
from it; its wall time holds the moment that the chart waits for the ladder. Each frame takes
4 events of the capture, so that nearly every cell changes.

The live window runs in Qt's event loop, as the program's does, and a timer feeds it events of
the capture. Its share of a core is that of this thread, which also decodes and applies the
events; a connection, a recorder and a database are not in it.

The window with trades has all panes, and the ladder's columns of what was traded. Beside its share
of a core, it reports the time from one paint of the ladder to the next one: all that this thread
does for a frame and its events.

Every number is given in processor time of this thread, which holds on a busy computer and has
the targets, and in wall time. Garbage is not collected during frames and paints; in the live
window it is collected by a timer, as in the program.

Each pixel ratio runs in a process of its own, because Qt reads it only once.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Final

from msgspec.structs import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEventLoop, QSettings, QSize, Qt, QTimer
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QApplication, QWidget

from orderbook_desktop.app.process.event_loop import garbage_on_this_thread
from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.events import DepthDiff, answered, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.traded_volume import Period
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.ladder.layout import ColumnChoice
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.panes.time_and_sales.widget import TimeAndSales
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.system.steady_clock import steady_ns
from tests.bench.capture_data import Capture, load_capture, padded
from tests.bench.targets import Targets
from tests.core.trades_made import random_trades
from tests.gui.fake_desk import FakeDesk, FakeSource, frame_of
from tests.gui.pane_of import chart_of, ladder_of, trades_of

_RATIOS: Final = (1, 2)
_WINDOW: Final = QSize(1600, 900)
_ROWS_MS: Final = {42: 1.7, 100: 3.5}
_CHART_MS: Final = 1.3
_FRAME_MS: Final = (3.5, 5.5)
# Updates a second, whether the window is minimised, and the percent of a core to stay under.
_LIVE: Final = ((10, False, 8.0), (100, False, 36.0), (10, True, 2.0), (100, True, 2.0))
_LIVE_S: Final = 10.0
# Updates and trades a second, the percent of a core, and the ms from frame to frame.
_TRADED: Final = (100, 200, 45.0, 20.0)
_EVENTS_A_FRAME: Final = 4
_WARM_UP: Final = 30
# Frames that are not painted within this time never are.
_PAINTED_S: Final = 10.0


@dataclass
class Times:
    """Milliseconds of the same work, by this thread's processor time and by the wall."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    # When each ended, by both clocks, in ms.
    ended: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the times of the context."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        yield
        self.cpu.append((time.thread_time_ns() - cpu) / 1e6)
        self.wall.append((time.perf_counter_ns() - wall) / 1e6)
        self.ended.append((time.thread_time_ns() / 1e6, time.perf_counter_ns() / 1e6))


class _TimedPaints(QWidget):
    """The timing of a pane's paints, to be mixed into the pane's class."""

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, preferences, parent)  # type: ignore[arg-type, call-arg]  # pane
        self.paints = Times()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint, and add the times."""
        with self.paints.timed():
            super().paintEvent(event)


class TimedLadder(_TimedPaints, DepthLadder):
    """A ladder that times its paints."""


class TimedChart(_TimedPaints, DepthChart):
    """A depth chart that times its paints."""


class TimedTrades(_TimedPaints, TimeAndSales):
    """A pane of trades that times its paints."""


class _Played(FakeSource):
    """A source whose book the capture moves; it calls `changed` after each move."""

    def __init__(self, capture: Capture, snapshot: bytes, changed: Callable[[], None]) -> None:
        super().__init__(capture.market)
        self._changed = changed
        self._sync = DepthSync()
        # Known to its last level, as an answer of the exchange is.
        self._sync.receive_snapshot(answered(decode_snapshot(snapshot, capture.market)))
        self.book = self._sync.book
        self.status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO)
        self.take(())

    def take(self, frames: tuple[bytes, ...]) -> None:
        """Apply the events in `frames`, received now."""
        for frame in frames:
            diff = decode_frame(frame)
            assert isinstance(diff, DepthDiff)
            self._sync.receive_diff(diff)
        now_ns = steady_ns()
        self.status = replace(self.status, last_received_ns=now_ns, as_of_ns=now_ns)
        self._changed()


class _Bench:
    """The parts that every section needs, made anew for each."""

    def __init__(self, application: QApplication, capture: Capture, snapshot: bytes) -> None:
        self.application = application
        self.capture = capture
        self.desk = FakeDesk()
        self.source = _Played(capture, snapshot, self.desk.tell_changed)
        self.desk.source = self.source

    @contextmanager
    def window(self, *panes: type[TimedLadder | TimedChart | TimedTrades]) -> Iterator[MainWindow]:
        """Show a window of the desk and `panes`, whose bridge doesn't look by itself."""
        with tempfile.TemporaryDirectory() as folder:
            store = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
            shown = panes or (TimedLadder, TimedChart)
            window = MainWindow(self.desk, Preferences(store), self.application, panes=shown)
            window.resize(_WINDOW)
            window.show()
            self.application.processEvents()
            window.bridge.stop()
            try:
                yield window
            finally:
                window.finish_close()

    def frames(self) -> Iterator[tuple[bytes, ...]]:
        """Iterate over the events of each frame."""
        events = iter(self.capture.frames)
        while frame := tuple(islice(events, _EVENTS_A_FRAME)):
            yield frame

    def paints_alone(self, pane: TimedLadder | TimedChart) -> Times:
        """Return the paints of `pane`, the only pane that gets the frames, one paint for each."""
        with _without_garbage():
            self.application.processEvents()
            for count, events in enumerate(self.frames(), start=1 + len(pane.paints.cpu)):
                self.source.take(events)
                pane.set_frame(frame_of(self.desk))
                _process_until_painted(count, pane)
        return pane.paints


def _process_until_painted(count: int, *panes: TimedLadder | TimedChart) -> None:
    """Process events until each of `panes` has painted `count` times: the chart waits a little."""
    deadline = time.monotonic() + _PAINTED_S
    QApplication.processEvents()
    while any(len(pane.paints.cpu) < count for pane in panes):
        if time.monotonic() > deadline:
            raise AssertionError(f"frame {count} was not painted")
        QApplication.processEvents(
            QEventLoop.ProcessEventsFlag.AllEvents | QEventLoop.ProcessEventsFlag.WaitForMoreEvents
        )


@contextmanager
def _without_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _percentile_99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _report(
    targets: Targets, name: str, times: Times, median_ms: float, p99_ms: float | None = None
) -> None:
    cpu, wall = times.cpu[_WARM_UP:], times.wall[_WARM_UP:]
    median, p99 = statistics.median(cpu), _percentile_99(cpu)
    verdict = targets.at_most(median, median_ms)
    p99_verdict = "" if p99_ms is None else f" {targets.at_most(p99, p99_ms)}"
    print(
        f"  {name:16} cpu median {median:5.2f} {verdict} p99 {p99:5.2f}{p99_verdict}"
        f"   wall median {statistics.median(wall):5.2f} p99 {_percentile_99(wall):5.2f}",
        flush=True,
    )


def whole_frames(bench: _Bench, targets: Targets) -> tuple[int, QSize]:
    """Report whole frames and the paints in them; return the ladder's width and chart's size."""
    frame = Times()
    with bench.window() as window, _without_garbage():
        ladder, chart = ladder_of(window), chart_of(window)
        assert isinstance(ladder, TimedLadder)
        assert isinstance(chart, TimedChart)
        ladder.paints, chart.paints = Times(), Times()
        for events in bench.frames():
            bench.source.take(events)
            painted = len(ladder.paints.cpu), len(chart.paints.cpu)
            with frame.timed():
                window.bridge.look()
                _process_until_painted(1 + painted[0], ladder)
                _process_until_painted(1 + painted[1], chart)
        # As many paints as frames, or nearly: a paint between frames would be counted, too.
        print(
            f"  {len(frame.cpu)} frames: {len(ladder.paints.cpu)} paints of the ladder, "
            f"{len(chart.paints.cpu)} of the chart"
        )
        _report(targets, "whole frame", frame, *_FRAME_MS)
        return ladder.width(), chart.size()


def ladder_alone(bench: _Bench, targets: Targets, width: int, rows: int) -> None:
    """Report the paints of a ladder of `rows` rows that is a window of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "ladder.ini"), QSettings.Format.IniFormat)
        with bench.window() as window:
            ladder = TimedLadder(window.themes.theme, Preferences(store))
        ladder.set_step(bench.desk.symbol.tick_size)
        ladder.set_frame(frame_of(bench.desk))
        ladder.resize(width, 200)
        while ladder.scene is None or len(ladder.scene.rows) < rows:
            ladder.resize(width, ladder.height() + 1)
        ladder.show()
        _report(targets, f"ladder, {rows} rows", bench.paints_alone(ladder), _ROWS_MS[rows])
        ladder.close()


def chart_alone(bench: _Bench, targets: Targets, size: QSize) -> None:
    """Report the paints of a chart of `size` that is a window of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "chart.ini"), QSettings.Format.IniFormat)
        with bench.window() as window:
            chart = TimedChart(window.themes.theme, Preferences(store))
        chart.resize(size)
        chart.show()
        _report(targets, "chart", bench.paints_alone(chart), _CHART_MS)
        chart.close()


def live_window(
    bench: _Bench, targets: Targets, per_second: int, percent: float, *, minimised: bool
) -> None:
    """Report this thread's share of a core while a window shows `per_second` events a second."""
    events = iter(cycle(bench.capture.frames[: int(_LIVE_S * per_second) + per_second]))
    fed: Counter[str] = Counter()
    with bench.window() as window, garbage_on_this_thread():
        if minimised:
            window.showMinimized()
            bench.application.processEvents()
        window.bridge.start()
        ladder = ladder_of(window)
        assert isinstance(ladder, TimedLadder)
        ladder.paints = Times()
        began = time.perf_counter()

        def feed() -> None:
            # A late timer makes up for its delay, so that the rate holds on a busy computer.
            while fed["events"] < (time.perf_counter() - began) * per_second:
                fed["events"] += 1
                bench.source.take((next(events),))

        share, passed = _run_live(feed, per_second)
    state = "minimised" if minimised else "shown"
    print(
        f"  live, {per_second} updates/s, {state}: {share:.1f} % of a core "
        f"{targets.at_most(share, percent)}"
        f"   {fed['events'] / passed:.1f} updates/s fed, "
        f"{len(ladder.paints.cpu) / passed:.1f} paints/s of the ladder",
        flush=True,
    )
    gc.enable()


def _run_live(feed: Callable[[], None], per_second: int) -> tuple[float, float]:
    """Run Qt's loop; return this thread's share of a core in percent, and the seconds it took."""
    timer = QTimer(interval=1000 // per_second)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(feed)
    timer.start()
    loop = QEventLoop()
    QTimer.singleShot(int(_LIVE_S * 1000), loop.quit)
    began, cpu = time.perf_counter(), time.thread_time()
    loop.exec()
    cpu, passed = time.thread_time() - cpu, time.perf_counter() - began
    timer.stop()
    return 100 * cpu / passed, passed


def traded_window(bench: _Bench, targets: Targets) -> None:
    """Report a window with all panes while depth and trades come."""
    per_second, trades_per_second, percent, frame_ms = _TRADED
    events = iter(cycle(bench.capture.frames))
    ask = decode_snapshot(bench.capture.snapshot, bench.capture.market).asks[0][0]
    count = int((_LIVE_S + 5) * trades_per_second)
    trades = iter(random_trades(count, first_ticks=round(100 * float(ask))))
    bench.source.tape = tape = Tape(bench.capture.market)
    fed: Counter[str] = Counter()
    with bench.window(TimedLadder, TimedChart, TimedTrades) as window, garbage_on_this_thread():
        ladder, pane = ladder_of(window), trades_of(window)
        assert isinstance(ladder, TimedLadder)
        assert isinstance(pane, TimedTrades)
        ladder.set_columns(ColumnChoice(hidden=frozenset()))
        ladder.count_volume_of(Period(is_session=True))
        window.bridge.start()
        ladder.paints, pane.paints = Times(), Times()
        began = time.perf_counter()

        def feed() -> None:
            while fed["events"] < (time.perf_counter() - began) * per_second:
                fed["events"] += 1
                bench.source.take((next(events),))
            while fed["trades"] < (time.perf_counter() - began) * trades_per_second:
                fed["trades"] += 1
                tape.add(next(trades))

        share, passed = _run_live(feed, per_second)
    cpu, wall = (
        [after[clock] - before[clock] for before, after in pairwise(ladder.paints.ended)]
        for clock in (0, 1)
    )
    print(
        f"  live, {per_second} updates/s and {trades_per_second} trades/s: {share:.1f} % of a core "
        f"{targets.at_most(share, percent)}   {fed['events'] / passed:.1f} updates/s and "
        f"{fed['trades'] / passed:.1f} trades/s fed\n"
        f"  from frame to frame cpu median {statistics.median(cpu):.1f} p99 "
        f"{_percentile_99(cpu):.1f} {targets.at_most(_percentile_99(cpu), frame_ms)}   wall median "
        f"{statistics.median(wall):.1f} p99 {_percentile_99(wall):.1f}\n"
        f"  the trades' paints cpu median {statistics.median(pane.paints.cpu):.2f}, "
        f"{len(pane.paints.cpu) / passed:.1f} a second",
        flush=True,
    )
    gc.enable()


def measure(ratio: int) -> int:
    """Measure at the pixel ratio `ratio`, for which Qt was started; return the exit code."""
    targets = Targets()
    application = QApplication(sys.argv[:1])
    if application.devicePixelRatio() != ratio:
        raise AssertionError(f"the pixel ratio is {application.devicePixelRatio()}, not {ratio}")
    capture = load_capture()
    for label, snapshot in (
        ("as captured", capture.snapshot),
        ("padded to 5,000 levels a side", padded(capture, 5_000)),
    ):
        print(f"{label}, pixel ratio {ratio}: ms a frame, window of 1600 x 900")
        width, chart = whole_frames(_Bench(application, capture, snapshot), targets)
        for rows in _ROWS_MS:
            ladder_alone(_Bench(application, capture, snapshot), targets, width, rows)
        chart_alone(_Bench(application, capture, snapshot), targets, chart)
    for per_second, minimised, percent in _LIVE:
        live_window(
            _Bench(application, capture, capture.snapshot),
            targets,
            per_second,
            percent,
            minimised=minimised,
        )
    traded_window(_Bench(application, capture, capture.snapshot), targets)
    return targets.exit_code


def main() -> int:
    if len(sys.argv) > 1:
        return measure(int(sys.argv[1]))
    failed = 0
    for ratio in _RATIOS:
        failed |= subprocess.run(
            [sys.executable, "-m", "tests.bench.repaint", str(ratio)],
            env={**os.environ, "QT_SCALE_FACTOR": str(ratio)},
            check=False,
        ).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
