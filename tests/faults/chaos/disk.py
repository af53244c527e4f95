"""A disk of its own for the data folder, which can be full and slow."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE_BYTES = 3 * 2**30
_LEFT_BYTES = 500_000
# A slow disk stands still again and again, for so long of each such time.
_STILL_S, _EACH_S = 0.4, 0.5


class Disk:
    """A file system in a file, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def possible() -> bool:
        """Whether one can be mounted here: that takes root, on Linux."""
        tools = ("mkfs.ext4", "mount", "umount", "fsfreeze")
        is_root = sys.platform.startswith("linux") and os.geteuid() == 0
        return is_root and all(map(shutil.which, tools))

    async def full_for(self, seconds: float) -> None:
        """Take all the room there is, but a little; give it back then."""
        ballast = self.folder / "ballast"
        try:
            free = shutil.disk_usage(self.folder).free - _LEFT_BYTES
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free))
            await asyncio.sleep(seconds)
        finally:
            ballast.unlink(missing_ok=True)

    async def slow_for(self, seconds: float) -> None:
        """Let every write wait most of the time."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await self._freeze("--freeze")
            try:
                await asyncio.sleep(_STILL_S)
            finally:
                await asyncio.shield(self._freeze("--unfreeze"))
            await asyncio.sleep(_EACH_S - _STILL_S)

    async def _freeze(self, how: str) -> None:
        process = await asyncio.create_subprocess_exec("fsfreeze", how, str(self.folder))
        assert await process.wait() == 0


# Runs beside the play until that ends, also if SIGKILL ends it: a disk that stands still would keep
# every process that writes to it for ever.
_GUARD = """
import pathlib, subprocess, sys
folder, image = sys.argv[1:]
sys.stdin.read()
subprocess.run(["fsfreeze", "--unfreeze", folder], capture_output=True)
subprocess.run(["umount", "--lazy", folder], capture_output=True)
pathlib.Path(image).unlink(missing_ok=True)
"""


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """Mount a new disk at `folder`, which is made."""
    image = folder.with_suffix(".img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    with _guarded(folder, image):
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
        yield Disk(folder)


@contextmanager
def _guarded(folder: Path, image: Path) -> Iterator[None]:
    """Have a process let go of the disk at the end, also where this process is killed."""
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, str(folder), str(image)],
        stdin=subprocess.PIPE,
        # What ends the play in a terminal must not end this.
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate()
