"""Only its server gets the password of a `MONGO_DSN`; no failure shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.system.ports import private_port
from tests.faults.program import Program, running
from tests.storage.fake_mongo import error, hello, serving

MARKER = "S3cretMarker"

STRANDED = {
    "ENV": "development",
    "ORDERBOOK_REST_URL": "http://127.0.0.1:1",
    "ORDERBOOK_WS_URL": "ws://127.0.0.1:1",
}

Dsn = Callable[[], AbstractAsyncContextManager[str]]


def given(dsn: str) -> Dsn:
    @asynccontextmanager
    async def address() -> AsyncIterator[str]:
        yield dsn.format(free=private_port())

    return address


def answering(hello_answer: dict[str, Any], otherwise: dict[str, Any]) -> Dsn:
    @asynccontextmanager
    async def address() -> AsyncIterator[str]:
        async with serving(
            lambda name, _command: hello_answer if name == "hello" else otherwise
        ) as port:
            yield f"mongodb://me:{MARKER}@127.0.0.1:{port}/?directConnection=true"

    return address


REPLICA_SET = hello(setName="rs0", isWritablePrimary=True)
REFUSED = error(18, "Authentication failed.")
CASES: dict[str, Dsn] = {
    "wrong password": answering(REPLICA_SET, REFUSED),
    "not allowed": answering(REPLICA_SET, error(13, "not authorized")),
    "standalone": answering(hello(isWritablePrimary=True), REFUSED),
    "uninitiated": answering(hello(isreplicaset=True), REFUSED),
    "unreachable": given(f"mongodb://me:{MARKER}@127.0.0.1:{{free}}/"),
    "bad port": given(f"mongodb://me:{MARKER}@127.0.0.1:port/"),
    "unescaped": given(f"mongodb://me:p@ss/{MARKER}@127.0.0.1:{{free}}/"),
    "unescaped first": given(f"mongodb://me:{MARKER}/x?y@127.0.0.1:{{free}}/"),
    "user only": given(f"mongodb://{MARKER}@127.0.0.1:{{free}}/"),
    "no scheme": given(f"me:{MARKER}@127.0.0.1:{{free}}"),
    "in an option": given(
        f"mongodb://127.0.0.1:{{free}}/?tls=true&tlsCertificateKeyFilePassword={MARKER}"
    ),
    "bad option": given(f"mongodb://me:{MARKER}@127.0.0.1:{{free}}/?w=-3&maxPoolSize=none"),
    "empty host": given(f"mongodb://me:{MARKER}@"),
}


def look_for_marker(program: Program, data_dir: Path) -> None:
    assert program.said, "it said nothing at all"
    assert MARKER not in program.said
    for path in data_dir.rglob("*"):
        if path.is_file():
            assert MARKER.encode() not in path.read_bytes(), path


async def fail(case: str, command: list[str], data_dir: Path) -> None:
    async with (
        CASES[case]() as dsn,
        running(data_dir, *command, variables={**STRANDED, "MONGO_DSN": dsn}) as program,
    ):
        assert await program.until_ended() == 1, f"{case}: {program.said}"
    assert "MONGO_DSN" in program.said or "database" in program.said, f"{case}: {program.said}"
    look_for_marker(program, data_dir)


@pytest.mark.parametrize("command", ["record BTC/USDT", "doctor --json", "verify BTC/USDT"])
async def test_no_failure_shows_it(tmp_path: Path, command: str) -> None:
    # At once, since they mostly wait for an answer.
    async with asyncio.TaskGroup() as group:
        for number, case in enumerate(CASES):
            group.create_task(fail(case, command.split(), tmp_path / str(number)))


async def test_nor_does_the_window(tmp_path: Path) -> None:
    async with (
        CASES["wrong password"]() as dsn,
        running(tmp_path, variables={**STRANDED, "MONGO_DSN": dsn}) as program,
    ):
        await program.until_said("refused the user name or password")
        assert await program.end() == 0
    look_for_marker(program, tmp_path)


async def test_nor_does_a_recording_that_is_locked_out(tmp_path: Path) -> None:
    """The server is ours to play with: it knows the user, then forgets him, then is gone."""
    async with DatabaseServer(tmp_path / "theirs") as server:
        admin: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(server.dsn)
        await admin.admin.command({"createUser": "me", "pwd": MARKER, "roles": ["root"]})
        address = server.dsn.partition("@")[2]
        async with LocalExchange(SyntheticSource(seed=7)) as exchange:
            variables = {
                **STRANDED,
                "MONGO_DSN": f"mongodb://me:{MARKER}@{address}",
                "ORDERBOOK_REST_URL": exchange.rest_url,
                "ORDERBOOK_WS_URL": exchange.ws_url,
            }
            arguments = ("record", "BTC/USDT")
            async with running(tmp_path / "ours", *arguments, variables=variables) as program:
                await program.until_said("BTC/USDT: synced\n")
                await admin.admin.command({"dropUser": "me"})
                admin.close()
                await server.close()
                await program.until_said("can't be reached")
                async with DatabaseServer(tmp_path / "theirs") as again:
                    assert again.dsn.partition("@")[2] == address
                    await program.until_said("AuthenticationFailed")
                    await program.end()
    look_for_marker(program, tmp_path / "ours")
