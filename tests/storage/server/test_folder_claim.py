from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from orderbook_desktop.storage.errors import DataFolderFull, DataFolderUnusable, folder_error
from orderbook_desktop.storage.server.certificates import certificates_of
from orderbook_desktop.storage.server.choice import ServerKind
from orderbook_desktop.storage.server.folder_claim import FolderClaim, ServerRecord
from orderbook_desktop.storage.server.places import OldPlace, SocketPlace, TlsPlace

RECORD = ServerRecord(
    tls_port=20_001, kind=ServerKind.SECANTUS, owner_pid=1, pid=2, started_ms=1_700_000_000_000
)


def test_one_at_a_time(tmp_path: Path) -> None:
    first, second = FolderClaim(tmp_path), FolderClaim(tmp_path)
    assert first.acquire()
    assert first.acquire()
    assert (first.held, second.acquire(), second.held) == (True, False, False)
    first.release()
    assert second.acquire()
    second.release()
    second.release()


def test_the_record_is_for_others_to_read(tmp_path: Path) -> None:
    claim = FolderClaim(tmp_path)
    assert claim.acquire()
    assert claim.read() is None
    claim.publish(RECORD)
    assert FolderClaim(tmp_path).read() == RECORD
    assert {path.name for path in tmp_path.iterdir()} == {"owner.lock", "server.json"}
    claim.release()


def test_after_release_the_port_is_kept_and_nothing_runs(tmp_path: Path) -> None:
    claim = FolderClaim(tmp_path)
    assert claim.acquire()
    assert claim.last_port == 0
    claim.publish(RECORD)
    claim.release()
    record = claim.read()
    assert record is not None
    assert (record.tls_port, record.pid) == (RECORD.tls_port, None)


def test_what_a_killed_owner_wrote_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    killed = FolderClaim(tmp_path)
    assert killed.acquire()
    killed.publish(RECORD)
    assert killed._lock is not None
    killed._lock.release()
    claim = FolderClaim(tmp_path)
    assert claim.acquire()
    record = claim.read()
    assert record is not None
    assert (record.pid, record.owner_pid) == (None, os.getpid())
    assert claim.last_port == RECORD.tls_port
    claim.release()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"port": "x"}', b"\xff"])
@pytest.mark.expects_log("server.json cannot be read")
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.json").write_bytes(content)
    claim = FolderClaim(tmp_path)
    assert claim.acquire()
    assert claim.last_port == 0
    claim.release()


def test_the_record_says_where_the_server_is(tmp_path: Path) -> None:
    at_socket = msgspec.structs.replace(RECORD, tls_port=0, socket="/run/x/secantus.sock")
    assert at_socket.place(tmp_path) == SocketPlace(Path("/run/x/secantus.sock"))
    by_tls = RECORD.place(tmp_path)
    assert by_tls == TlsPlace(20_001, certificates_of(tmp_path / "secantus"))
    # As version 0.1.0 wrote it. That version finds a port in our record at which no server listens.
    old = b'{"port":27415,"kind":"secantus","owner_pid":1,"pid":2,"started_ms":1}'
    assert msgspec.json.decode(old, type=ServerRecord).place(tmp_path) == OldPlace(27_415)
    assert msgspec.json.decode(msgspec.json.encode(at_socket))["port"] == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    claim = FolderClaim(tmp_path)
    assert claim.acquire()
    (tmp_path / "server.json").mkdir()
    with pytest.raises(DataFolderUnusable):
        claim.publish(RECORD)
    (tmp_path / "server.json").rmdir()
    claim.release()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DataFolderFull),
        (errno.EDQUOT, DataFolderFull),
        (errno.EROFS, DataFolderUnusable),
        (errno.EACCES, DataFolderUnusable),
    ],
)
def test_system_errors_become_sentences(number: int, kind: type[Exception]) -> None:
    error = folder_error(Path("data"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert "ORDERBOOK_DATA_DIR" in str(error)
