"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from orderbook_desktop.storage.export.errors import TargetExists, TargetUnwritable


@contextmanager
def atomic_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Lend a file that takes the name `path` when the context ends well, and else is deleted.

    What it holds is on the disk before it takes the name. It may be written by other
    threads, one at a time. Raises `TargetExists`, unless it may `replace` a file, and
    `TargetUnwritable`, also for any `OSError` out of the context.
    """
    try:
        # Where it is a link the file that it leads to is written.
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise TargetUnwritable(path, "its links lead in a circle") from error
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        _refuse_existing(path, replace=replace)
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_existing(path, replace=replace)
        beside.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise TargetUnwritable(path, error.strerror or type(error).__name__) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _refuse_existing(path: Path, *, replace: bool) -> None:
    if path.is_dir():
        raise TargetUnwritable(path, "it is a folder")
    if path.exists() and not path.is_file():
        # A file would take the place of /dev/null.
        raise TargetUnwritable(path, "it is not a file but a device or a pipe")
    if not replace and os.path.lexists(path):
        raise TargetExists(path)


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
