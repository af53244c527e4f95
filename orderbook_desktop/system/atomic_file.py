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

# What the system's mask leaves of it.
_ORDINARY: Final = 0o666
_PRIVATE: Final = 0o600
# Windows changes line ends in other files.
_BINARY: Final = getattr(os, "O_BINARY", 0)


@contextmanager
def atomic_file(path: Path, *, replace: bool, private: bool = False) -> Iterator[BinaryIO]:
    """Lend a file that takes the name `path` when the context ends well, and else is deleted.

    What it holds is on the disk before it takes the name. It may be written by other
    threads, one at a time. What one for the same target left behind whose process was killed
    is deleted. `private` files are never open to others than their owner. Raises
    `FileExistsError`, unless it may `replace` a file, and `OSError`.
    """
    try:
        # Where it is a link the file that it leads to is written.
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
            # An open file has no other name there.
            file.close()
        beside.replace(target)
    _sync_folder(target.parent)


@contextmanager
def _file_beside(target: Path, mode: int) -> Iterator[tuple[BinaryIO, Path]]:
    """Lend a new file and its path, which is deleted in the end; others see that it is in use."""
    while True:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        number = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, mode)
        with os.fdopen(number, "wb") as file:
            try:
                # Another one may have taken it for a leftover before it was locked.
                if _lock(file, wait=True) and not _is_at(file, beside):
                    continue
                yield file, beside
                return
            finally:
                if sys.platform == "win32":
                    # An open file can't be deleted there.
                    with suppress(OSError):
                        file.close()
                with suppress(OSError):
                    beside.unlink()


def _remove_leftovers(target: Path) -> None:
    """Delete what others left beside `target` which no living process writes any more."""
    is_ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.part").fullmatch
    found: list[Path] = []
    with suppress(OSError):
        found = [one for one in target.parent.iterdir() if is_ours(one.name)]
    for one in found:
        # It may be gone meanwhile, or another's; on Windows one that is written can't be deleted.
        with suppress(OSError):
            if sys.platform == "win32":
                one.unlink()
                continue
            with one.open("rb") as file:
                if _lock(file, wait=False):
                    one.unlink()


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Lock `file` for as long as it is open; return whether that succeeded."""
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415 (not on Windows)

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another one has it, or the file system has no locks: then nothing is deleted.
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
        # A file would take the place of /dev/null.
        raise OSError(errno.EINVAL, "it is not a file but a device or a pipe", path)
    if not replace and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "it is there already", path)


def _sync_folder(folder: Path) -> None:
    """Make sure that the new name outlives a power failure, where folders can be synced."""
    if sys.platform == "win32":
        return
    # Some file systems sync no folders; the file is there all the same.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
