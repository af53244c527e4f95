"""Listeners of a child server that refuse the computer's other users.

Both replace the listening socket of a server that was written for a plain socket: they have its
`accept`, `getsockname` and `close`. Used only in the child; they need only the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

Guest = tuple[socket.socket, tuple[str, int]]

_BACKLOG: Final = 1024
# Our clients need milliseconds. If more handshakes than this are open, the oldest is dropped.
_HANDSHAKES_AT_MOST: Final = 400
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)
_REST_S: Final = 0.05
_ROOT: Final = 0


class UnixListener:
    """A Unix socket at `path`, for processes of our own user and of root. Call `close()`.

    It replaces the socket of a killed server. Raises `OSError` if another process listens there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._woken, self._waker = socket.socketpair()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._bind()
        except OSError:
            for end in (self._socket, self._woken, self._waker):
                end.close()
            raise
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _bind(self) -> None:
        address = os.fsencode(self._path)
        try:
            self._socket.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _has_listener(self._path):
                raise
            self._path.unlink()
            self._socket.bind(address)
        # Before `listen`: no client can have connected yet.
        self._path.chmod(0o600)
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)

    def accept(self) -> Guest:
        """Wait for the next connection; the address is the peer's process. Raises `OSError`."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._selector.close()
                    self._woken.close()
                    self._waker.close()
                    raise OSError(errno.EBADF, "the listener was closed")
            try:
                guest, _ = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                _rest_or_raise(error)
                continue
            guest.setblocking(True)
            peer = peer_of(guest)
            if peer is None or peer[1] in (os.geteuid(), _ROOT):
                return guest, ("process", peer[0] if peer else 0)
            log.warning("refused process %d of another user (%d)", *peer)
            guest.close()

    def getsockname(self) -> tuple[str, int]:
        """Return path and 0, in the shape of host and port."""
        return str(self._path), 0

    def close(self) -> None:
        """Accept no more connections, and wake `accept`."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return process and user at the other end of a Unix socket; None if they are not known.

    For a client, that is the process that listens.
    """
    try:
        if sys.platform.startswith("linux"):
            size = struct.calcsize("3i")
            pid, uid, _ = struct.unpack(
                "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            )
            return pid, uid
        if sys.platform == "darwin":
            # <sys/un.h>: SOL_LOCAL 0, LOCAL_PEERCRED 1 (struct xucred), LOCAL_PEERPID 2.
            _, uid = struct.unpack_from("2I", connection.getsockopt(0, 1, 76))
            (pid,) = struct.unpack("i", connection.getsockopt(0, 2, 4))
            return pid, uid
    except OSError as error:
        log.debug("no credentials of a peer: %s", error)
    return None


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fsencode(path))
        except BlockingIOError:
            return True  # Its queue is full.
        except ConnectionRefusedError:
            return False
    return True


def _rest_or_raise(error: OSError) -> None:
    """Return if only one connection failed, or after a rest if files ran out; else raise."""
    if error.errno in _OUT_OF_FILES:
        time.sleep(_REST_S)
    elif error.errno not in (errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO):
        raise error


def server_context(certificate: Path, authority: Path) -> ssl.SSLContext:
    """Return the context of a server that accepts clients with a certificate of `authority`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class TlsListener:
    """TLS at `host`:`port`, for clients with a certificate. Call `close()`.

    Handshakes run side by side: a client that connects and stays silent delays no other client,
    and is dropped after `handshake_s`. Raises `OSError` if the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        handshake_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handshake_s = handshake_s
        self._now = now
        self._context = context
        self._ready: queue.SimpleQueue[Guest | None] = queue.SimpleQueue()
        self._closed = False
        # The clients whose handshake is not finished, oldest first: when it began, and the address.
        self._waiting: dict[ssl.SSLSocket, tuple[float, tuple[str, int]]] = {}
        self._woken, self._waker = socket.socketpair()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":  # SO_REUSEADDR would let other processes share the port
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(_BACKLOG)
        except OSError:
            for end in (self._socket, self._woken, self._waker):
                end.close()
            raise
        self._socket.setblocking(False)
        self._name: tuple[str, int] = self._socket.getsockname()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="tls-handshakes", daemon=True)
        self._thread.start()

    def accept(self) -> Guest:
        """Wait for the next client with a valid certificate. Raises `OSError` once closed."""
        guest = self._ready.get()
        if guest is None:
            raise OSError(errno.EBADF, "the listener was closed")
        return guest

    def getsockname(self) -> tuple[str, int]:
        """Return host and port."""
        return self._name

    def close(self) -> None:
        """Accept no more connections, and wake `accept`."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")
        self._thread.join()
        self._ready.put(None)

    def _serve(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(self._until_next_deadline()):
                if key.fileobj is self._socket:
                    self._receive()
                elif isinstance(key.fileobj, ssl.SSLSocket):
                    self._proceed(key.fileobj)
            self._drop_the_late()
        for guest in list(self._waiting):
            self._drop(guest)
        self._selector.close()
        for end in (self._socket, self._woken, self._waker):
            end.close()

    def _until_next_deadline(self) -> float | None:
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None:
            return None
        return max(0.0, oldest[0] + self._handshake_s - self._now())

    def _receive(self) -> None:
        try:
            connection, address = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _OUT_OF_FILES and self._waiting:
                self._drop(next(iter(self._waiting)))
            else:
                _rest_or_raise(error)
            return
        connection.setblocking(False)
        try:
            guest = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        except OSError:
            connection.close()
            return
        if len(self._waiting) >= _HANDSHAKES_AT_MOST:
            self._drop(next(iter(self._waiting)))
        self._waiting[guest] = (self._now(), address)
        self._selector.register(guest, selectors.EVENT_READ)

    def _proceed(self, guest: ssl.SSLSocket) -> None:
        if guest not in self._waiting:
            return  # It was dropped in this round.
        try:
            guest.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(guest, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(guest, selectors.EVENT_WRITE)
        except (OSError, ValueError) as error:
            log.info("refused a client at %s: %s", self._waiting[guest][1], error)
            self._drop(guest)
        else:
            self._selector.unregister(guest)
            _, address = self._waiting.pop(guest)
            guest.setblocking(True)
            self._ready.put((guest, address))

    def _drop_the_late(self) -> None:
        last = self._now() - self._handshake_s
        for guest in [guest for guest, (began, _) in self._waiting.items() if began <= last]:
            self._drop(guest)

    def _drop(self, guest: ssl.SSLSocket) -> None:
        self._selector.unregister(guest)
        del self._waiting[guest]
        guest.close()
