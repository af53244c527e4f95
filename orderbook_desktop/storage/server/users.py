"""The one user of a mongod of ours; `secantus_child` makes that of a SecantusDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.storage.server.credentials import USER

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

# MongoDB's codes of Unauthorized and AuthenticationFailed.
_REFUSALS: Final = (13, 18)
# That of MongoDB, and what was there before it.
_USER_EXISTS: Final = (51_003, 11_000)


def is_refusal(error: BaseException) -> bool:
    """Whether the driver's `error` says that the server doesn't know our user or password."""
    return getattr(error, "code", None) in _REFUSALS


async def admit_first(client: AsyncIOMotorClient[dict[str, Any]], password: str) -> None:
    """Make our user of a locked server that has none, which it allows to who is on its computer.

    Raises the driver's `PyMongoError`; it is a refusal where there are users.
    """
    await client.admin.command({"createUser": USER, "pwd": password, "roles": ["root"]})


async def admit_again(client: AsyncIOMotorClient[dict[str, Any]], password: str) -> None:
    """Give our user `password`, on a server that asks nobody who he is.

    Raises the driver's `PyMongoError`.
    """
    from pymongo.errors import OperationFailure  # noqa: PLC0415 - not at the window's start

    try:
        await admit_first(client, password)
    except OperationFailure as error:
        if error.code not in _USER_EXISTS:
            raise
        await client.admin.command({"updateUser": USER, "pwd": password, "roles": ["root"]})
