"""The MongoDB that this computer has, if any: the one at `MONGO_DSN`, else a `mongod` to start."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.system.ports import is_listening, private_port
from tests.storage.recording_fixtures import server_in

# Looked up before the tests' isolation takes the settings away.
DSN: Final = os.environ.get("MONGO_DSN", "")
MONGOD: Final = shutil.which("mongod")

needs_mongodb = pytest.mark.skipif(
    not (DSN or MONGOD), reason="there is no MongoDB: no MONGO_DSN, no mongod on the PATH"
)
needs_mongod = pytest.mark.skipif(MONGOD is None, reason="there is no mongod on the PATH")


@contextmanager
def a_replica_set(folder: Path) -> Iterator[str]:
    """Give the address of a replica set: the one there is, else one of our own in `folder`.

    Without a MongoDB it is the program's own database.
    """
    if DSN:
        yield DSN
        return
    with server_in(folder) as server:
        yield server.dsn


@asynccontextmanager
async def a_standalone(folder: Path) -> AsyncIterator[str]:
    """Give the address of a `mongod` that was started without a replica set."""
    assert MONGOD is not None
    port = private_port()
    arguments = ("--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(folder))
    process = await asyncio.create_subprocess_exec(
        MONGOD, *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not await is_listening(port):
                await asyncio.sleep(0.05)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def a_name() -> str:
    """Return an unused name for a database."""
    return f"orderbook_test_{secrets.token_hex(6)}"


@asynccontextmanager
async def client_of(dsn: str) -> AsyncIterator[AsyncIOMotorClient[dict[str, Any]]]:
    """Give a client, and close it."""
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(dsn)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def a_database(dsn: str, name: str) -> AsyncIterator[Database]:
    """Give a connected database."""
    database = Database(name)
    database.connect(dsn)
    try:
        yield database
    finally:
        database.close()


async def drop(dsn: str, name: str) -> None:
    """Remove a test's database, with its users, from a server that outlives the test."""
    async with client_of(dsn) as client:
        await client[name].command("dropAllUsersFromDatabase")
        await client.drop_database(name)


def as_user(dsn: str, name: str, password: str, database: str) -> str:
    """Return `dsn` for a user who was made in `database`."""
    known = re.sub(r"^([a-z+]+://)(?:[^/@]*@)?", rf"\1{name}:{password}@", dsn)
    path, _, options = known.partition("?")
    path = path if path.count("/") > 2 else f"{path}/"
    return f"{path}?{options}{'&' if options else ''}authSource={database}"
