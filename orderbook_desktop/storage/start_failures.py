"""What a database server's last words mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orderbook_desktop.storage.errors import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseFolderBusy,
    DataFolderFull,
    DataFolderUnusable,
    PortTaken,
    ServerFailed,
)
from orderbook_desktop.storage.lock_holder import lock_holder

# In the order of asking: a disk that is full also makes the engine call its files damaged.
_FULL: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_PORT: Final = re.compile(r"address already in use|only one usage of each socket", re.IGNORECASE)
_BUSY: Final = re.compile(
    r"device or resource busy|resource busy|DBPathInUse|unable to lock the lock file",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(
    r"(read-only file system|permission denied|not a directory|operation not permitted)",
    re.IGNORECASE,
)
_DAMAGED: Final = re.compile(
    r"WT_TRY_SALVAGE|WT_PANIC|WT_ERROR|corrupt|unsupported WiredTiger|salvage", re.IGNORECASE
)
_LONGEST_REASON: Final = 160


def failure_of(
    name: str, last_lines: Sequence[str], port: int, folder: Path, log_path: Path
) -> DatabaseError:
    """Return what made the server `name` end while it started on `port` with `folder`."""
    said = "\n".join(last_lines)
    if _FULL.search(said):
        return DataFolderFull(folder)
    if _PORT.search(said):
        return PortTaken(port)
    if _BUSY.search(said):
        return DatabaseFolderBusy(folder, lock_holder(folder))
    if denied := _DENIED.search(said):
        return DataFolderUnusable(folder, denied.group(1))
    if _DAMAGED.search(said):
        return DatabaseDamaged(folder, log_path)
    reason = next(
        (line.strip() for line in reversed(last_lines) if line.strip()), "it said nothing"
    )
    return ServerFailed(name, reason[:_LONGEST_REASON].rstrip("."), log_path)
