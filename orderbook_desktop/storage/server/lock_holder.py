"""Who has a database folder open."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orderbook_desktop.system.ports import named_process

_LOCK_FILES: Final = ("WiredTiger.lock", "mongod.lock")


def lock_holder(folder: Path) -> str:
    """Return `process PID (name)` for whoever locks the database in `folder`.

    Empty where that can't be told: only Linux lists its locks.
    """
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return ""
    inodes = {_inode(folder / name) for name in _LOCK_FILES}
    for line in locks.splitlines():
        # `1: POSIX  ADVISORY  WRITE 1234 08:01:567 0 EOF`, and `->` marks one that only waits.
        fields = line.split()
        if "->" in fields or len(fields) < 6:
            continue
        if fields[5].rpartition(":")[2] in inodes and fields[4].isdigit():
            return named_process(int(fields[4]))
    return ""


def _inode(path: Path) -> str:
    try:
        return str(path.stat().st_ino)
    except OSError:
        return "none"
