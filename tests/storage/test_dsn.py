from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from orderbook_desktop.storage import dsn as dsn_module
from orderbook_desktop.storage.dsn import check_dsn, redacted_dsn
from orderbook_desktop.storage.errors import (
    BadCredentials,
    BadDsn,
    DatabaseUnreachable,
    StandaloneServer,
    UninitiatedReplicaSet,
)
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.storage.server.places import OldPlace
from orderbook_desktop.storage.server.readiness import child_dsn
from orderbook_desktop.storage.server.server import DatabaseServer
from tests.storage.fake_mongo import Answer, Document, error, hello, serving

SECRET = "hunter2"
REPLICA_SET = hello(setName="rs0", isWritablePrimary=True)


def server(hello_answer: Document, otherwise: Document) -> Answer:
    """Return a server with this answer to `hello`, and that answer to all other commands."""
    return lambda name, _command: hello_answer if name == "hello" else otherwise


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("mongodb://127.0.0.1:27017/?replicaSet=rs0", "mongodb://127.0.0.1:27017/?replicaSet=rs0"),
        (f"mongodb://me:{SECRET}@h:1/db", "mongodb://***@h:1/db"),
        (f"mongodb+srv://me:{SECRET}@h.example", "mongodb+srv://***@h.example"),
        (f"mongodb://me:{SECRET}@h1:1,h2:2/?w=1", "mongodb://***@h1:1,h2:2/?w=1"),
        # Unescaped, as people paste them.
        (f"mongodb://me:a@{SECRET}@h", "mongodb://***@h"),
        (f"mongodb://me:a/b?{SECRET}@h", "mongodb://***@h"),
        (f"me:{SECRET}@h", "***@h"),
        (
            f"mongodb://h/?tlsCertificateKeyFilePassword={SECRET}&tls=true",
            "mongodb://h/?tlsCertificateKeyFilePassword=***&tls=true",
        ),
        (
            f"mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:{SECRET}",
            "mongodb://h/?authMechanismProperties=***",
        ),
        (
            f"mongodb://me:{SECRET}@%2Frun%2Fme%2Fx.sock/?directConnection=true",
            "mongodb://***@%2Frun%2Fme%2Fx.sock/?directConnection=true",
        ),
        ("mongodb://%2Frun%2Fme%40x.sock/", "mongodb://%2Frun%2Fme%40x.sock/"),
        ("", ""),
    ],
)
def test_redacted(dsn: str, shown: str) -> None:
    assert redacted_dsn(dsn) == shown


async def test_a_replica_set_will_do(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as running:
        await check_dsn(running.dsn)
        dsn = running.dsn
    # It is the server that makes the difference.
    with pytest.raises(DatabaseUnreachable):
        await check_dsn(f"{dsn}&serverSelectionTimeoutMS=200")


@pytest.mark.parametrize("answer", [REPLICA_SET, hello(msg="isdbgrid", isWritablePrimary=True)])
async def test_so_will_a_replica_set_or_cluster_that_lets_us_in(answer: Document) -> None:
    async with serving(server(answer, {"ok": 1.0})) as port:
        await check_dsn(child_dsn(OldPlace(port)))


async def test_a_standalone_server_will_not(tmp_path: Path) -> None:
    pytest.importorskip("secantus")
    # A mongod, where there is one, knows no such option: see test_replica_set.
    child = "orderbook_desktop.storage.server.secantus_child"
    command = (sys.executable, "-P", "-m", child, "--standalone")
    program = ServerProgram(ServerKind.SECANTUS, command)
    async with DatabaseServer(tmp_path, program=program) as running:
        with pytest.raises(StandaloneServer, match=r"--replSet rs0 and run rs\.initiate"):
            await check_dsn(running.dsn)


@pytest.mark.parametrize("options", ["", "?directConnection=true"])
async def test_an_uninitiated_replica_set_is_named(options: str) -> None:
    async with serving(server(hello(isreplicaset=True), {"ok": 1.0})) as port:
        with pytest.raises(UninitiatedReplicaSet, match=r"run rs\.initiate"):
            await check_dsn(f"mongodb://127.0.0.1:{port}/{options}", answer_s=3.0)


async def test_a_refused_password_is_named_and_not_shown() -> None:
    async with serving(server(REPLICA_SET, error(18, "Authentication failed"))) as port:
        with pytest.raises(BadCredentials, match="refused the user name or password") as caught:
            await check_dsn(f"mongodb://me:{SECRET}@127.0.0.1:{port}/?directConnection=true")
    assert SECRET not in str(caught.value)


async def test_a_missing_password_is_named() -> None:
    async with serving(server(REPLICA_SET, error(13, "requires authentication"))) as port:
        with pytest.raises(BadCredentials, match="asks for a user name and password"):
            await check_dsn(child_dsn(OldPlace(port)))


async def test_an_unreachable_server_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "orderbook_desktop")
    # Bound, so that no other process listens there, but not listening.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DatabaseUnreachable) as caught:
            await check_dsn(f"mongodb://me:{SECRET}@127.0.0.1:{port}", answer_s=3.0)
    assert str(caught.value) == (
        f"The database at mongodb://***@127.0.0.1:{port} does not answer (127.0.0.1:{port}: "
        f"{caught.value.reason.partition(': ')[2]}); check that it runs and that MONGO_DSN is "
        "right, or leave MONGO_DSN empty."
    )
    assert "Topology" not in str(caught.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "dsn",
    [
        f"localhost:{SECRET}@27017",
        f"http://me:{SECRET}@localhost",
        f"mongodb://me:{SECRET}@localhost:notaport",
        f"mongodb://me:{SECRET}/x@localhost",
        f"mongodb://me:a@{SECRET}@localhost",
        f"mongodb://me:{SECRET}@",
        f"mongodb://me:{SECRET}@localhost/?w=-3",
        "mongodb://",
        "nonsense",
    ],
)
async def test_what_is_no_address_is_named(dsn: str) -> None:
    with pytest.raises(BadDsn, match="MONGO_DSN") as caught:
        await check_dsn(dsn)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCRLFile", "tlsCertificateKeyFile"])
@pytest.mark.parametrize("kind", ["missing", "folder"])
async def test_a_file_that_an_option_names_and_that_cant_be_read_is_named(
    option: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "none.pem" if kind == "missing" else tmp_path
    with pytest.raises(BadDsn) as caught:
        await check_dsn(f"mongodb://me:{SECRET}@127.0.0.1:1/?tls=true&{option}={path}")
    assert f"the file of {option}, {path}, can't be used" in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "garbage.pem"
    path.write_bytes(b"garbage")
    with pytest.raises(BadDsn, match=r"tlsCAFile, .*it holds no certificate"):
        await check_dsn(f"mongodb://127.0.0.1:1/?tls=true&tlsCAFile={path}")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
async def test_a_socket_without_a_server_is_named_in_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "orderbook_desktop")
    path = "/nowhere/me/x.sock"
    dsn = f"mongodb://me:{SECRET}@{quote_plus(path)}/?directConnection=true"
    with pytest.raises(DatabaseUnreachable, match=rf"\({re.escape(path)}: ") as caught:
        await check_dsn(dsn, answer_s=0.5)
    assert SECRET not in f"{caught.value} {caplog.text}"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
async def test_another_programs_address_of_our_own_server_will_do(tmp_path: Path) -> None:
    """As the README says it: by socket, user and the password in its file."""
    folder = tmp_path / "database"
    async with DatabaseServer(tmp_path):
        record = json.loads((folder / "server.json").read_text())
        password = (folder / "secantus.password").read_text().strip()
        who = f"orderbook:{password}@{quote_plus(record['socket'])}"
        await check_dsn(f"mongodb://{who}/?directConnection=true")
        with pytest.raises(BadCredentials):
            await check_dsn(f"mongodb://{quote_plus(record['socket'])}/?directConnection=true")


@pytest.mark.parametrize(
    ("options", "within_ms"),
    [
        ("", 5_000),
        ("?serverSelectionTimeoutMS=300", 300),
        ("?tls=true&serverselectiontimeoutms=0", 1),
        ("?serverSelectionTimeoutMS=90000", 5_000),
        ("?serverSelectionTimeoutMS=" + "9" * 5_000, 5_000),
        ("?serverSelectionTimeoutMS=soon", 5_000),
    ],
)
def test_an_address_may_say_that_less_time_will_do(options: str, within_ms: int) -> None:
    assert dsn_module._answer_within_ms(f"mongodb://127.0.0.1:1/{options}", 5.0) == within_ms
