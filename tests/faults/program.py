"""The program's commands as processes of their own: what they say, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.storage.processes import ROOT


class Program:
    """A running command; `said` is what it wrote to its standard output and error so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.said = ""
        self._process = process
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def until_said(self, text: str, within_s: float = 100.0) -> None:
        """Wait until it has said `text`; raises `AssertionError` where it ended before."""
        async with asyncio.timeout(within_s), self._more:
            await self._more.wait_for(lambda: text in self.said or self._reading.done())
        assert text in self.said, self.said

    async def until_ended(self, within_s: float = 100.0) -> int:
        """Wait for its end; return the exit code."""
        async with asyncio.timeout(within_s):
            await self._reading
            return await self._process.wait()

    async def end(self) -> int:
        """Ask it to end, as Ctrl-C does; return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.until_ended()

    async def kill(self) -> None:
        """End it as a power cut would."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self.until_ended()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while said := await self._process.stdout.read(4096):
            async with self._more:
                self.said += said.decode("utf-8", "replace")
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()


@asynccontextmanager
async def running(
    data_dir: Path,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    hasty: bool = False,
) -> AsyncIterator[Program]:
    """Run `orderbook-desktop` with its own data folder; it is killed if it still runs then.

    `hasty`: it archives as soon as it can.
    """
    # Without arguments it is the window, which a busy machine may not close as soon as it has to.
    usual = "orderbook_desktop" if arguments else "tests.app.unhurried_program"
    module = "tests.faults.hasty_program" if hasty else usual
    given = {"ORDERBOOK_DATA_DIR": str(data_dir), "QT_QPA_PLATFORM": "offscreen"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env={**os.environ, **given, **(variables or {})},
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()
