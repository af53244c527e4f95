"""The only user of our database server: its password, and how the user is created.

Every user of a computer can reach its ports on 127.0.0.1, so the server asks for a password. It
is made once. It never appears on a command line, in the environment or in a log.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.system.private_files import private_file, write_private

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient


# The only user of the server, in its database `admin`.
USER: Final = "orderbook"

# Digits that need no escaping anywhere: in a DSN, or in a mongod's key.
_SECRET: Final = re.compile(r"[0-9a-f]{64}")

# MongoDB's codes of Unauthorized and AuthenticationFailed.
_REFUSALS: Final = (13, 18)
# MongoDB's code for a user that exists, and the code that older versions use.
_USER_EXISTS: Final = (51_003, 11_000)


def password_path(folder: Path) -> Path:
    """Return the file with the password of the server whose files are in `folder`."""
    return folder.with_suffix(".password")


def key_path(folder: Path) -> Path:
    """Return the file with the key that the members of a mongod's replica set share."""
    return folder.with_suffix(".key")


def read_secret(path: Path) -> str:
    """Return the secret in `path`; empty if there is none. Raises `OSError`."""
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return text if _SECRET.fullmatch(text) else ""


def keep_secret(path: Path) -> str:
    """Return the secret in `path`; write a new one if there is none. Raises `OSError`."""
    secret = read_secret(path)
    if not secret:
        return new_secret(path)
    private_file(path)
    return secret


def new_secret(path: Path) -> str:
    """Make a new secret, write it to `path`, and return it. Raises `OSError`."""
    secret = secrets.token_hex(32)
    write_private(path, secret + "\n")
    return secret


def is_refusal(error: BaseException) -> bool:
    """Whether the driver's `error` says that the server doesn't know our user or password."""
    return getattr(error, "code", None) in _REFUSALS


async def admit_first(client: AsyncIOMotorClient[dict[str, Any]], password: str) -> None:
    """Create our user on a locked server without users, which allows that from its own computer.

    Raises the driver's `PyMongoError`. It is a refusal if the server has users.
    """
    await client.admin.command({"createUser": USER, "pwd": password, "roles": ["root"]})


async def admit_again(client: AsyncIOMotorClient[dict[str, Any]], password: str) -> None:
    """Set the password of our user, on a server without authentication.

    Raises the driver's `PyMongoError`.
    """
    from pymongo.errors import OperationFailure  # noqa: PLC0415 - not at the window's start

    try:
        await admit_first(client, password)
    except OperationFailure as error:
        if error.code not in _USER_EXISTS:
            raise
        await client.admin.command({"updateUser": USER, "pwd": password, "roles": ["root"]})
