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


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """Mount a new disk at `folder`, which is made."""
    image = folder.with_suffix(".img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield Disk(folder)
    finally:
        # Where the play broke off while it stood still, this lets go of it.
        subprocess.run(["fsfreeze", "--unfreeze", folder], capture_output=True, check=False)
        subprocess.run(["umount", "--lazy", folder], check=True)
        image.unlink()
