"""The database server that this program uses: a given one, its own child, or another copy's."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.storage.dsn import check_dsn, redacted_dsn
from orderbook_desktop.storage.errors import (
    DamageSuspected,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFolderBusy,
    NoDatabaseYet,
    OtherVersion,
    OwnerSilent,
    OwnerUnlocked,
    OwnerUnproven,
    folder_error,
)
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram, choose_program
from orderbook_desktop.storage.server.credentials import password_path, read_secret
from orderbook_desktop.storage.server.folder_claim import FolderClaim, ServerRecord
from orderbook_desktop.storage.server.local_server import LocalServer
from orderbook_desktop.storage.server.places import (
    USUAL_TRANSPORT,
    OldPlace,
    Place,
    SocketPlace,
    TlsPlace,
    Transport,
)
from orderbook_desktop.storage.server.readiness import child_dsn
from orderbook_desktop.storage.server.start_failures import until_moved_aside
from orderbook_desktop.storage.server.times import SERVER_TIMES, ServerTimes
from orderbook_desktop.system.attempts import Attempts, RetryWait
from orderbook_desktop.system.private_files import private_data_folder, private_folder
from orderbook_desktop.system.tasks import end_tasks

__all__ = ["DatabaseServer", "ServerKind", "ServerState", "redacted_dsn"]

log = logging.getLogger(__name__)

# After this many failures in its files, each soon after a start, the server is not started again
# if the damage is proven. A single failure may be in a part of the files that is rarely read.
_BREAKDOWNS_AT_MOST: Final = 3

_UNEXPECTED: Final = "The database server ended unexpectedly; it is starting again."


# Moves the recordings of the folder that another version wrote into files of the present version.
# It calls the second argument with a sentence about its progress, and returns one about the result,
# or nothing. Raises a `KnownError`; then the folder is as it was.
Move = Callable[[OtherVersion, Callable[[str], None]], Awaitable[str]]


class ServerState(Enum):
    """Whether the server can be used."""

    STARTING = "starting"
    READY = "ready"
    AWAY = "away"
    STOPPED = "stopped"


class DatabaseServer:
    """Provides a MongoDB server: the one at `mongo_dsn`, else a child, else another copy's.

    A child keeps its files, its log and the record for other copies in `data_dir/database`. It is
    restarted when it ends, in the same place if possible. It ends with this process, even if this
    process is killed. Only our own user can reach it. Nothing is sent to a listener before it has
    proven to be this child. If several copies of the program use one `data_dir`, the first of them
    runs the server; when that copy ends, another one takes over. A server at `mongo_dsn` is
    checked once, by `start()`, and not watched.

    Call `start()` and `close()` on the main thread, under asyncio or qasync: on Linux a child ends
    with the thread that started it. Always call `close()`, or use it as a context manager.
    """

    def __init__(
        self,
        data_dir: Path,
        mongo_dsn: str = "",
        *,
        program: ServerProgram | None = None,
        transport: Transport = USUAL_TRANSPORT,
        times: ServerTimes = SERVER_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        move: Move | None = None,
    ) -> None:
        """`program` is the server to start as a child; None: the one of `choose_program()`.

        `move` moves the recordings of a folder that another version wrote; None: such a folder is
        refused.
        """
        self._folder = data_dir / "database"
        self._dsn = mongo_dsn
        self._kind = ServerKind.DSN if mongo_dsn else ServerKind.SECANTUS
        self._program = program
        self._transport = transport
        self._times = times
        self._now = now
        self._now_ns = now_ns
        self._move = move
        self._claim: FolderClaim | None = None
        self._local: LocalServer | None = None
        self._joined: ServerRecord | None = None
        self._port = 0
        self._state = ServerState.STARTING
        self._detail = ""
        self._damage = ""
        self._moved = ""
        self._notified: tuple[ServerState, str, str] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self.retry = RetryWait()

    def __repr__(self) -> str:
        return (
            f"DatabaseServer({self._kind.value}, {redacted_dsn(self._dsn)!r}, {self._state.value})"
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def dsn(self) -> str:
        """The server's address. It may hold a password, so show only `redacted_dsn()` of it."""
        return self._dsn

    @property
    def kind(self) -> ServerKind:
        """The kind of server; for another copy's server, the kind of that copy's child."""
        return self._kind

    @property
    def owned(self) -> bool:
        """Whether the server is our own child."""
        return self._claim is not None and self._claim.held

    @property
    def state(self) -> ServerState:
        """Whether the server can be used. For a given DSN it is always READY after `start()`."""
        return self._state

    @property
    def state_detail(self) -> str:
        """One sentence about the state for the user, or empty."""
        return self._detail

    @property
    def pid(self) -> int | None:
        """The process id of the server, our child or another copy's; None if it isn't running."""
        if self._joined is not None:
            return self._joined.pid
        return self._local.pid if self._local is not None else None

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` in the event loop after each change of `state` or `dsn`.

        Returns a function that ends the subscription.
        """

        def unsubscribe() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        self._callbacks.append(callback)
        return unsubscribe

    async def start(self) -> None:
        """Provide the server, and return when it is ready.

        Raises a `KnownError` if that is impossible; then no process is left running.
        """
        if self._claim is not None or self._state is not ServerState.STARTING:
            raise BugError("a DatabaseServer is started once")
        try:
            if self._kind is ServerKind.DSN:
                await check_dsn(self._dsn, self._times.given_s)
                self._enter(ServerState.READY)
            else:
                await self._start_child_or_join()
        except BaseException:
            await self.close()
            raise

    async def reset_password(self) -> None:
        """Give the folder's database a new password; call it instead of `start()`.

        No other user can reach the server meanwhile, and only the password file holds the new
        password. Raises a `DatabaseError`, for example if a copy of the program uses the database.
        """
        try:
            is_there = self._folder.is_dir()
        except OSError as error:
            raise folder_error(self._folder, error) from error
        if not is_there:
            raise NoDatabaseYet(self._folder)
        claim = FolderClaim(self._folder)
        if not claim.acquire():
            record = claim.read()
            process = f" (process {record.owner_pid})" if record else ""
            raise DatabaseFolderBusy(self._folder, f"another copy of this program{process}")
        try:
            await self._new_local().reset_password()
        finally:
            claim.release()

    async def close(self) -> None:
        """Stop our child and return when it has ended. Another copy's server keeps running."""
        try:
            if self._keeper is not None:
                await end_tasks(self._keeper)
        finally:
            self._keeper = None
            await self._stop_ours()

    async def _stop_ours(self) -> None:
        try:
            if self._local is not None:
                await self._local.stop()
        finally:
            if self._claim is not None:
                self._claim.release()
            self._joined = None
            self._enter(ServerState.STOPPED)

    async def _start_child_or_join(self) -> None:
        try:
            private_data_folder(self._folder.parent)
            private_folder(self._folder)
        except OSError as error:
            raise folder_error(self._folder, error) from error
        self._claim = FolderClaim(self._folder)
        try:
            async with asyncio.timeout(self._times.start_s):
                while not self._claim.acquire():
                    refusal = await self._join(self._claim)
                    if refusal is None:
                        break
                    if isinstance(refusal, OwnerUnlocked):
                        raise refusal
                    self._enter(
                        ServerState.STARTING,
                        "Another copy of the program is starting the database; waiting for it.",
                    )
                    await asyncio.sleep(self._times.follow_s / 3)
        except TimeoutError:
            assert refusal is not None  # noqa: S101 - set by the join that was repeated
            raise refusal from None
        if self._claim.held:
            await self._launch(self._claim, self._claim.last_port)
        self._keeper = asyncio.create_task(self._keep(self._claim), name="database-keeper")
        self._keeper.add_done_callback(self._keeper_ended)

    async def _keep(self, claim: FolderClaim) -> None:
        """Use the owner's server while there is one; then run our own, until cancelled."""
        if not claim.held:
            await self._follow_until_owner(claim)
            self._joined = None
            self._enter(
                ServerState.AWAY,
                "The program that ran the database has ended; the database is starting again.",
            )
            await self._relaunch(claim, backoff_delays(first=0.1, cap=10.0))
        await self._keep_running(claim)

    async def _follow_until_owner(self, claim: FolderClaim) -> None:
        while True:
            refusal: DatabaseError | None
            try:
                if claim.acquire():
                    return
                refusal = await self._join(claim)
            except DatabaseError as error:
                # As on a full disk, which may have room again.
                refusal = error
            if refusal is not None:
                away = "The database, run by another copy of the program, is away; waiting for it."
                silent = isinstance(refusal, OwnerSilent)
                self._enter(ServerState.AWAY, away if silent else str(refusal))
            await asyncio.sleep(self._times.follow_s)

    async def _join(self, claim: FolderClaim) -> DatabaseError | None:
        """Use the owner's server; return None, or why that is impossible now."""
        record = claim.read()
        if record is None or record.pid is None:
            return OwnerSilent(self._folder, record.owner_pid if record else None)
        place = record.place(self._folder, self._times.listener_s)
        if not await place.is_listening():
            return OwnerSilent(self._folder, record.owner_pid)
        if not await place.is_trusted(record.pid):
            return OwnerUnproven(str(place), record.owner_pid)
        password = self._password(record.kind)
        if not password:
            return OwnerUnlocked(record.owner_pid)
        self._joined = record
        self._use(record.kind, place, password)
        self._enter(ServerState.READY)
        return None

    async def _keep_running(self, claim: FolderClaim) -> None:
        assert self._local is not None  # noqa: S101 - launched before
        delays = backoff_delays(first=0.1, cap=10.0)
        breakdowns = 0
        while True:
            ready_since = self._now()
            code = await self._local.wait()
            failure = self._local.failure()
            log.warning("the database server ended by itself (exit code %d)", code)
            self._enter(ServerState.AWAY, str(failure or _UNEXPECTED))
            ran_s = self._now() - ready_since
            if ran_s > self._times.stable_s:
                delays = backoff_delays(first=0.1, cap=10.0)
            if isinstance(failure, DamageSuspected):
                breakdowns = 1 if ran_s > self._times.sound_s else breakdowns + 1
                self._damage = str(failure)
                if breakdowns >= _BREAKDOWNS_AT_MOST:
                    verdict = await self._local.judged(failure)
                    self._enter(ServerState.AWAY, str(verdict))
                    if isinstance(verdict, DatabaseDamaged):
                        await self._until_moved_aside(verdict)
                        breakdowns = 0
            await self._relaunch(claim, delays)

    async def _relaunch(self, claim: FolderClaim, delays: Iterator[float]) -> None:
        def failed(error: KnownError, /, *, is_new: bool) -> None:
            if is_new:
                log.warning("the database server could not be started: %s", error)
            self._enter(ServerState.AWAY, str(error))

        async def pause(error: KnownError, delay_s: float) -> None:
            if isinstance(error, DatabaseDamaged):
                await self._until_moved_aside(error)
            await self.retry.wait(delay_s)

        await self.retry.wait(next(delays))
        await Attempts(KnownError, failed, delays, pause).until_it_works(
            lambda: self._launch(claim, self._port, self._times.port_s)
        )

    async def _until_moved_aside(self, damaged: DatabaseDamaged) -> None:
        """Wait without a server: on damaged files every start would fail again."""
        await until_moved_aside(damaged.folder, self._times.moved_look_s)
        self._damage = ""

    async def _launch(
        self, claim: FolderClaim, wanted_port: int, port_patience_s: float = 0.0
    ) -> None:
        if self._local is None:
            self._local = self._new_local()
        kind = self._local.program.kind
        try:
            place = await self._local.launch(wanted_port, port_patience_s)
        except OtherVersion as error:
            if self._move is None or kind is not ServerKind.SECANTUS:
                raise
            self._moved = await self._move(error, partial(self._enter, ServerState.STARTING))
            place = await self._local.launch(wanted_port, port_patience_s)
        claim.publish(
            ServerRecord(
                socket=str(place.path) if isinstance(place, SocketPlace) else "",
                tls_port=place.port if isinstance(place, TlsPlace) else 0,
                kind=kind,
                pid=self._local.pid,
                owner_pid=os.getpid(),
                started_ms=self._now_ns() // 1_000_000,
            )
        )
        self._use(kind, place, self._password(kind))
        notice = self._damage or self._local.moved or self._moved
        notice = notice or self._recordings_elsewhere(kind)
        self._enter(ServerState.READY, notice)

    def _new_local(self) -> LocalServer:
        program = self._program or choose_program()
        return LocalServer(
            program, self._folder / program.kind.value, self._transport, self._times, self._now
        )

    def _password(self, kind: ServerKind) -> str:
        """Return the password of the server; empty if there is none."""
        try:
            return read_secret(password_path(self._folder / kind.value))
        except OSError as error:
            raise folder_error(self._folder, error) from error

    def _use(self, kind: ServerKind, place: Place | OldPlace, password: str) -> None:
        self._kind = kind
        self._port = place.port if isinstance(place, TlsPlace) else 0
        self._dsn = child_dsn(place, password)

    def _recordings_elsewhere(self, kind: ServerKind) -> str:
        """Return a notice if this folder also holds a database of the other kind of server."""
        other = ServerKind.SECANTUS if kind is ServerKind.MONGOD else ServerKind.MONGOD
        folder = self._folder / other.value
        if not folder.is_dir() or not any(folder.iterdir()):
            return ""
        return (
            f"Earlier recordings, made with another database server, are in {folder} and are "
            "not shown."
        )

    def _enter(self, state: ServerState, detail: str = "") -> None:
        now = (state, detail, self._dsn)
        if now == self._notified:
            return
        self._notified = now
        self._state = state
        self._detail = detail
        log.info("database %s at %s %s", state.value, redacted_dsn(self._dsn) or "-", detail)
        for callback in list(self._callbacks):
            callback()

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled() or (error := keeper.exception()) is None:
            return
        log.error("the database server is not watched any more", exc_info=error)
        self._enter(
            ServerState.AWAY,
            str(error) if isinstance(error, KnownError) else "Please restart the program.",
        )
