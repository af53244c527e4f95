"""A file that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

# The system's mask reduces it.
_ORDINARY: Final = 0o666
_PRIVATE: Final = 0o600
# On Windows a file without this flag changes line ends.
_BINARY: Final = getattr(os, "O_BINARY", 0)


@contextmanager
def atomic_file(path: Path, *, replace: bool, private: bool = False) -> Iterator[BinaryIO]:
    """Lend a file that gets the name `path` at the end, or is deleted after an exception.

    Its content is on the disk before it gets the name. Other threads may write to it, one at a
    time. A leftover for the same target, of a process that was killed, is deleted. `private` files
    are open to their owner only, at any time. Raises `FileExistsError` where `path` exists and may
    not be replaced (`replace`), and `OSError`.
    """
    try:
        # For a link, the file that the link leads to is written.
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise OSError(errno.ELOOP, "its links lead in a circle", path) from error
    _refuse_existing(path, replace=replace)
    _remove_leftovers(target)
    with _file_beside(target, _PRIVATE if private else _ORDINARY) as (file, beside):
        yield file
        file.flush()
        os.fsync(file.fileno())
        _refuse_existing(path, replace=replace)
        if sys.platform == "win32":
            # On Windows an open file can't be renamed.
            file.close()
        beside.replace(target)
    _sync_folder(target.parent)


@contextmanager
def _file_beside(target: Path, mode: int) -> Iterator[tuple[BinaryIO, Path]]:
    """Lend a new file and its path, and delete it in the end; a lock shows that it is in use."""
    while True:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        number = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, mode)
        with os.fdopen(number, "wb") as file:
            try:
                # Another process may have deleted it as a leftover before it was locked.
                if _lock(file, wait=True) and not _is_at(file, beside):
                    continue
                yield file, beside
                return
            finally:
                if sys.platform == "win32":
                    # On Windows an open file can't be deleted.
                    with suppress(OSError):
                        file.close()
                with suppress(OSError):
                    beside.unlink()


def _remove_leftovers(target: Path) -> None:
    """Delete the leftovers beside `target` that no living process writes to."""
    is_ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.part").fullmatch
    found: list[Path] = []
    with suppress(OSError):
        found = [path for path in target.parent.iterdir() if is_ours(path.name)]
    for path in found:
        # It may be gone or another user's; on Windows a file in use can't be deleted.
        with suppress(OSError):
            if sys.platform == "win32":
                path.unlink()
                continue
            with path.open("rb") as file:
                if _lock(file, wait=False):
                    path.unlink()


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Lock `file` until it is closed; return whether that succeeded."""
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415 (not on Windows)

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another process holds it, or the file system has no locks: then no file is deleted.
        return False
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _refuse_existing(path: Path, *, replace: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
    if path.exists() and not path.is_file():
        # A file would replace a device such as /dev/null.
        raise OSError(errno.EINVAL, "it is not a file but a device or a pipe", path)
    if not replace and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "it is there already", path)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, where folders can be synced."""
    if sys.platform == "win32":
        return
    # Some file systems sync no folders; the file is there nevertheless.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
