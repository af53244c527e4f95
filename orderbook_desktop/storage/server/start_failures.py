"""Why a database server failed: judged by its last log lines, its files and the system's limits.

A server that lacks disk space, memory or access may report damaged files. So its report counts
only if `lack_of` finds nothing lacking.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

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
from orderbook_desktop.storage.server.places import Place
from orderbook_desktop.storage.server.times import SERVER_TIMES
from orderbook_desktop.system.ports import named_process

_LOCK_FILES: Final = ("WiredTiger.lock", "mongod.lock")

# A server opens libraries, connections and its log besides its files.
_HANDLES_BESIDE: Final = 40
# Its log grows in files of 10 MB.
_ROOM_BYTES: Final = 16 * 2**20
# A server may start with less memory, but fails soon after.
_MEMORY_BYTES: Final = 2**30
_THREADS: Final = 64


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_PORT: Final = _words(r"address already in use|only one usage of each socket")
_ErrorOf = Callable[[Path, str], DatabaseError]
# The system's messages, as the engine and Python repeat them, and their meaning; the first match
# counts. They are checked before the engine's own conclusions: if it lacks any of these things,
# the engine calls its files damaged, or panics.
_LACKS: Final[tuple[tuple[re.Pattern[str], _ErrorOf], ...]] = (
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
        # The engine also says "operation not permitted" of a message that is not UTF-8.
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
# Messages of the engine about files that differ from what it wrote.
_CORRUPT: Final = _words(
    r"WT_TRY_SALVAGE|corrupt|checksum|bad magic number|does not appear to be a WiredTiger file"
    r"|smaller than allocation size|failed to read \d+ bytes at offset"
    r"|handle-open: open: no such file"
)
# Messages of the engine about damaged files, but also about other failures.
_SUSPECT: Final = _words(r"WT_PANIC|WT_ERROR|WT_NOTFOUND|WiredTiger ?Error|wiredtiger_open|salvage")
# The engine's catalogue of its files. The engine replaces it in one step, so it is never missing.
_CATALOGUE: Final = "WiredTiger.turtle"
_CATALOGUE_KEY: Final = b"file:WiredTiger.wt\n"
_LONGEST_REASON: Final = 160


def failure_of(
    name: str, last_lines: Sequence[str], place: Place, folder: Path, log_path: Path
) -> DatabaseError:
    """Return why the server `name` ended, which used `place` and `folder`.

    It is a `DamageSuspected` if its log lines allow no other explanation; that is no proof yet.
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
    """Return what the system denied the server, according to the log lines `said`."""
    if _PORT.search(said):
        return place.taken()
    for words, error_of in _LACKS:
        if found := words.search(said):
            return error_of(folder, found.group(0))
    return None


def _reason_in(last_lines: Sequence[str]) -> str:
    said = (line.strip() for line in reversed(last_lines) if line.strip())
    return next(said, "it said nothing")[:_LONGEST_REASON].rstrip(".")


def has_lost_its_catalogue(folder: Path) -> bool:
    """Whether `folder` holds the files of a database, but not the engine's catalogue.

    Then the engine would silently start an empty database and move the old files aside. Raises a
    `DatabaseError` if the folder can't be read.
    """
    try:
        if (folder / _CATALOGUE).exists():
            return False
        return any(not file.name.startswith("WiredTiger") for file in folder.glob("*.wt"))
    except OSError as error:
        raise folder_error(folder, error) from error


def has_broken_catalogue(folder: Path) -> bool:
    """Whether the catalogue in `folder` can be read, and differs from what the engine writes.

    The engine writes a few lines of plain text. One of them is a key without which it finds no
    file.
    """
    try:
        content = (folder / _CATALOGUE).read_bytes()
    except OSError:
        return False
    is_text = content.isascii() and content.endswith(b"\n") and b"\0" not in content
    is_whole = _CATALOGUE_KEY in content and content.count(b"(") == content.count(b")")
    return not (is_text and is_whole)


async def until_worth_trying(
    error: Exception,
    wait: Callable[[], Awaitable[None]],
    look_every_s: float = SERVER_TIMES.moved_look_s,
) -> None:
    """Wait until a start may succeed that failed with `error`; without a sign, call `wait`."""
    if isinstance(error, DatabaseDamaged):
        await until_moved_aside(error.folder, look_every_s)
    else:
        await wait()


async def until_moved_aside(folder: Path, look_every_s: float = SERVER_TIMES.moved_look_s) -> None:
    """Wait until the damaged database is no longer in `folder`; look every `look_every_s`."""
    while await asyncio.to_thread(folder.exists):  # noqa: ASYNC110 - no process sets an event
        await asyncio.sleep(look_every_s)


def lock_holder(folder: Path) -> str:
    """Return `process PID (name)` of the process that locks the database in `folder`.

    Empty if it is not known: only Linux lists its locks.
    """
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return ""
    inodes = {_inode(folder / name) for name in _LOCK_FILES}
    for line in locks.splitlines():
        # `1: POSIX  ADVISORY  WRITE 1234 08:01:567 0 EOF`; `->` marks a process that waits.
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


def lack_of(folder: Path) -> DatabaseError | None:
    """Return what a server on `folder` lacks; None if nothing is known to be lacking.

    It checks this process's access and limits, which its children inherit. Blocks shortly.
    """
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
        for path in files:
            _open_for_writing(path)
        _write_beside(folder)
        free = shutil.disk_usage(folder).free
        largest = max((path.stat().st_size for path in files), default=0)
    except OSError as error:
        return folder_error(folder, error)
    if free < _ROOM_BYTES:
        return DataFolderFull(folder)
    holder = lock_holder(folder)
    if holder:
        return DatabaseFolderBusy(folder, holder)
    return _limit_of(folder, len(files), largest)


def _open_for_writing(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR))


def _write_beside(folder: Path) -> None:
    """Write a file beside `folder`, open it several times, and remove it. Raises `OSError`."""
    draft = folder.with_suffix(".room")
    descriptors: list[int] = []
    try:
        draft.write_bytes(b"\0" * 4096)
        descriptors.extend(os.open(draft, os.O_RDONLY) for _ in range(8))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        draft.unlink(missing_ok=True)


def _limit_of(folder: Path, count: int, largest: int) -> DatabaseError | None:
    for name, least, error in _limits(folder, count, largest):
        limit = _limit(name)
        if limit is not None and limit < least:
            return error
    return None


def _limits(folder: Path, count: int, largest: int) -> Iterator[tuple[str, int, DatabaseError]]:
    """Iterate over the system's limits: name, what a server needs, and the error if it is less."""
    yield "RLIMIT_NOFILE", count + _HANDLES_BESIDE, NoFileHandles(folder)
    yield "RLIMIT_FSIZE", largest + _ROOM_BYTES, FileSizeLimited(folder)
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        yield name, _MEMORY_BYTES, NoMemory(folder)
    yield "RLIMIT_NPROC", _THREADS, NoMemory(folder)


def _limit(name: str) -> int | None:
    """Return this process's limit `name`; None if there is none."""
    if sys.platform == "win32":
        return None
    resource: Any = importlib.import_module("resource")
    number = getattr(resource, name, None)
    if number is None:
        return None
    soft = int(resource.getrlimit(number)[0])
    return None if soft == resource.RLIM_INFINITY else soft
