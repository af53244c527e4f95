"""Listeners accept clients that may connect, and silent clients delay no others."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderbook_desktop.storage.server import listeners
from orderbook_desktop.storage.server.certificates import (
    Certificates,
    certificates_of,
    keep_certificates,
)
from orderbook_desktop.storage.server.listeners import (
    TlsListener,
    UnixListener,
    peer_of,
    server_context,
)

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
SILENT = 200


@contextlib.contextmanager
def echoing(listener: UnixListener | TlsListener) -> Iterator[list[tuple[str, int]]]:
    """Send each guest's first bytes back, one guest after the other."""
    guests: list[tuple[str, int]] = []

    def serve() -> None:
        while True:
            try:
                guest, address = listener.accept()
            except OSError:
                return
            guests.append(address)
            # A guest may be gone before it is answered.
            with guest, contextlib.suppress(OSError):
                guest.sendall(guest.recv(100))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield guests
    finally:
        listener.close()
        thread.join()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return keep_certificates(tmp_path_factory.mktemp("certificates") / "secantus")


@pytest.fixture
def tls(certificates: Certificates) -> TlsListener:
    context = server_context(certificates.server, certificates.authority)
    return TlsListener("127.0.0.1", 0, context)


def client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.load_cert_chain(certificates.client)
    return context


def said_by_tls(listener: TlsListener, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(listener.getsockname(), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as talk,
    ):
        talk.sendall(b"hello")
        return talk.recv(100)


def test_silent_connections_delay_no_other_client(
    tls: TlsListener, certificates: Certificates
) -> None:
    """A client gets its answer while all silent clients are connected."""
    context = client_context(certificates)
    with echoing(tls), contextlib.ExitStack() as silent:
        for _ in range(SILENT):
            silent.enter_context(socket.create_connection(tls.getsockname()))
        for _ in range(3):
            assert said_by_tls(tls, context) == b"hello"


def test_of_too_many_silent_ones_the_oldest_go(
    tls: TlsListener, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_HANDSHAKES_AT_MOST", 2)
    with echoing(tls), contextlib.ExitStack() as silent:
        first, *_ = [
            silent.enter_context(socket.create_connection(tls.getsockname(), timeout=60))
            for _ in range(5)
        ]
        assert said_by_tls(tls, client_context(certificates)) == b"hello"
        assert first.recv(1) == b""


def test_a_silent_one_is_sent_away_in_the_end(certificates: Certificates) -> None:
    context = server_context(certificates.server, certificates.authority)
    tls = TlsListener("127.0.0.1", 0, context, handshake_s=0.05)
    with echoing(tls), socket.create_connection(tls.getsockname(), timeout=60) as silent:
        assert silent.recv(1) == b""


def _speaks_plainly(tls: TlsListener, certificates: Certificates, other: Path) -> bytes:
    del certificates, other
    with socket.create_connection(tls.getsockname(), timeout=60) as plain:
        plain.sendall(b"\0" * 64)
        return plain.recv(1)


def _has_no_certificate(tls: TlsListener, certificates: Certificates, other: Path) -> bytes:
    del other
    return said_by_tls(tls, ssl.create_default_context(cafile=str(certificates.authority)))


def _has_another_ones(tls: TlsListener, certificates: Certificates, other: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.load_cert_chain(keep_certificates(other / "secantus").client)
    return said_by_tls(tls, context)


@pytest.mark.parametrize("attempt", [_speaks_plainly, _has_no_certificate, _has_another_ones])
def test_no_client_gets_in_without_our_certificate(
    tls: TlsListener,
    certificates: Certificates,
    tmp_path: Path,
    attempt: Callable[[TlsListener, Certificates, Path], bytes],
) -> None:
    with echoing(tls) as guests:
        # Cut off, or given a reason, depending on which end is faster.
        with contextlib.suppress(OSError):
            assert len(attempt(tls, certificates, tmp_path)) <= 1
        assert said_by_tls(tls, client_context(certificates)) == b"hello"
    assert len(guests) == 1


def test_certificates_are_made_once_and_again_where_they_are_not_whole(tmp_path: Path) -> None:
    files = keep_certificates(tmp_path / "secantus")
    assert files == certificates_of(tmp_path / "secantus")
    before = [path.read_bytes() for path in (files.authority, files.server, files.client)]
    keep_certificates(tmp_path / "secantus")
    assert before == [path.read_bytes() for path in (files.authority, files.server, files.client)]
    if sys.platform != "win32":
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    for spoilt in (files.authority, files.server, files.client):
        for content in (b"", b"no PEM", before[0], spoilt.read_bytes()[:-50]):
            spoilt.write_bytes(content)
            keep_certificates(tmp_path / "secantus")
            server_context(files.server, files.authority)
            assert files.client.read_bytes() != before[2]
            before = [path.read_bytes() for path in (files.authority, files.server, files.client)]


@on_unix
def test_a_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with echoing(UnixListener(path)) as guests:
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(path))
            assert peer_of(guest) == (os.getpid(), os.geteuid())
            guest.sendall(b"hello")
            assert guest.recv(100) == b"hello"
    assert guests == [("process", os.getpid())]
    assert not path.exists()


@on_unix
@pytest.mark.expects_log("refused process 7 of another user .12345.")
def test_another_user_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the folder's disk doesn't keep other users out."""
    monkeypatch.setattr(listeners, "peer_of", lambda _guest: (7, 12_345))
    listener = UnixListener(tmp_path / "x.sock")
    with echoing(listener) as guests, socket.socket(socket.AF_UNIX) as guest:
        guest.connect(str(tmp_path / "x.sock"))
        guest.settimeout(60)
        assert guest.recv(100) == b""
    assert guests == []


@on_unix
def test_what_a_killed_server_left_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with echoing(UnixListener(path)):
        with pytest.raises(OSError) as taken:  # noqa: PT011 - its number is checked below
            UnixListener(path)
        assert taken.value.errno == errno.EADDRINUSE
        assert path.exists()
