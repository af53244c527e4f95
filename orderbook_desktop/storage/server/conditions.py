"""Whether the system gives a database server all that it needs to read and write its files.

A server that lacks something calls its files damaged. So what it says of them counts only where
this finds nothing that is lacking.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orderbook_desktop.storage.errors import (
    DatabaseError,
    DatabaseFolderBusy,
    DataFolderFull,
    FileSizeLimited,
    NoFileHandles,
    NoMemory,
    folder_error,
)
from orderbook_desktop.storage.server.lock_holder import lock_holder

# Beside its files a server opens libraries, connections, and its log.
_HANDLES_BESIDE: Final = 40
# Its log grows in files of 10 MB.
_ROOM_BYTES: Final = 16 * 2**20
# It starts with less, and has hardly begun to work then.
_MEMORY_BYTES: Final = 2**30
_THREADS: Final = 64


def lack_of(folder: Path) -> DatabaseError | None:
    """Return what keeps a server from working with the files in `folder`; None: nothing known.

    What is looked at is as this process has it: its children inherit that. Blocks shortly.
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
    """Write a file, and open some at once; nothing of it stays. Raises `OSError`."""
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
    """Iterate over the system's limits: name, how much a server needs, and what to say of less."""
    yield "RLIMIT_NOFILE", count + _HANDLES_BESIDE, NoFileHandles(folder)
    yield "RLIMIT_FSIZE", largest + _ROOM_BYTES, FileSizeLimited(folder)
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        yield name, _MEMORY_BYTES, NoMemory(folder)
    yield "RLIMIT_NPROC", _THREADS, NoMemory(folder)


def _limit(name: str) -> int | None:
    """Return the limit of this process that is called `name`; None where there is none."""
    if sys.platform == "win32":
        return None
    resource: Any = importlib.import_module("resource")
    number = getattr(resource, name, None)
    if number is None:
        return None
    soft = int(resource.getrlimit(number)[0])
    return None if soft == resource.RLIM_INFINITY else soft
