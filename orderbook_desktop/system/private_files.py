"""Folders and files that only their owner can read.

On Windows a file is as private as its folder. The user's data folder, the default place of
recordings, belongs to the user alone.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Final

from orderbook_desktop.system.atomic_file import atomic_file

log = logging.getLogger(__name__)

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_ROOT: Final = 0
# The entries that the program itself creates in a data folder.
_OURS: Final = frozenset({"database", "logs", "window.ini"})


def private_data_folder(folder: Path) -> None:
    """Create the data folder where it is missing, and close it to other users. Raises `OSError`.

    A folder with other entries is left open: it may be a home, or a shared disk. The program's own
    entries in it are private nevertheless.
    """
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    if {entry.name for entry in folder.iterdir()} <= _OURS:
        _close_to_others(folder, _FOLDER_MODE)


def private_folder(folder: Path) -> None:
    """Create `folder` where it is missing, and close it to other users.

    Raises `OSError`, also where another user owns it, who could put files into it.
    """
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    if _is_of_another_user(folder):
        raise PermissionError(errno.EPERM, "another user of this computer owns it", folder)
    _close_to_others(folder, _FOLDER_MODE)


def private_file(path: Path) -> None:
    """Close the file to other users. Raises `OSError` where there is none."""
    _close_to_others(path, _FILE_MODE)


def keep_private(path: Path) -> None:
    """Create the file, empty, where it is missing, and close it to others. Raises `OSError`."""
    path.touch(_FILE_MODE)
    private_file(path)


def write_private(path: Path, text: str) -> None:
    """Write `text` in one step to a file that is never open to others. Raises `OSError`."""
    with atomic_file(path, replace=True, private=True) as file:
        file.write(text.encode())


def _is_of_another_user(folder: Path) -> bool:
    """Whether neither this user nor root owns `folder`; root may use any folder."""
    if sys.platform == "win32":
        return False
    own = os.geteuid()
    return own != _ROOT and folder.stat().st_uid not in (own, _ROOT)


def _close_to_others(path: Path, mode: int) -> None:
    if sys.platform == "win32":
        return
    there = path.stat()
    if there.st_uid != os.geteuid() or not stat.S_IMODE(there.st_mode) & ~mode:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        # The file system of a USB stick has no owners.
        log.warning("others on this computer can read %s: %s", path, error.strerror)
