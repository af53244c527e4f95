"""The one user of a database server of ours: its password, made once, and how it is admitted.

Every user of a computer can reach its ports on 127.0.0.1, so the server lets nobody in
without it. It goes from here into the server over its socket: never onto a command line, into
the environment, or into a log.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.system.private_files import private_file, write_private

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient


# The one user of such a server, in its database `admin`.
USER: Final = "orderbook"

# Digits that need no escaping anywhere: in a DSN, or in a mongod's key.
_SECRET: Final = re.compile(r"[0-9a-f]{64}")

# MongoDB's codes of Unauthorized and AuthenticationFailed.
_REFUSALS: Final = (13, 18)
# That of MongoDB, and what was there before it.
_USER_EXISTS: Final = (51_003, 11_000)


def password_path(folder: Path) -> Path:
    """Return the file with the password of the server whose files are in `folder`."""
    return folder.with_suffix(".password")


def key_path(folder: Path) -> Path:
    """Return the file with the key that a mongod's replica set asks of its members."""
    return folder.with_suffix(".key")


def read_secret(path: Path) -> str:
    """Return what is kept in `path`; empty where there is no secret. Raises `OSError`."""
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return text if _SECRET.fullmatch(text) else ""


def keep_secret(path: Path) -> str:
    """Return what is kept in `path`, made up now where that is nothing. Raises `OSError`."""
    secret = read_secret(path)
    if not secret:
        return new_secret(path)
    private_file(path)
    return secret


def new_secret(path: Path) -> str:
    """Return a secret that nobody has seen yet, and keep it in `path`. Raises `OSError`."""
    secret = secrets.token_hex(32)
    write_private(path, secret + "\n")
    return secret


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
