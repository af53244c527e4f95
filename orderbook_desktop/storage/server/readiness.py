"""Waits until a child server accepts writes; makes a new mongod a replica set."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
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


# Runs a command in the server's `admin` database, and returns the answer. Raises the driver's
# `PyMongoError`.
AdminCommand = Callable[[str | dict[str, Any]], Awaitable[Mapping[str, Any]]]


def child_dsn(place: Place | OldPlace, password: str = "") -> str:
    """Return the address of a child server, with the `password` if one is given.

    The connection is direct, since the server is the only member of its replica set. Retryable
    writes are off: for them a SecantusDB keeps every answer of the last half hour, and searches all
    of these at each command. The callers repeat failed writes (`storage.failures`).
    """
    user = f"{USER}:{password}@" if password else ""
    options = {"directConnection": "true", "retryWrites": "false", **place.options}
    return f"mongodb://{user}{place.host}/?{urlencode(options)}"


@asynccontextmanager
async def ready_server(
    place: Place, kind: ServerKind, child_pid: int, password: str = ""
) -> AsyncIterator[AsyncIOMotorClient[dict[str, Any]]]:
    """Wait until the child at `place` is a primary; initiate its replica set if necessary.

    Yields a client of it, logged in as our user if a `password` is given. Sends nothing to another
    process that listens there. Waits without limit; the caller sets one. Raises the driver's
    `PyMongoError`, and `PlaceTaken`.
    """
    # In a thread: neither the import nor the import lock may block the event loop.
    await asyncio.to_thread(importlib.import_module, "motor.motor_asyncio")
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - 0.2 s, not at start

    # The driver's own attempts are half a second apart, and a start takes no longer than that.
    while not await place.answers(child_pid):  # noqa: ASYNC110 - no process sets an event
        await asyncio.sleep(_POLL_S)
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(child_dsn(place, password))
    try:
        await become_primary(client.admin.command, place.member)
        if kind is ServerKind.MONGOD:
            await _stop_promptly(client.admin.command)
        yield client
    finally:
        client.close()


async def become_primary(command: AdminCommand, member: str) -> None:
    """Wait until the server accepts writes; initiate its replica set, or change its address."""
    settled = False
    while not await _is_primary(command):
        settled = settled or await _settle(command, member)
        await asyncio.sleep(_POLL_S)


async def _is_primary(command: AdminCommand) -> bool:
    from pymongo.errors import AutoReconnect  # noqa: PLC0415

    try:
        return bool((await command("hello")).get("isWritablePrimary"))
    except AutoReconnect as error:
        # An election closes connections.
        log.debug("hello: %s", error)
        return False


async def _settle(command: AdminCommand, member: str) -> bool:
    """Make the server the only member of its replica set; return whether that is done."""
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    try:
        await command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            await _initiate(command, member)
        elif error.code == _INVALID_REPLICA_SET_CONFIG:
            await _move(command, member)
        elif error.code == _UNAUTHORIZED:
            raise
        else:
            log.debug("replSetGetStatus: %s", error)
            return False
    return True


async def _initiate(command: AdminCommand, member: str) -> None:
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        await command({"replSetInitiate": config})
    except OperationFailure as error:
        # It was initiated in an earlier run, and has just read that from its files.
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _move(command: AdminCommand, member: str) -> None:
    """Replace the address of an earlier run in the configuration by `member`."""
    config = dict((await command("replSetGetConfig"))["config"])
    config["members"] = [dict(config["members"][0], host=member)]
    config["version"] += 1
    await command({"replSetReconfig": config, "force": True})
    log.info("the replica set of the database was moved to %s", member)


async def _stop_promptly(command: AdminCommand) -> None:
    """Turn off the 15 s for which a primary that is stopped waits for a successor."""
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    try:
        await command({"setParameter": 1, "shutdownTimeoutMillisForSignaledShutdown": 100})
    except OperationFailure as error:
        log.debug("this mongod knows no such parameter: %s", error)
