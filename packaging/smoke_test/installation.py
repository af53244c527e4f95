"""An installed bundle, in a path with spaces and letters outside ASCII."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def install(bundle: Path, home: Path) -> Iterator[Path]:
    """Give the installed bundle's folder, which is read-only while the context lasts."""
    folder = home / "Program files, ä" / bundle.name
    folder.parent.mkdir(parents=True)
    shutil.copytree(bundle, folder, symlinks=True)
    with _read_only(folder):
        yield folder


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make `folder` read-only: by its modes, or for root, who may ignore these, by a mount."""
    is_root = sys.platform.startswith("linux") and os.geteuid() == 0
    if is_root and _mount("--bind", str(folder), str(folder)):
        _mount("-o", "remount,bind,ro", str(folder))
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    _set_writable(folder, wanted=False)
    try:
        yield
    finally:
        _set_writable(folder, wanted=True)


def _mount(*arguments: str) -> bool:
    done = subprocess.run(["mount", *arguments], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _set_writable(folder: Path, *, wanted: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o200 if wanted else mode & ~0o222)
