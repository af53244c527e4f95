"""Waiting until a child server takes writes, and making a fresh mongod a replica set."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

from orderbook_desktop.storage.server.choice import REPLICA_SET, ServerKind
from orderbook_desktop.storage.server.credentials import USER
from orderbook_desktop.storage.server.places import OldPlace, Place

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

log = logging.getLogger(__name__)

_POLL_S: Final = 0.02

# MongoDB's error codes by their names.
_UNAUTHORIZED: Final = 13
_ALREADY_INITIALIZED: Final = 23
_INVALID_REPLICA_SET_CONFIG: Final = 93
_NOT_YET_INITIALIZED: Final = 94


class AdminDatabase(Protocol):
    """The part of the driver's `admin` database that is needed here."""

    async def command(self, command: str | dict[str, Any], /) -> Mapping[str, Any]:
        """Run `command` and return the answer. Raises the driver's `PyMongoError`."""
        ...


def child_dsn(place: Place | OldPlace, password: str = "") -> str:
    """Return the address of a child server, which holds the `password` where one is given.

    It is direct, since the server is its replica set's only member. The driver repeats no write:
    for that a SecantusDB keeps every answer of the last half hour, and goes through all of them at
    each command. The code that writes repeats it (`storage.failures`).
    """
    who = f"{USER}:{password}@" if password else ""
    options = {"directConnection": "true", "retryWrites": "false", **place.options}
    return f"mongodb://{who}{place.host}/?{urlencode(options)}"


@asynccontextmanager
async def ready_server(
    place: Place, kind: ServerKind, child_pid: int, password: str = ""
) -> AsyncIterator[AsyncIOMotorClient[dict[str, Any]]]:
    """Wait until the child at `place` is a primary, initiating its replica set if need be.

    Nothing is said to any other process that listens there. Gives a client of it, as our user
    if a `password` is given. Waits for ever; the caller sets the limit. Raises the driver's
    `PyMongoError`, and `PlaceTaken`.
    """
    # The loop must not wait for the import, nor for the lock of one that goes on.
    await asyncio.to_thread(importlib.import_module, "motor.motor_asyncio")
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - 0.2 s, not at start

    # The driver's own attempts are half a second apart, which is as long as the start takes.
    while not await place.answers(child_pid):  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(_POLL_S)
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(child_dsn(place, password))
    try:
        await become_primary(client.admin, place.member)
        if kind is ServerKind.MONGOD:
            await _stop_promptly(client.admin)
        yield client
    finally:
        client.close()


async def become_primary(admin: AdminDatabase, member: str) -> None:
    """Wait until the server takes writes; initiate its replica set, or tell it its new address."""
    settled = False
    while not await _is_primary(admin):
        settled = settled or await _settle(admin, member)
        await asyncio.sleep(_POLL_S)


async def _is_primary(admin: AdminDatabase) -> bool:
    from pymongo.errors import AutoReconnect  # noqa: PLC0415

    try:
        return bool((await admin.command("hello")).get("isWritablePrimary"))
    except AutoReconnect as error:
        # An election closes connections.
        log.debug("hello: %s", error)
        return False


async def _settle(admin: AdminDatabase, member: str) -> bool:
    """Give the replica set its one member; return whether nothing is left to be done."""
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    try:
        await admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            await _initiate(admin, member)
        elif error.code == _INVALID_REPLICA_SET_CONFIG:
            await _move(admin, member)
        elif error.code == _UNAUTHORIZED:
            raise
        else:
            log.debug("replSetGetStatus: %s", error)
            return False
    return True


async def _initiate(admin: AdminDatabase, member: str) -> None:
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        await admin.command({"replSetInitiate": config})
    except OperationFailure as error:
        # It was initiated before, and has only now read that from its files.
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _move(admin: AdminDatabase, member: str) -> None:
    """Put `member` into a configuration that holds the address of an earlier run."""
    config = dict((await admin.command("replSetGetConfig"))["config"])
    config["members"] = [dict(config["members"][0], host=member)]
    config["version"] += 1
    await admin.command({"replSetReconfig": config, "force": True})
    log.info("the replica set of the database was moved to %s", member)


async def _stop_promptly(admin: AdminDatabase) -> None:
    """Spare the 15 s that a primary waits for a successor when it is told to end."""
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    try:
        await admin.command({"setParameter": 1, "shutdownTimeoutMillisForSignaledShutdown": 100})
    except OperationFailure as error:
        log.debug("this mongod knows no such parameter: %s", error)
