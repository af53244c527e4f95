"""What a database server's last words mean, and what its files say before it runs."""

from __future__ import annotations

import asyncio
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
from orderbook_desktop.storage.server.lock_holder import lock_holder

# In the order of asking: a disk that is full, or files that it may not open, also make the
# engine call its files damaged.
_FULL: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_PORT: Final = re.compile(r"address already in use|only one usage of each socket", re.IGNORECASE)
_BUSY: Final = re.compile(
    r"device or resource busy|resource busy|DBPathInUse|unable to lock the lock file",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(
    # (The latter is also what the engine says of a message that is not UTF-8.)
    r"(read-only file system|permission denied|not a directory"
    r"|(?<!handler failed: )operation not permitted)",
    re.IGNORECASE,
)
_DAMAGED: Final = re.compile(
    r"WT_TRY_SALVAGE|WT_PANIC|WT_ERROR|WiredTiger ?Error|corrupt|unsupported WiredTiger|salvage",
    re.IGNORECASE,
)
# The engine's catalogue of its own files. It replaces it in one step, so it is never missing.
_CATALOGUE: Final = "WiredTiger.turtle"
_LOOK_EVERY_S: Final = 1.0
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


def has_lost_its_catalogue(folder: Path) -> bool:
    """Whether `folder` holds a database that its engine would not find in there.

    It would begin anew, with an empty one, and push the old files aside without a word.
    """
    if (folder / _CATALOGUE).exists():
        return False
    return any(not file.name.startswith("WiredTiger") for file in folder.glob("*.wt"))


async def until_worth_trying(error: Exception, delay_s: float) -> None:
    """Wait until a start that failed with `error` may well succeed, or just for `delay_s`."""
    if isinstance(error, DatabaseDamaged):
        await until_moved_aside(error.folder)
    else:
        await asyncio.sleep(delay_s)


async def until_moved_aside(folder: Path) -> None:
    """Wait until the damaged database in `folder` is there no more."""
    while await asyncio.to_thread(folder.exists):  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(_LOOK_EVERY_S)
