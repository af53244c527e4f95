"""The database server of a data folder, as a child of this process."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.ending import ending
from orderbook_desktop.storage.errors import (
    DamageSuspected,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFolderBusy,
    DataFolderUnusable,
    PortTaken,
    ServerFailed,
    ServerKilled,
    ServerTooSlow,
    UnknownToServer,
    folder_error,
)
from orderbook_desktop.storage.server.child import ChildProcess
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.storage.server.conditions import lack_of
from orderbook_desktop.storage.server.credentials import (
    keep_secret,
    key_path,
    new_secret,
    password_path,
    read_secret,
)
from orderbook_desktop.storage.server.ports import is_free, is_listening, private_port
from orderbook_desktop.storage.server.private_files import private_folder
from orderbook_desktop.storage.server.readiness import ready_server
from orderbook_desktop.storage.server.start_failures import (
    failure_of,
    has_broken_catalogue,
    has_lost_its_catalogue,
)
from orderbook_desktop.storage.server.tables import make_tables
from orderbook_desktop.storage.server.users import admit, is_refusal, remove_strange

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

log = logging.getLogger(__name__)

# Recovering a big database after a crash takes its time.
START_WITHIN_S: Final = 60.0
# Somebody who holds the files or the port and is just ending is waited for so long.
FOLDER_PATIENCE_S: Final = 10.0
# With such words its storage engine leaves a SecantusDB that runs on, but answers everything, or
# what concerns the damaged files, with an error.
_FATAL: Final = re.compile(rb"WT_PANIC|WiredTigerError: (WT_ERROR|WT_TRY_SALVAGE|No such file)")
_KNOCK_S: Final = 0.03
_KNOCKS_UNHEEDED: Final = 8


class LocalServer:
    """Starts and stops `program` on `folder`, open to our one user. Call `stop()` when done."""

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
        suspected: DamageSuspected | None = None
        while True:
            try:
                await self._launch_on(port)
            except DamageSuspected as error:
                log.info("%s failed in its files: %s", self.program.name, error.reason)
                if suspected is not None:
                    raise await self.judged(error) from error
                suspected = error
            except PortTaken:
                if now() - begun > FOLDER_PATIENCE_S:
                    raise
                if now() - begun >= port_patience_s:
                    port = self._another_port()
                    continue
            except (DatabaseFolderBusy, ServerKilled) as error:
                if now() - begun > FOLDER_PATIENCE_S:
                    raise
                log.info("waiting: %s", error)
            else:
                return port
            await asyncio.sleep(next(delays))

    async def judged(self, suspected: DamageSuspected) -> DatabaseError:
        """Return what a server that failed in its files again has: is their damage proven now?

        Only if the engine says it is damage, and the server lacks nothing that it needs.
        """
        lack = await asyncio.to_thread(lack_of, self.folder)
        if lack is not None:
            return lack
        if suspected.is_corrupt or has_broken_catalogue(self.folder):
            return DatabaseDamaged(self.folder, self.log_path)
        return ServerFailed(self.program.name, suspected.reason, self.log_path)

    async def wait(self) -> int:
        """Wait for the end of the running server and return its exit code."""
        assert self._child is not None, "nothing was launched"  # noqa: S101
        return await self._child.wait()

    def failure(self) -> DatabaseError | None:
        """Return what made the server end, as far as its last words say anything known."""
        return None if self._child is None else self._told_by(self._child)

    def _told_by(self, child: ChildProcess) -> DatabaseError | None:
        failure = self._failure_of(child)
        return None if isinstance(failure, ServerFailed) else failure

    def _failure_of(self, child: ChildProcess) -> DatabaseError:
        name = self.program.name
        failure = failure_of(name, child.last_lines, self._port, self.folder, self.log_path)
        if isinstance(failure, ServerFailed) and child.was_killed:
            return ServerKilled(name, self.log_path)
        return failure

    async def stop(self) -> None:
        """Stop the server, if it runs, and return when it is gone."""
        if self._child is not None:
            await self._end(self._child)

    async def _end(self, child: ChildProcess) -> None:
        if self.program.kind is not ServerKind.SECANTUS:
            await child.stop()
            return
        knocking = asyncio.create_task(self._knock(child))
        async with ending(knocking):
            await child.stop()

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
        if has_lost_its_catalogue(self.folder):
            raise DatabaseDamaged(self.folder, self.log_path)
        try:
            private_folder(self.folder)
            (self.folder.parent / "secantus.toml").write_bytes(b"")
        except OSError as error:
            raise folder_error(self.folder, error) from error

    def _another_port(self) -> int:
        try:
            return private_port()
        except OSError as error:
            raise self._not_started(error) from error

    def _not_started(self, error: OSError) -> DatabaseError:
        """Return what `error`, met before the server could say anything, means."""
        failure = folder_error(self.folder, error)
        if isinstance(failure, DataFolderUnusable):
            # It was the program that could not be run, or the port.
            return ServerFailed(self.program.name, str(error), self.log_path)
        return failure

    async def _launch_on(self, port: int) -> None:
        """Start the server, locked; one that doesn't know our password is told it before."""
        if self._child is not None:
            await self._end(self._child)
        secret = password_path(self.folder)
        try:
            is_new = not any(self.folder.iterdir())
            is_known = bool(read_secret(secret)) and not is_new
            # What an attempt that failed has told may have reached somebody else on that port.
            password = keep_secret(secret) if is_known else new_secret(secret)
            if self.program.kind is ServerKind.MONGOD:
                keep_secret(key_path(self.folder))
        except OSError as error:
            raise folder_error(self.folder, error) from error
        if is_known:
            try:
                self._child = await self._start(port, password)
            except UnknownToServer:
                log.info("%s does not know our password yet", self.program.name)
                password = self._another_password()
            else:
                return
        await self._set_up(port, password, is_new=is_new)
        self._child = await self._start(port, password, partial(remove_strange, everything=is_new))

    def _another_password(self) -> str:
        try:
            return new_secret(password_path(self.folder))
        except OSError as error:
            raise folder_error(self.folder, error) from error

    async def _set_up(self, port: int, password: str, *, is_new: bool) -> None:
        """Run the server once, open to all, to make it know `password`.

        A new database is made elsewhere and then moved here, whole: a kill meanwhile leaves
        one behind that is no use, and that is not this one.
        """
        folder, draft = self.folder, self.folder.with_suffix(".new")

        async def prepare(client: AsyncIOMotorClient[dict[str, Any]]) -> None:
            await admit(client, password)
            if self.program.kind is ServerKind.SECANTUS:
                await make_tables(client)

        try:
            if is_new:
                shutil.rmtree(draft, ignore_errors=True)
                private_folder(draft)
            await self._end(await self._start(port, "", prepare, draft if is_new else folder))
            if is_new:
                folder.rmdir()
                draft.rename(folder)
        except OSError as error:
            raise folder_error(folder, error) from error

    async def _start(
        self,
        port: int,
        password: str,
        then: Callable[[AsyncIOMotorClient[dict[str, Any]]], Awaitable[None]] | None = None,
        folder: Path | None = None,
    ) -> ChildProcess:
        """Return the child once it is ready and `then` has been done with it.

        Without a `password` it is open to all. `folder` is where its files are, if not where
        they belong. Raises `UnknownToServer` if it refuses the password.
        """
        if not is_free(port):
            raise PortTaken(port)
        command = self.program.command_line(port, folder or self.folder, locked=bool(password))
        try:
            child = ChildProcess(command, self.log_path, fatal=_FATAL)
        except OSError as error:
            raise self._not_started(error) from error

        async def get_ready() -> None:
            async with ready_server(port, self.program.kind, password) as client:
                if then is not None:
                    await then(client)

        try:
            self._port = port
            await self._while_running(child, get_ready())
        except BaseException:
            await self._end(child)
            raise
        return child

    async def _while_running(self, child: ChildProcess, job: Coroutine[Any, Any, None]) -> None:
        """Finish `job` while the child runs; raises what made that impossible."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 - not at the window's start

        name = self.program.name
        ready = asyncio.create_task(job)
        ended = asyncio.create_task(child.wait())
        try:
            async with ending(ready, ended):
                done, _ = await asyncio.wait(
                    {ready, ended}, timeout=START_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
                )
                if ended in done:
                    log.info("%s ended at its start: %s", name, "\n".join(child.last_lines))
                    raise self._failure_of(child)
                if not done:
                    raise ServerTooSlow(name, START_WITHIN_S, self.log_path)
                ready.result()
        except PyMongoError as error:
            if is_refusal(error):
                raise UnknownToServer(name, self.log_path) from error
            # Its answer may be faster than its words, of which we have all once it has ended.
            await self._end(child)
            failure = self._failure_of(child)
            if isinstance(failure, ServerFailed) and not isinstance(failure, ServerKilled):
                failure = ServerFailed(name, str(error), self.log_path)
            raise failure from error
