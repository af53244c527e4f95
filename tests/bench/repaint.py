"""What a repaint of the ladder and the depth chart costs in a window of 1600 x 900.

Every frame takes 4 events of the capture, so that nearly every cell changes. The first
column is the whole frame (reading the book, laying out, painting both), the others are the
paint events alone, axes and texts included.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QWidget

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_frame, decode_snapshot
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.bench.capture_data import Capture, load_capture, padded
from tests.bench.targets import Targets
from tests.gui.fake_desk import FakeDesk, FakeSource
from tests.gui.pane_of import chart_of, ladder_of

_EVENTS_A_FRAME = 4
_WARM_UP = 30
_TARGET_MS = 7.0


class _Played(FakeSource):
    """A source whose book the capture moves."""

    def __init__(self, capture: Capture, snapshot: bytes) -> None:
        super().__init__(capture.market)
        self._sync = DepthSync()
        self._sync.receive_snapshot(decode_snapshot(snapshot, capture.market))
        self.book = self._sync.book
        self.status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, time.time_ns())

    def take(self, frames: list[bytes]) -> None:
        for frame in frames:
            diff = decode_frame(frame)
            assert isinstance(diff, DepthDiff)
            self._sync.receive_diff(diff)


def _timed_ms(widget: QWidget) -> float:
    began = time.perf_counter_ns()
    widget.repaint()
    return (time.perf_counter_ns() - began) / 1e6


def measure(capture: Capture, snapshot: bytes) -> dict[str, list[float]]:
    """Return the milliseconds of every frame."""
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    source = _Played(capture, snapshot)
    desk = FakeDesk()
    desk.source = source
    times: dict[str, list[float]] = {"frame": [], "ladder": [], "chart": []}
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        window = MainWindow(desk, Preferences(store), application, panes=PANES)
        window.resize(1600, 900)
        window.show()
        application.processEvents()
        window.bridge.stop()
        for start in range(0, len(capture.frames), _EVENTS_A_FRAME):
            source.take(capture.frames[start : start + _EVENTS_A_FRAME])
            began = time.perf_counter_ns()
            window.bridge.look()
            looked = (time.perf_counter_ns() - began) / 1e6
            ladder, chart = _timed_ms(ladder_of(window)), _timed_ms(chart_of(window))
            times["ladder"].append(ladder)
            times["chart"].append(chart)
            times["frame"].append(looked + ladder + chart)
            application.processEvents()
        window.finish_close()
    return {name: values[_WARM_UP:] for name, values in times.items()}


def main() -> int:
    targets = Targets()
    application = QApplication(sys.argv[:1])
    capture = load_capture()
    for label, snapshot in (
        ("as captured", capture.snapshot),
        ("padded to 5,000 levels a side", padded(capture, 5_000)),
    ):
        print(f"{label}: ms a frame, window of 1600 x 900")
        times = measure(capture, snapshot)
        both = [
            ladder + chart for ladder, chart in zip(times["ladder"], times["chart"], strict=True)
        ]
        print(
            f"  ladder and chart together: {targets.at_most(statistics.median(both), _TARGET_MS)}"
        )
        for name, values in times.items():
            cuts = statistics.quantiles(values, n=100)
            print(f"  {name:8} median {statistics.median(values):6.2f}   p99 {cuts[98]:6.2f}")
    del application
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
