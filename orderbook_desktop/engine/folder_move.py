"""Moves all recordings from a folder of another SecantusDB into files of the present one.

The other server opens the folder once, and each recording is packed as a file. The present server
gets them all in a new folder, and proves them. Then the new folder takes the place of the old one,
which is removed if all recordings hold, and kept otherwise. Until then the old folder stays as it
was, so that a failure or a kill costs nothing but time.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct

from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.formats.packed_file import PackedFile
from orderbook_desktop.storage.errors import OtherVersion, folder_error
from orderbook_desktop.storage.exports.exporting import NothingRecorded
from orderbook_desktop.storage.exports.packed_file import PackJob, pack
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.imports.unpacking import unpack
from orderbook_desktop.storage.server.choice import ServerProgram, choose_program
from orderbook_desktop.storage.server.credentials import password_path
from orderbook_desktop.storage.server.local_server import LocalServer
from orderbook_desktop.storage.server.readiness import child_dsn
from orderbook_desktop.storage.server.server_versions import SECANTUS_VERSION, swap
from orderbook_desktop.storage.store.database import Database, database_names
from orderbook_desktop.storage.store.packed_store import PackedStore
from orderbook_desktop.storage.store.segments import named_markets
from orderbook_desktop.storage.verification.verification import verify
from orderbook_desktop.system.private_files import private_folder
from orderbook_desktop.system.tasks import in_thread

_log = logging.getLogger(__name__)

Tell = Callable[[str], None]


class _Packed(Struct, frozen=True):
    """The recording of `market` in the database `name`, packed as a file."""

    name: str
    market: str
    path: Path


class FolderMove:
    """One move, with the server `program` of the other version; `home` is its working folder.

    `await run()`; it returns what to tell about the result, and raises a `KnownError`.
    """

    def __init__(self, other: OtherVersion, home: Path, program: ServerProgram, tell: Tell) -> None:
        self._old = other.folder
        self._version = other.version or "old"
        self._home = home
        self._program = program
        self._tell = tell
        self._faults: list[str] = []

    async def run(self) -> str:
        """Move the recordings."""
        new = self._home / self._old.name
        with driver_failures_raised():
            packed = await self._pack()
            try:
                await in_thread(self._make_room, new)
            except OSError as error:
                raise folder_error(self._old, error) from error
            async with _served(choose_program(), new) as dsn:
                for part in packed:
                    await self._unpack(dsn, part)
        kept = self._old.with_name(f"{self._old.name}-{self._version}")
        try:
            await in_thread(self._replace, new, kept)
        except OSError as error:
            raise folder_error(self._old, error) from error
        _log.info("moved %d recordings to SecantusDB %s", len(packed), SECANTUS_VERSION)
        if not self._faults:
            return ""
        return (
            f"The recordings were moved to the database's new version; {self._faults[0]} The old "
            f"files are kept in {kept}."
        )

    def _make_room(self, new: Path) -> None:
        """Remove what an earlier attempt left, and give the new server the old one's password."""
        shutil.rmtree(new, ignore_errors=True)
        private_folder(new)
        shutil.copyfile(password_path(self._old), password_path(new))
        password_path(new).chmod(0o600)

    def _replace(self, new: Path, kept: Path) -> None:
        shutil.rmtree(kept, ignore_errors=True)
        swap(self._old, new, kept, (self._home,) if self._faults else (self._home, kept))

    async def _pack(self) -> list[_Packed]:
        """Pack each recording of the old folder as a file."""
        packed: list[_Packed] = []
        async with _served(self._program, self._old) as dsn:
            for name in await database_names(dsn):
                async with _opened(dsn, name) as database:
                    markets = (
                        await named_markets(database) if await database.has_recordings() else ()
                    )
                    for market in markets:
                        path = self._home / f"{len(packed)}.obd"
                        if await self._is_packed(database, market, path):
                            packed.append(_Packed(name, market, path))
        return packed

    async def _is_packed(self, database: Database, market: str, path: Path) -> bool:
        """Pack a recording; return whether there is anything of it."""
        job = PackJob({market: split_symbol(market)[0]}, path, replace=True)
        try:
            await pack(database, job, self._progress("packing"))
        except NothingRecorded:
            return False
        return True

    async def _unpack(self, dsn: str, part: _Packed) -> None:
        """Unpack a recording, and prove it."""
        market = part.market
        unpacking, verifying = self._progress("unpacking"), self._progress("verifying")
        file = await in_thread(PackedFile, part.path)
        try:
            async with _opened(dsn, part.name) as database:
                await unpack(database, PackedStore(file), lambda _, *done: unpacking(market, *done))
                show = partial(verifying, market)
                proven = await verify(database, market, progress=show)
        finally:
            file.close()
        if not proven.holds:
            _log.error("a recording was moved, but does not hold: %s", proven.fault)
            self._faults.append(f"`verify` finds a fault in {split_symbol(market)[0]}.")

    def _progress(self, doing: str) -> Callable[[str, int, int], None]:
        """Return a function that tells how far a market has come, from any thread."""
        loop, told = asyncio.get_running_loop(), ""

        def show(market: str, done: int, total: int) -> None:
            nonlocal told
            tenths = 10 * done // max(1, total)
            text = (
                "The recordings move to files of the database's new version, which takes a while: "
                f"{doing} {split_symbol(market)[0]}, {10 * tenths} %."
            )
            if text != told:
                told = text
                loop.call_soon_threadsafe(self._tell, text)

        return show


@asynccontextmanager
async def _served(program: ServerProgram, folder: Path) -> AsyncIterator[str]:
    """Serve `folder` by `program` meanwhile; give the address."""
    server = LocalServer(program, folder)
    try:
        place = await server.launch()
        yield child_dsn(place, password_path(folder).read_text("ascii").strip())
    finally:
        await server.stop()


@asynccontextmanager
async def _opened(dsn: str, name: str) -> AsyncIterator[Database]:
    database = Database(name)
    database.connect(dsn)
    try:
        yield database
    finally:
        database.close()
