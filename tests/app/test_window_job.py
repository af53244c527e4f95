"""A played capture in the window: at the end the window shows the true book."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.exchange.local import write_capture
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.app.capture_truth import read_truth
from tests.app.main_job import shown
from tests.desk.one_desk import end, one_desk
from tests.gui.pane_of import ladder_of


@contextmanager
def exchange_process(capture: Path, folder: Path) -> Iterator[str]:
    """Play `capture` in its own process; give its port."""
    command = [sys.executable, "-m", "orderbook_desktop", "exchange", "--port", "0"]
    options = ["--play", str(capture), "--speed", "5", "--data-dir", str(folder)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.readline() + process.stdout.readline()
            yield output.split("ORDERBOOK_REST_URL=http://127.0.0.1:")[1].split()[0]
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", list(SourceKind))
async def test_the_window_shows_the_true_book(
    kind: SourceKind, tmp_path: Path, qapp: QApplication
) -> None:
    capture = write_capture(tmp_path / "capture.jsonl.gz", seed=3, seconds=30, snapshot_levels=1000)
    truth = read_truth(capture)
    true_book = truth.books().until(max(truth.diffs))
    with exchange_process(capture, tmp_path / "exchange") as port:
        settings = load_settings(
            rest_url=f"http://127.0.0.1:{port}",
            ws_url=f"ws://127.0.0.1:{port}",
            data_dir=tmp_path / "data",
        )
        desk = one_desk(settings, kind=kind)
        store = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
        window = MainWindow(desk, Preferences(store), qapp, panes=PANES)
        window.resize(1600, 900)
        window.show()
        try:
            await desk.program.start()
            async with asyncio.timeout(100):
                while not (
                    desk.source.look().status.state is FeedState.SYNCED
                    and desk.source.look().book.last_update_id == true_book.last_update_id
                ):
                    await asyncio.sleep(0.05)
            assert desk.source.look().status.source is kind
            book = desk.source.look().book
            assert shown(book) == (true_book.bids, true_book.asks)
            assert book.horizon == truth.horizon
            window.bridge.look()
            bid, _, ask, _ = true_book.best
            assert f"best bid {bid:,.2f}, best ask {ask:,.2f}" in ladder_of(window).summary()
            async with asyncio.timeout(60):
                while desk.recording.counts.events < len(truth.diffs):
                    await asyncio.sleep(0.05)
        finally:
            await end(desk)
            window.finish_close()
