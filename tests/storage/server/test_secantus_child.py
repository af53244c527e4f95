"""What the launcher of SecantusDB does beside its work: the op-log is trimmed, memory freed."""

from __future__ import annotations

import argparse
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from bson import Timestamp
from secantus.storage import Storage
from wiredtiger import WiredTigerError

from orderbook_desktop.storage.server import secantus_child
from orderbook_desktop.storage.server.secantus_child import (
    ChildServer,
    OplogTrimmer,
    Upkeep,
    give_back_memory,
)

# SecantusDB looks for old entries once in a thousand.
ENTRIES = 2_500
A_DAY_S = 86_400
SLICE = 1_000
# So many of the newest entries always stay.
QUIET = 1_000


class CountingTrimmer(OplogTrimmer):
    """Counts the entries of each call of the engine: `slices`."""

    def __init__(self, storage: Storage, ticks: int, most: int) -> None:
        super().__init__(storage, ticks, most, threading.Event())
        self.slices: list[int] = []

    def _remove_before(self, seq: int) -> None:
        self.slices.append(seq - self._floor)
        super()._remove_before(seq)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with Storage(str(tmp_path), ttl_sweep_seconds=0) as storage:
        yield storage


@contextmanager
def trimming(storage: Storage, ticks: int, most: int = 10**9) -> Iterator[CountingTrimmer]:
    trimmer = CountingTrimmer(storage, ticks, most)
    try:
        yield trimmer
    finally:
        trimmer.close()


def write(storage: Storage, count: int) -> None:
    inserted, errors = storage.insert("book", "things", [{} for _ in range(count)])
    assert (inserted, errors) == (count, [])


def kept(storage: Storage) -> list[int]:
    """Return the numbers of the stored entries."""
    return [seq for seq, _ in storage.read_oplog(start_seq=0, limit=10**6)]


def leave_old_entries(storage: Storage) -> None:
    """Store a backlog of entries from long ago."""
    old = Timestamp(int(time.time()) - A_DAY_S, 1)
    entries = ((seq, {"op": "n", "ns": "", "ts": old}) for seq in range(1, ENTRIES + 1))
    storage.import_oplog_segment(entries)


def test_a_write_removes_no_old_entries(tmp_path: Path) -> None:
    """Else the first writes on the files of a busy recording take ten seconds."""
    password_file = tmp_path / "password"
    password_file.write_text("secret")
    options = argparse.Namespace(password_file=password_file, task="serve")
    bounds = {"oplog_retention_seconds": 120.0, "oplog_max_entries": 10}
    server = ChildServer(options, storage_path=str(tmp_path / "files"), **bounds)
    try:
        leave_old_entries(server.storage)
        before = kept(server.storage)
        write(server.storage, ENTRIES)
        assert kept(server.storage)[: len(before)] == before
        assert len(kept(server.storage)) >= 2 * ENTRIES
    finally:
        server.stop()


def test_old_entries_are_removed_in_slices(storage: Storage) -> None:
    leave_old_entries(storage)
    with trimming(storage, 2) as trimmer:
        for _ in range(2):
            trimmer.tick()
        assert len(kept(storage)) == ENTRIES
        write(storage, QUIET + 3)
        trimmer.tick()
        assert kept(storage)[0] == ENTRIES + 1 == storage.oplog_floor_seq()
        assert (sum(trimmer.slices), max(trimmer.slices)) == (ENTRIES, SLICE)


def test_an_entry_stays_for_its_time(storage: Storage) -> None:
    with trimming(storage, 3) as trimmer:
        for _ in range(5):
            write(storage, QUIET)
            trimmer.tick()
        # The last three ticks and what came since.
        assert kept(storage) == list(range(2 * QUIET + 1, 5 * QUIET + 1))


def test_the_newest_entries_stay(storage: Storage) -> None:
    """However long nothing is written: streams may still resume at the newest."""
    with trimming(storage, 1) as trimmer:
        write(storage, QUIET + 10)
        for _ in range(4):
            trimmer.tick()
        assert kept(storage) == list(range(11, QUIET + 11))


def test_more_entries_than_allowed_are_removed_at_once(storage: Storage) -> None:
    with trimming(storage, 1_000, most=40) as trimmer:
        write(storage, 100)
        trimmer.tick()
        assert kept(storage) == list(range(61, 101))
        trimmer.tick()
        assert len(kept(storage)) == 40


def test_a_new_database_has_nothing_to_trim(storage: Storage) -> None:
    with trimming(storage, 1) as trimmer:
        for _ in range(3):
            trimmer.tick()
        assert kept(storage) == []


def test_it_goes_on_when_the_files_are_opened_again(tmp_path: Path) -> None:
    for already in (0, 50):
        with Storage(str(tmp_path), ttl_sweep_seconds=0) as storage:
            assert len(kept(storage)) == already
            write(storage, 100)
            with trimming(storage, 1, most=50) as trimmer:
                trimmer.tick()
            assert (len(kept(storage)), sum(trimmer.slices)) == (50, already + 50)


@pytest.mark.expects_log("WARNING .*the op-log can't be trimmed now: busy")
def test_a_failure_does_not_end_the_upkeep(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back = threading.Semaphore(0)
    failures = iter([WiredTigerError("busy"), WiredTigerError("busy")])

    def tick(_trimmer: OplogTrimmer) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr(OplogTrimmer, "tick", tick)
    monkeypatch.setattr(secantus_child, "give_back_memory", given_back.release)
    upkeep = Upkeep(storage, 120.0, 1_000, tick_s=0.001)
    upkeep.start()
    assert all(given_back.acquire(timeout=60) for _ in range(2))
    upkeep.stop()
    assert not upkeep.is_alive()


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc keeps free memory"
)
def test_free_memory_is_given_back() -> None:
    """Also what lies between blocks in use."""
    blocks = [bytes(1_000) for _ in range(100_000)]
    in_use = blocks[::1_000]
    del blocks
    before = psutil.Process().memory_info().rss
    give_back_memory()
    assert before - psutil.Process().memory_info().rss > 50_000_000
    assert len(in_use) == 100
