"""Who may use a child server: one user, whose password we know, and nobody else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.storage.server.credentials import USER

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

log = logging.getLogger(__name__)

_AUTHENTICATION_FAILED: Final = 18
# That of MongoDB, and what was there before it.
_USER_EXISTS: Final = (51_003, 11_000)
_SERVERS_OWN: Final = ("admin", "config", "local")


def is_refusal(error: BaseException) -> bool:
    """Whether the driver's `error` says that the server doesn't know our user or password."""
    return getattr(error, "code", None) == _AUTHENTICATION_FAILED


async def admit(client: AsyncIOMotorClient[dict[str, Any]], password: str) -> None:
    """Make our user of a server that asks nobody who he is, or give him `password` again.

    Raises the driver's `PyMongoError`.
    """
    from pymongo.errors import OperationFailure  # noqa: PLC0415 - not at the window's start

    roles = {"pwd": password, "roles": ["root"]}
    try:
        await client.admin.command({"createUser": USER, **roles})
    except OperationFailure as error:
        if error.code not in _USER_EXISTS:
            raise
        await client.admin.command({"updateUser": USER, **roles})


async def remove_strange(client: AsyncIOMotorClient[dict[str, Any]], *, everything: bool) -> None:
    """Remove what somebody may have put there in the moment in which all were let in.

    That is every user but ours, and with `everything` also every database: there can be none
    yet. Raises the driver's `PyMongoError`.
    """
    async for other in client.admin["system.users"].find({}, {"user": 1, "db": 1}):
        if (other["db"], other["user"]) != ("admin", USER):
            log.warning("user %s of database %s is not ours: removed", other["user"], other["db"])
            await client[other["db"]].command({"dropUser": other["user"]})
    for name in await client.list_database_names() if everything else ():
        if name not in _SERVERS_OWN:
            log.warning("database %s is not ours: removed", name)
            await client.drop_database(name)
