"""The database of a command, the same that `record` uses, open while the command runs."""

from __future__ import annotations

import asyncio
import importlib
import logging
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import typer

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.engine.other_version import move_recordings
from orderbook_desktop.storage.errors import folder_error
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState, redacted_dsn
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.patient_database import PatientDatabase

_log = logging.getLogger(__name__)

_CLOSE_WITHIN_S: Final = 0.4


class NoRecordings(KnownError):
    """There is no recording in `place`, the data folder or the database of the settings."""

    place: str

    def __str__(self) -> str:
        return f"Nothing is recorded in {self.place}; record something first, or look elsewhere."


@asynccontextmanager
async def open_database(settings: Settings, *, existing: bool = True) -> AsyncIterator[Database]:
    """Give a connected database, in the server of `MONGO_DSN` or in the program's own server.

    With `existing` the database is for reading: nothing is created, `NoRecordings` is raised if
    nothing was ever recorded, and a read goes on if another copy of the program takes over the
    server. Without `existing` the caller may have to `prepare()` the database.

    Raises the `KnownError` why there is no database; within the context the driver's errors
    become `DatabaseFailed`. Enter it in the main thread, or in a thread that lives as long as
    the program.
    """
    if existing and not settings.mongo_dsn:
        _check_folder(settings.data_dir)
    server = DatabaseServer(settings.data_dir, settings.mongo_dsn, move=move_recordings)
    reading = PatientDatabase(settings.db_name) if existing else None
    database = reading or Database(settings.db_name)

    def connect() -> None:
        if server.state is ServerState.READY:
            database.connect(server.dsn)

    try:
        await asyncio.to_thread(importlib.import_module, "motor.motor_asyncio")
        tell_no_more = server.subscribe(partial(_tell_state, server))
        await server.start()
        tell_no_more()
        connect()
        # The server may move: another copy of the program can take it over.
        server.subscribe(connect)
        with driver_failures_raised():
            if reading is not None:
                await _check_recorded(reading, settings)
            yield database
        database.close()
        await server.close()
    except BaseException:
        # A person who has pressed Ctrl-C may be waiting for the end.
        database.close()
        await close_within(server, _CLOSE_WITHIN_S)
        raise


def _tell_state(server: DatabaseServer) -> None:
    if server.state_detail:
        typer.echo(f"orderbook-desktop: {server.state_detail}", err=True)


def _check_folder(folder: Path) -> None:
    """Raise the `KnownError` why the data folder `folder` can't hold a recording, if it can't."""
    database = folder / "database"
    try:
        is_there = stat.S_ISDIR(database.stat().st_mode)
    except FileNotFoundError:
        is_there = False
    except OSError as error:  # For example a file in the place of the folder.
        raise folder_error(database, error) from error
    if not is_there:
        raise NoRecordings(f"the folder {folder}")


async def _check_recorded(database: PatientDatabase, settings: Settings) -> None:
    if not await database.patiently(database.has_recordings):
        raise NoRecordings(place_of(settings))


async def close_within(server: DatabaseServer, within_s: float) -> None:
    """Close `server`; kill it after `within_s`. A killed server loses nothing."""
    try:
        async with asyncio.timeout(within_s):
            await server.close()
    except TimeoutError:
        _log.warning("the database server did not end within %.1f s", within_s)


def place_of(settings: Settings) -> str:
    """Return the name of the settings' database and of its server or folder, for a person."""
    where = redacted_dsn(settings.mongo_dsn) if settings.mongo_dsn else str(settings.data_dir)
    return f"the database {settings.db_name} at {where}"
