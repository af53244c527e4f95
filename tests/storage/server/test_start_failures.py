from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.storage.errors import (
    DatabaseDamaged,
    DatabaseFolderBusy,
    DataFolderFull,
    DataFolderUnusable,
    PortTaken,
    ServerFailed,
)
from orderbook_desktop.storage.server.start_failures import failure_of

# The last lines of real failures of SecantusDB and mongod.
SAID = [
    ("OSError: [Errno 98] Address already in use", PortTaken),
    ('"error":"SocketException: Address already in use"', PortTaken),
    ("_wiredtiger.WiredTigerError: Device or resource busy", DatabaseFolderBusy),
    ("DBPathInUse: Unable to lock the lock file: mongod.lock", DatabaseFolderBusy),
    ("_wiredtiger.WiredTigerError: WT_TRY_SALVAGE: database corruption", DatabaseDamaged),
    ("WT_PANIC: WiredTiger library panic", DatabaseDamaged),
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
    failure = failure_of("SecantusDB", words, 20_001, tmp_path, tmp_path / "db.log")
    assert type(failure) is kind
    assert str(failure).endswith(".")
    assert "\n" not in str(failure)


def test_silence_is_told_too(tmp_path: Path) -> None:
    failure = failure_of("mongod", [" ", ""], 20_001, tmp_path, tmp_path / "db.log")
    assert "(it said nothing)" in str(failure)
