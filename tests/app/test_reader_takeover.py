"""Readers in Python go on where they were when the program that ran the database ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import orderbook_desktop as od
from orderbook_desktop.exchange.local.synthetic import write_capture
from tests.app.command import run_command
from tests.storage.processes import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal"),
    # The log says that the server is away for a while.
    pytest.mark.allows_log(r"WARNING .*"),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a recording of some archived minutes."""
    folder = tmp_path_factory.mktemp("recorded")
    path = write_capture(folder / "capture", seed=7, seconds=200, activity=0.1)
    done = run_command(folder, "import", str(path))
    assert done.returncode == 0, done.stderr
    return folder


class Owner:
    """Another copy of the program, which runs the database."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.other_copy", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        while json.loads(self._process.stdout.readline())["state"] != "ready":
            pass

    def end(self) -> None:
        """End it in order."""
        self._process.communicate()

    def kill(self) -> None:
        """Kill it, without a chance to clean up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@contextmanager
def owning(folder: Path) -> Iterator[Owner]:
    owner = Owner(folder)
    try:
        yield owner
    finally:
        owner.end()


@pytest.mark.parametrize("way", ["end", "kill"])
def test_a_half_read_recording_goes_on_in_its_place(recorded: Path, way: str) -> None:
    with od.open_recording("BTC/USDT", data_dir=recorded) as recording:
        whole = [rows.final_ids.tolist() for rows in recording.events()]
        segment = recording.segments[0]
        times = range(segment.first_event_ms, segment.last_event_ms, 20_000)
        books = [book.last_update_id for book in recording.books(times)]
    with owning(recorded) as owner, od.open_recording("BTC/USDT", data_dir=recorded) as recording:
        events, at_times = recording.events(), recording.books(times)
        read = [next(events).final_ids.tolist()]
        seen = [next(at_times).last_update_id]
        getattr(owner, way)()
        read += [rows.final_ids.tolist() for rows in events]
        seen += [book.last_update_id for book in at_times]
        assert (read, seen) == (whole, books)
        assert recording.book_at(times[-1]).last_update_id == books[-1]
        assert recording.gaps == []


def test_readers_in_threads_go_on_if_any_of_them_ends_first(recorded: Path) -> None:
    with od.open_recording("BTC/USDT", data_dir=recorded) as recording:
        segment = recording.segments[0]
        times = list(range(segment.first_event_ms, segment.last_event_ms, 10_000))
        truth = [book.last_update_id for book in recording.books(times)]
    together = threading.Barrier(3)

    def read(rounds: int) -> list[list[int]]:
        with od.open_recording("BTC/USDT", data_dir=recorded) as recording:
            together.wait()
            return [
                [recording.book_at(time).last_update_id for time in times] for _ in range(rounds)
            ]

    # The first reader runs the server for the others, and need not be the last to end.
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(read, (1, 3, 5)))
    assert found == [[truth] * rounds for rounds in (1, 3, 5)]


_LEFT = """
import sys, threading
import orderbook_desktop as od
folder, way = sys.argv[1:]
recording = od.open_recording("BTC/USDT", data_dir=folder)
events, books = recording.events(), recording.books([recording.segments[0].first_event_ms] * 9)
next(events), next(books)
if way == "closed":
    recording.close()
elif way == "dropped":
    del events, books
elif way == "both":
    del events, books, recording
elif way == "thread":
    thread = threading.Thread(target=lambda: [next(events), next(books)])
    thread.start(); thread.join()
elif way == "error":
    raise SystemExit("as wanted")
print("done")
"""


@pytest.mark.parametrize("way", ["end", "closed", "dropped", "both", "thread", "error"])
def test_a_half_read_iterator_ends_in_silence(recorded: Path, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEFT, str(recorded), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    output = done.stderr.replace("as wanted\n", "")
    assert (output, done.returncode) == ("", int(way == "error"))
