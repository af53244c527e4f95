"""The database server of a data folder, as a child of this process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.storage.child import ChildProcess
from orderbook_desktop.storage.errors import (
    DatabaseFolderBusy,
    PortTaken,
    ServerFailed,
    ServerTooSlow,
    folder_error,
)
from orderbook_desktop.storage.ports import is_free, is_listening, private_port
from orderbook_desktop.storage.readiness import until_ready
from orderbook_desktop.storage.server_choice import ServerKind, ServerProgram
from orderbook_desktop.storage.start_failures import failure_of

log = logging.getLogger(__name__)

# Recovering a big database after a crash takes its time.
START_WITHIN_S: Final = 60.0
# Somebody who holds the files or the port and is just ending is waited for so long.
FOLDER_PATIENCE_S: Final = 10.0
# After this word of its storage engine, for instance when the disk was full, a SecantusDB runs on
# but answers every request with an error.
_PANIC: Final = b"WT_PANIC"
_KNOCK_S: Final = 0.03
_KNOCKS_UNHEEDED: Final = 8


class LocalServer:
    """Starts and stops `program` on `folder`. Call `stop()` when done."""

    def __init__(self, program: ServerProgram, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.log_path = folder.with_suffix(".log")
        self._child: ChildProcess | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def launch(self, wanted_port: int | None, port_patience_s: float = 0.0) -> int:
        """Start the server and wait until it takes writes; return its port.

        It gets `wanted_port`, or another one where that stays taken for `port_patience_s`.
        Raises a `DatabaseError`; nothing runs then.
        """
        self._prepare()
        now = asyncio.get_running_loop().time
        begun = now()
        delays = backoff_delays(first=0.1, cap=1.0)
        port = wanted_port or self._another_port()
        while True:
            try:
                await self._launch_on(port)
            except PortTaken:
                if now() - begun > FOLDER_PATIENCE_S:
                    raise
                if now() - begun >= port_patience_s:
                    port = self._another_port()
                    continue
            except DatabaseFolderBusy as error:
                if now() - begun > FOLDER_PATIENCE_S:
                    raise
                log.info("waiting: %s", error)
            else:
                return port
            await asyncio.sleep(next(delays))

    async def wait(self) -> int:
        """Wait for the end of the running server and return its exit code."""
        assert self._child is not None, "nothing was launched"  # noqa: S101
        return await self._child.wait()

    async def stop(self) -> None:
        """Stop the server, if it runs, and return when it is gone."""
        if self._child is not None:
            await self._end(self._child)

    async def _end(self, child: ChildProcess) -> None:
        if self.program.kind is not ServerKind.SECANTUS:
            await child.stop()
            return
        knocking = asyncio.create_task(self._knock(child))
        try:
            await child.stop()
        finally:
            knocking.cancel()
            await asyncio.gather(knocking, return_exceptions=True)

    async def _knock(self, child: ChildProcess) -> None:
        """Keep connecting to a SecantusDB that was told to end, until it lets nobody in.

        It waits 2 s for one last connection before it closes its files. And a signal that
        comes while it starts can reach it just before its main thread falls asleep for ever:
        it goes on letting people in then, and has to be told again.
        """
        let_in = 0
        while True:
            await asyncio.sleep(_KNOCK_S)
            let_in += await is_listening(self._port)
            if let_in == _KNOCKS_UNHEEDED:
                child.ask_to_end()
                let_in = 0

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder.parent / "secantus.toml").write_bytes(b"")
        except OSError as error:
            raise folder_error(self.folder, error) from error

    def _another_port(self) -> int:
        try:
            return private_port()
        except OSError as error:
            raise ServerFailed(self.program.name, str(error), self.log_path) from error

    async def _launch_on(self, port: int) -> None:
        if self._child is not None:
            await self._end(self._child)
        if not is_free(port):
            raise PortTaken(port)
        try:
            child = ChildProcess(
                self.program.command_line(port, self.folder), self.log_path, fatal_word=_PANIC
            )
        except OSError as error:
            raise ServerFailed(self.program.name, str(error), self.log_path) from error
        try:
            self._port = port
            await self._until_ready(child, port)
        except BaseException:
            await self._end(child)
            raise
        self._child = child

    async def _until_ready(self, child: ChildProcess, port: int) -> None:
        from pymongo.errors import PyMongoError  # noqa: PLC0415 - not at the window's start

        name = self.program.name
        ready = asyncio.create_task(until_ready(port, self.program.kind))
        ended = asyncio.create_task(child.wait())
        try:
            done, _ = await asyncio.wait(
                {ready, ended}, timeout=START_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            if ended in done:
                log.info("%s ended at its start: %s", name, "\n".join(child.last_lines))
                raise failure_of(name, child.last_lines, port, self.folder, self.log_path)
            if not done:
                raise ServerTooSlow(name, START_WITHIN_S, self.log_path)
            ready.result()
        except PyMongoError as error:
            raise ServerFailed(name, str(error), self.log_path) from error
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)
