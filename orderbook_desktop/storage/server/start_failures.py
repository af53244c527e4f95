"""What a database server's last words mean, and what its files say before it runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from orderbook_desktop.storage.errors import (
    DamageSuspected,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFolderBusy,
    DataFolderFull,
    DataFolderUnusable,
    DiskFails,
    FileSizeLimited,
    NoFileHandles,
    NoMemory,
    OtherVersion,
    ServerFailed,
    folder_error,
)
from orderbook_desktop.storage.server.lock_holder import lock_holder
from orderbook_desktop.storage.server.places import Place


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_PORT: Final = _words(r"address already in use|only one usage of each socket")
_Told = Callable[[Path, str], DatabaseError]
# What the system says, as the engine and Python repeat it, and what that means, in the order of
# asking. It comes before anything that the engine concludes: for want of any of this it calls its
# files damaged, or panics.
_LACKS: Final[tuple[tuple[re.Pattern[str], _Told], ...]] = (
    (
        _words(r"no space left on device|disk quota exceeded"),
        lambda folder, _: DataFolderFull(folder),
    ),
    (
        _words(r"device or resource busy|resource busy|DBPathInUse|unable to lock the lock file"),
        lambda folder, _: DatabaseFolderBusy(folder, lock_holder(folder)),
    ),
    (_words(r"too many open files"), lambda folder, _: NoFileHandles(folder)),
    (_words(r"file too large"), lambda folder, _: FileSizeLimited(folder)),
    (
        # (The last is also what the engine says of a message that is not UTF-8.)
        _words(
            r"read-only file system|permission denied|access is denied|not a directory"
            r"|(?<!handler failed: )operation not permitted"
        ),
        DataFolderUnusable,
    ),
    (
        _words(
            r"input/output error|remote i/o error|no such device or address|no such device"
            r"|stale (nfs )?file handle|transport endpoint is not connected"
            r"|structure needs cleaning"
        ),
        DiskFails,
    ),
    (
        _words(
            r"cannot allocate memory|memory allocation|MemoryError|out of memory|not enough memory"
            r"|failed to map segment|can't start new thread|resource temporarily unavailable"
        ),
        lambda folder, _: NoMemory(folder),
    ),
)
_VERSION: Final = _words(
    r"unsupported WiredTiger|WiredTiger version incompatible|IncompatibleStorageFormat"
    r"|version incompatibility|too recent to start up on the existing data"
)
# The engine has found files that are not as it wrote them.
_CORRUPT: Final = _words(
    r"WT_TRY_SALVAGE|corrupt|checksum|bad magic number|does not appear to be a WiredTiger file"
    r"|smaller than allocation size|failed to read \d+ bytes at offset"
    r"|handle-open: open: no such file"
)
# What it says then, too, and when it is at its wits' end for any other reason.
_SUSPECT: Final = _words(r"WT_PANIC|WT_ERROR|WT_NOTFOUND|WiredTiger ?Error|wiredtiger_open|salvage")
# The engine's catalogue of its own files. It replaces it in one step, so it is never missing.
_CATALOGUE: Final = "WiredTiger.turtle"
_CATALOGUE_KEY: Final = b"file:WiredTiger.wt\n"
_LOOK_EVERY_S: Final = 1.0
_LONGEST_REASON: Final = 160


def failure_of(
    name: str, last_lines: Sequence[str], place: Place, folder: Path, log_path: Path
) -> DatabaseError:
    """Return what made the server `name` end that had `place` and `folder`.

    It is a `DamageSuspected` where its words leave nothing else; that proves no damage yet.
    """
    said = "\n".join(last_lines)
    lack = _lack_in(said, place, folder)
    if lack is not None:
        return lack
    if _VERSION.search(said):
        return OtherVersion(name, folder, log_path)
    reason = _reason_in(last_lines)
    is_corrupt = _CORRUPT.search(said) is not None
    if is_corrupt or _SUSPECT.search(said):
        return DamageSuspected(folder, log_path, reason, is_corrupt=is_corrupt)
    return ServerFailed(name, reason, log_path)


def _lack_in(said: str, place: Place, folder: Path) -> DatabaseError | None:
    """Return what the system has denied the server, by what that `said`."""
    if _PORT.search(said):
        return place.taken()
    for words, told in _LACKS:
        if found := words.search(said):
            return told(folder, found.group(0))
    return None


def _reason_in(last_lines: Sequence[str]) -> str:
    said = (line.strip() for line in reversed(last_lines) if line.strip())
    return next(said, "it said nothing")[:_LONGEST_REASON].rstrip(".")


def has_lost_its_catalogue(folder: Path) -> bool:
    """Whether `folder` holds a database that its engine would not find in there.

    It would begin anew, with an empty one, and push the old files aside without a word. Raises
    a `DatabaseError` where the folder can't be looked at.
    """
    try:
        if (folder / _CATALOGUE).exists():
            return False
        return any(not file.name.startswith("WiredTiger") for file in folder.glob("*.wt"))
    except OSError as error:
        raise folder_error(folder, error) from error


def has_broken_catalogue(folder: Path) -> bool:
    """Whether the catalogue in `folder` can be read, and is not what the engine wrote.

    That is a few lines of plain text, one of them a key of which all depends.
    """
    try:
        content = (folder / _CATALOGUE).read_bytes()
    except OSError:
        return False
    is_text = content.isascii() and content.endswith(b"\n") and b"\0" not in content
    is_whole = _CATALOGUE_KEY in content and content.count(b"(") == content.count(b")")
    return not (is_text and is_whole)


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
