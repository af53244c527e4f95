"""A disk of the chaos play is let go of, however the play ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.processes import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")

_PLAY = """
import asyncio, pathlib, signal, sys
from tests.faults.chaos.disk import mounted

# A shell's background job, such as a test run of one, ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main(disk):
    await disk._freeze("--freeze")
    print("frozen", flush=True)
    await asyncio.Event().wait()

with mounted(pathlib.Path(sys.argv[1])) as disk:
    asyncio.run(main(disk))
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Stand-ins for the tools that need root, which note how they were called; return the notes."""
    folder, notes = tmp_path / "tools", tmp_path / "notes"
    folder.mkdir()
    for name in ("mkfs.ext4", "mount", "umount", "fsfreeze"):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> {notes}\n')
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return notes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_thaws_and_is_unmounted(tmp_path: Path, tools: Path, number: int) -> None:
    disk = tmp_path / "disk"
    path = f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        [sys.executable, "-c", _PLAY, str(disk)],
        env={**os.environ, "PATH": path},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as play:
        assert play.stdout is not None
        assert play.stdout.readline() == b"frozen\n"
        # As a terminal does it: to all of the play's processes, and as another program: to it.
        os.killpg(play.pid, number)
    deadline = time.monotonic() + 100
    while disk.with_suffix(".img").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    called = tools.read_text().splitlines()
    assert called[-3:] == [
        f"fsfreeze --freeze {disk}",
        f"fsfreeze --unfreeze {disk}",
        f"umount --lazy {disk}",
    ]
