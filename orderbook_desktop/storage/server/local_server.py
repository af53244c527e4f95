"""The database server of a data folder, as a child of this process."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.storage.errors import (
    DamageSuspected,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFolderBusy,
    DataFolderUnusable,
    NoDatabaseYet,
    PlaceTaken,
    ServerFailed,
    ServerKilled,
    ServerTooSlow,
    UnknownToServer,
    folder_error,
)
from orderbook_desktop.storage.server.certificates import keep_certificates
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.storage.server.credentials import (
    admit_again,
    admit_first,
    is_refusal,
    keep_secret,
    key_path,
    password_path,
    read_secret,
)
from orderbook_desktop.storage.server.places import (
    USUAL_TRANSPORT,
    Place,
    TlsPlace,
    Transport,
    socket_place,
)
from orderbook_desktop.storage.server.readiness import ready_server
from orderbook_desktop.storage.server.server_versions import (
    check_readable,
    finish_swap,
    note_version,
)
from orderbook_desktop.storage.server.start_failures import (
    failure_of,
    has_broken_catalogue,
    has_lost_its_catalogue,
    lack_of,
    lock_holder,
)
from orderbook_desktop.storage.server.times import SERVER_TIMES, ServerTimes
from orderbook_desktop.system.child import ChildProcess
from orderbook_desktop.system.ports import private_port
from orderbook_desktop.system.private_files import private_folder
from orderbook_desktop.system.tasks import ending

log = logging.getLogger(__name__)

# After one of these messages of its storage engine a SecantusDB keeps running, but answers all
# requests, or those for the damaged files, with an error.
_FATAL: Final = re.compile(rb"WT_PANIC|WiredTigerError: (WT_ERROR|WT_TRY_SALVAGE|No such file)")


class LocalServer:
    """Starts and stops `program` on `folder`, for our own user only. Call `stop()` when done.

    Other users can never use the database, not even while it is created. It listens where only
    our own user can reach it, and it asks for the password there, too.
    """

    def __init__(
        self,
        program: ServerProgram,
        folder: Path,
        transport: Transport = USUAL_TRANSPORT,
        times: ServerTimes = SERVER_TIMES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.program = program
        self.folder = folder
        self.log_path = folder.with_suffix(".log")
        self.moved = ""
        """A sentence for the user if another process has the server's port; else empty."""
        self._transport = transport
        self._times = times
        self._now = now
        self._child: ChildProcess | None = None
        self._place: Place | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def launch(self, wanted_port: int = 0, port_patience_s: float = 0.0) -> Place:
        """Start the server and wait until it accepts writes; return where it listens.

        A server that needs a port gets `wanted_port`, or another port if that one stays taken for
        `port_patience_s`. Raises a `DatabaseError`; then no server is running.
        """
        self._prepare()
        begun = self._now()
        delays = backoff_delays(first=0.1, cap=1.0)
        place = self._place_with(wanted_port)
        self.moved = ""
        suspected: DamageSuspected | None = None
        while True:
            try:
                await self._launch_at(place)
            except DamageSuspected as error:
                log.warning("%s failed in its files: %s", self.program.name, error.reason)
                if suspected is not None:
                    raise await self.judged(error) from error
                suspected = error
            except PlaceTaken as error:
                if self._now() - begun > self._times.folder_s:
                    raise
                if isinstance(place, TlsPlace) and self._now() - begun >= port_patience_s:
                    place = self._place_with(0)
                    self.moved = (
                        f"The database is at {place}, since {error.place} is taken by "
                        f"{error.holder}."
                    )
                    log.warning("%s", self.moved)
                    continue
                log.info("waiting: %s", error)
            except (DatabaseFolderBusy, ServerKilled) as error:
                if self._now() - begun > self._times.folder_s:
                    raise
                log.info("waiting: %s", error)
            else:
                return place
            await asyncio.sleep(next(delays))

    async def judged(self, suspected: DamageSuspected) -> DatabaseError:
        """Return why the server failed in its files again: proven damage, or something else.

        Damage is proven only if the engine reports it and the server lacks nothing that it needs.
        """
        lack = await asyncio.to_thread(lack_of, self.folder)
        if lack is not None:
            return lack
        if suspected.is_corrupt or has_broken_catalogue(self.folder):
            return DatabaseDamaged(self.folder, self.log_path)
        return ServerFailed(self.program.name, suspected.reason, self.log_path)

    async def reset_password(self) -> None:
        """Change the password in the server's files and in the file that `launch()` reads.

        Raises a `DatabaseError`; then the old password stays valid.
        """
        self._prepare()
        if not any(self.folder.iterdir()):
            raise NoDatabaseYet(self.folder)
        place = self._place_with(0)
        await self._check_free(place)
        password_file = password_path(self.folder)
        draft = _draft_of(password_file)
        try:
            # The server may know the draft of a reset that was cut off, so that one is kept.
            password = keep_secret(draft)
            command = self.program.resetting(place, self.folder, draft)
            if self.program.kind is ServerKind.SECANTUS:
                await self._run_to_its_end(command)
            else:
                await (await self._start(place, command, self._reset, password)).stop(
                    self._times.stop_s
                )
            draft.replace(password_file)
        except OSError as error:
            raise folder_error(self.folder, error) from error
        finally:
            place.clear()

    async def wait(self) -> int:
        """Wait until the running server ends, and return its exit code."""
        assert self._child is not None, "nothing was launched"  # noqa: S101
        return await self._child.wait()

    def failure(self) -> DatabaseError | None:
        """Return why the server ended, if its last log lines give a known reason."""
        if self._child is None:
            return None
        failure = self._failure_of(self._child)
        return None if isinstance(failure, ServerFailed) else failure

    def _failure_of(self, child: ChildProcess) -> DatabaseError:
        name = self.program.name
        place = self._place or self._place_with(0)
        failure = failure_of(name, child.last_lines, place, self.folder, self.log_path)
        if isinstance(failure, ServerFailed) and child.was_killed:
            return ServerKilled(name, self.log_path)
        return failure

    async def stop(self) -> None:
        """Stop the server if it is running, and return when it has ended."""
        if self._child is not None:
            await self._child.stop(self._times.stop_s)
        if self._place is not None:
            self._place.clear()

    @property
    def _is_ours(self) -> bool:
        """Whether the server is a SecantusDB of the program's own version."""
        return self.program.kind is ServerKind.SECANTUS and not self.program.is_other

    def _prepare(self) -> None:
        if self._is_ours:
            try:
                finish_swap(self.folder)
            except OSError as error:
                raise folder_error(self.folder, error) from error
            check_readable(self.folder, self.log_path)
        if has_lost_its_catalogue(self.folder):
            raise DatabaseDamaged(self.folder, self.log_path)
        try:
            private_folder(self.folder)
            (self.folder.parent / "secantus.toml").write_bytes(b"")
            if self.program.kind is ServerKind.MONGOD:
                keep_secret(key_path(self.folder))
        except OSError as error:
            raise folder_error(self.folder, error) from error

    def _place_with(self, port: int) -> Place:
        """Return where to listen. If a port is needed it is `port`, or a free one for 0."""
        try:
            if self._transport is Transport.SOCKET:
                return socket_place(self.folder.parent, self.folder.name)
            return TlsPlace(
                port or private_port(), keep_certificates(self.folder), self._times.listener_s
            )
        except OSError as error:
            raise self._not_started(error) from error

    def _not_started(self, error: OSError) -> DatabaseError:
        """Return the failure for `error`, which came before the server's first log line."""
        failure = folder_error(self.folder, error)
        if isinstance(failure, DataFolderUnusable):
            # The folder is usable: the program could not be run, or the port not be had.
            return ServerFailed(self.program.name, str(error), self.log_path)
        return failure

    async def _launch_at(self, place: Place) -> None:
        if self._child is not None:
            await self._child.stop(self._times.stop_s)
        await self._check_free(place)
        try:
            if isinstance(place, TlsPlace):
                place.write_port()
            password = keep_secret(password_path(self.folder))
            is_new = not any(self.folder.iterdir())
        except OSError as error:
            raise folder_error(self.folder, error) from error
        if is_new and self.program.kind is ServerKind.SECANTUS:
            await self._make()
        command = self.program.command_line(place, self.folder)
        try:
            self._child = await self._start(place, command, self._get_ready, password)
        except UnknownToServer:
            self._child = await self._start_after_reset(place, command)
            if self._child is None:
                raise
        if self._is_ours:
            self._note_version()

    def _note_version(self) -> None:
        try:
            note_version(self.folder)
        except OSError as error:
            # The files can be used, and the next start notes it.
            log.warning("the version of %s can't be noted: %s", self.folder, error)

    async def _start_after_reset(self, place: Place, command: Sequence[str]) -> ChildProcess | None:
        """Start the child with the new password of a reset that was cut off, if it is known."""
        draft = _draft_of(password_path(self.folder))
        try:
            password = read_secret(draft)
            if not password:
                return None
            try:
                child = await self._start(place, command, self._get_ready, password)
            except UnknownToServer:
                return None
            draft.replace(password_path(self.folder))
        except OSError as error:
            raise folder_error(self.folder, error) from error
        return child

    async def _check_free(self, place: Place) -> None:
        """Raise `PlaceTaken`, or `DatabaseFolderBusy` if the other server has our files open."""
        try:
            await place.check_free()
        except PlaceTaken:
            holder = lock_holder(self.folder)
            if holder:
                raise DatabaseFolderBusy(self.folder, holder) from None
            raise

    async def _make(self) -> None:
        """Create a SecantusDB in a draft folder, and move it to its place when it is complete.

        A kill meanwhile leaves only the draft behind.
        """
        folder, draft = self.folder, self.folder.with_suffix(".new")
        try:
            shutil.rmtree(draft, ignore_errors=True)
            private_folder(draft)
            await self._run_to_its_end(self.program.making(draft, password_path(folder)))
            folder.rmdir()
            draft.rename(folder)
        except OSError as error:
            raise folder_error(folder, error) from error

    async def _run_to_its_end(self, command: Sequence[str]) -> None:
        """Run a command until it ends by itself. Raises the error that made it fail."""
        child = self._spawn(command)
        try:
            async with asyncio.timeout(self._times.start_s):
                code = await child.wait()
        except TimeoutError:
            name = self.program.name
            raise ServerTooSlow(name, self._times.start_s, self.log_path) from None
        finally:
            await child.stop(self._times.stop_s)
        if code != 0:
            raise self._failure_of(child)

    def _spawn(self, command: Sequence[str]) -> ChildProcess:
        try:
            return ChildProcess(command, self.log_path, fatal=_FATAL)
        except OSError as error:
            raise self._not_started(error) from error

    async def _start(
        self,
        place: Place,
        command: Sequence[str],
        get_ready: Callable[[Place, int, str], Coroutine[Any, Any, None]],
        password: str,
    ) -> ChildProcess:
        """Start the child, and return it when `get_ready` is done.

        Raises `UnknownToServer` if the child refuses `password`.
        """
        self._place = place
        child = self._spawn(command)
        try:
            await self._while_running(child, get_ready(place, child.pid, password))
        except BaseException:
            await child.stop(self._times.stop_s)
            raise
        return child

    async def _reset(self, place: Place, pid: int, password: str) -> None:
        async with ready_server(place, self.program.kind, pid) as client:
            await admit_again(client, password)

    async def _get_ready(self, place: Place, pid: int, password: str) -> None:
        from pymongo.errors import OperationFailure  # noqa: PLC0415 - not at the window's start

        kind = self.program.kind
        try:
            async with ready_server(place, kind, pid, password):
                return
        except OperationFailure as error:
            if kind is ServerKind.SECANTUS or not is_refusal(error):
                raise
        log.info("%s does not know our password", self.program.name)
        async with ready_server(place, kind, pid) as client:
            await admit_first(client, password)
        async with ready_server(place, kind, pid, password):
            return

    async def _while_running(self, child: ChildProcess, job: Coroutine[Any, Any, None]) -> None:
        """Wait for `job` while the child runs. Raises the error that made it impossible."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 - not at the window's start

        name = self.program.name
        ready = asyncio.create_task(job)
        ended = asyncio.create_task(child.wait())
        try:
            async with ending(ready, ended):
                done, _ = await asyncio.wait(
                    {ready, ended}, timeout=self._times.start_s, return_when=asyncio.FIRST_COMPLETED
                )
                if ended in done:
                    log.info("%s ended at its start: %s", name, "\n".join(child.last_lines))
                    raise self._failure_of(child)
                if not done:
                    raise ServerTooSlow(name, self._times.start_s, self.log_path)
                ready.result()
        except PyMongoError as error:
            if is_refusal(error):
                raise UnknownToServer(name, password_path(self.folder)) from error
            # The answer may arrive before the log lines; these are complete once it has ended.
            await child.stop(self._times.stop_s)
            failure = self._failure_of(child)
            if isinstance(failure, ServerFailed) and not isinstance(failure, ServerKilled):
                failure = ServerFailed(name, str(error), self.log_path)
            raise failure from error


def _draft_of(password_file: Path) -> Path:
    """Return the file that holds a new password until the server knows it."""
    return password_file.with_name(f"{password_file.name}.next")
