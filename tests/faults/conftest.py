"""What the tests of faults share: disks of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts a file system in memory with options, or changes these."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root may mount a disk, and this way on Linux only")
    mounted: list[Path] = []

    def mounting(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        changed = f"remount,{options}" if mounted else options
        command = ["mount", "-t", "tmpfs", "-o", changed, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted[:] = [folder]
        return folder

    yield mounting
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
