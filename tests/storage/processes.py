"""Server processes and other copies of the program: starting, watching, waiting for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil

from orderbook_desktop.storage.server.server import DatabaseServer, ServerState

ROOT = Path(__file__).parents[2]


async def eventually(condition: Callable[[], object], within_s: float = 60) -> None:
    """Wait until `condition` holds; fail if it does not in `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


class StateWatch:
    """Every state that a server went through."""

    def __init__(self, server: DatabaseServer) -> None:
        self.seen: list[ServerState] = []
        self.details: list[str] = []
        self._server = server
        server.subscribe(self._changed)

    def _changed(self) -> None:
        self.seen.append(self._server.state)
        self.details.append(self._server.state_detail)

    def recovered(self) -> bool:
        """Whether it was away and is ready again."""
        return ServerState.AWAY in self.seen and self._server.state is ServerState.READY


class OtherCopy:
    """A copy of the program in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.state: dict[str, Any] = {}

    async def until(self, state: str) -> None:
        """Read its changes up to `state`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            while self.state.get("state") != state:
                self.state = json.loads(await self._process.stdout.readline())

    async def kill(self) -> None:
        """Kill it, so that it can't clean up."""
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        """Let it end by itself."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            async with asyncio.timeout(60):
                await self._process.wait()


@contextlib.asynccontextmanager
async def other_copy(data_dir: Path) -> AsyncIterator[OtherCopy]:
    """Run another copy on a data folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.storage.other_copy", str(data_dir)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    copy = OtherCopy(process)
    try:
        yield copy
    finally:
        await copy.close()


def is_gone(pid: int) -> bool:
    """Return whether no process `pid` runs (a process that was not waited for has ended, too)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
