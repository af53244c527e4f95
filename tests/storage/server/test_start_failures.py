from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orderbook_desktop.storage.errors import (
    DamageSuspected,
    DatabaseFolderBusy,
    DataFolderFull,
    DataFolderUnusable,
    DiskFails,
    FileSizeLimited,
    NoFileHandles,
    NoMemory,
    OtherVersion,
    PlaceTaken,
    ServerFailed,
)
from orderbook_desktop.storage.server.choice import choose_program
from orderbook_desktop.storage.server.local_server import LocalServer
from orderbook_desktop.storage.server.places import SocketPlace
from orderbook_desktop.storage.server.start_failures import (
    failure_of,
    has_broken_catalogue,
    lock_holder,
)
from orderbook_desktop.storage.server.times import ServerTimes

PLACE = SocketPlace(Path("/nowhere/secantus.sock"))

# The last lines of real failures of SecantusDB and mongod.
SAID = [
    ("OSError: [Errno 98] Address already in use", PlaceTaken),
    ('"error":"SocketException: Address already in use"', PlaceTaken),
    ("_wiredtiger.WiredTigerError: Device or resource busy", DatabaseFolderBusy),
    ("DBPathInUse: Unable to lock the lock file: mongod.lock", DatabaseFolderBusy),
    ("_wiredtiger.WiredTigerError: WT_TRY_SALVAGE: database corruption", DamageSuspected),
    ("WT_PANIC: WiredTiger library panic", DamageSuspected),
    ("_wiredtiger.WiredTigerError: WT_NOTFOUND: item not found", DamageSuspected),
    ("x.wt: handle-open: open: Too many open files", NoFileHandles),
    ("OSError: [Errno 23] Too many open files in system: 'x'", NoFileHandles),
    ("./WiredTigerTmplog.0000000001: fatal log failure: File too large", FileSizeLimited),
    ("_wiredtiger.WiredTigerError: Cannot allocate memory", NoMemory),
    ("__thread_group_resize: Resource temporarily unavailable", NoMemory),
    ("RuntimeError: can't start new thread", NoMemory),
    ("_wiredtiger.so: failed to map segment from shared object", NoMemory),
    ("OpenBLAS error: Memory allocation still failed after 10 retries", NoMemory),
    ("WiredTiger.wt: handle-read: pread: Input/output error", DiskFails),
    ("WiredTiger.wt: handle-sync: fdatasync: Stale file handle", DiskFails),
    ("WT_ERROR: unsupported WiredTiger file version: this build is older", OtherVersion),
    ("secantus.storage.IncompatibleStorageFormatError: SecantusDB storage", OtherVersion),
    ("OSError: [Errno 28] No space left on device", DataFolderFull),
    ("WT_PANIC: log write: No space left on device", DataFolderFull),
    ("PermissionError: [Errno 13] Permission denied: 'x'", DataFolderUnusable),
    ("OSError: [Errno 30] Read-only file system: 'x'", DataFolderUnusable),
    ("ModuleNotFoundError: No module named 'x'", ServerFailed),
    ("", ServerFailed),
]


@pytest.mark.parametrize(("line", "kind"), SAID)
def test_last_words_are_understood(line: str, kind: type[Exception], tmp_path: Path) -> None:
    words = ["Traceback (most recent call last):", "  raise", line]
    failure = failure_of("SecantusDB", words, PLACE, tmp_path, tmp_path / "db.log")
    assert type(failure) is kind
    assert str(failure).endswith(".")
    assert "\n" not in str(failure)
    assert "move" not in str(failure)


@pytest.mark.parametrize(("line", "kind"), [one for one in SAID if one[1] is not ServerFailed])
def test_a_cause_counts_more_than_what_the_engine_concludes(
    line: str, kind: type[Exception], tmp_path: Path
) -> None:
    panic = "[WT_VERB_DEFAULT][ERROR]: the process must exit: WT_PANIC: WiredTiger library panic"
    for words in ([line, panic], [panic, line]):
        assert type(failure_of("x", words, PLACE, tmp_path, tmp_path / "db.log")) is kind


def test_only_what_the_engine_calls_corrupt_is_a_sign_of_damage(tmp_path: Path) -> None:
    for line, is_corrupt in (
        ("x.wt is corrupted: calculated block checksum of 0xb doesn't match", True),
        ("File x.wt is smaller than allocation size; file size=0", True),
        ("x.wt: handle-read: pread: failed to read 4096 bytes at offset 8: WT_ERROR", True),
        ("WT_PANIC: WiredTiger library panic", False),
        ("_wiredtiger.WiredTigerError: WT_ERROR: non-specific WiredTiger error", False),
    ):
        failure = failure_of("x", [line], PLACE, tmp_path, tmp_path / "db.log")
        assert isinstance(failure, DamageSuspected)
        assert failure.is_corrupt is is_corrupt, line


def test_silence_is_reported_too(tmp_path: Path) -> None:
    failure = failure_of("mongod", [" ", ""], PLACE, tmp_path, tmp_path / "db.log")
    assert "(it said nothing)" in str(failure)


CATALOGUE = b"WiredTiger version\nmajor=11\nfile:WiredTiger.wt\nlog=(enabled=true)\n"


@pytest.mark.parametrize(
    ("content", "is_broken"),
    [
        (CATALOGUE, False),
        (b"", True),
        (CATALOGUE[:-8], True),
        (CATALOGUE.replace(b"WiredTiger.wt", b"WiredTiger.xt"), True),
        (CATALOGUE.replace(b"enabled", b"en\x9ebled"), True),
        (CATALOGUE.replace(b"enabled", b"en\0bled"), True),
    ],
)
def test_a_catalogue_is_plain_text_and_whole(
    content: bytes, is_broken: bool, tmp_path: Path
) -> None:
    (tmp_path / "WiredTiger.turtle").write_bytes(content)
    assert has_broken_catalogue(tmp_path) is is_broken


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its locks")
async def test_the_process_that_has_the_database_open_is_named(
    tmp_path: Path,
) -> None:
    times = ServerTimes(folder_s=0.0)
    holder, late = (LocalServer(choose_program(), tmp_path / "db", times=times) for _ in range(2))
    await holder.launch()
    assert lock_holder(tmp_path / "db").startswith(f"process {holder.pid} (")
    with pytest.raises(DatabaseFolderBusy, match=f"in use by process {holder.pid} "):
        await late.launch()
    await holder.stop()
    assert lock_holder(tmp_path / "db") == ""


def test_a_folder_without_database_has_no_holder(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) == ""
