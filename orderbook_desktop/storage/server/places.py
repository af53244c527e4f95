"""Where a child server listens, how clients reach it, and whether who answers there is our child.

    SocketPlace   a Unix socket in a folder that only its owner can enter (Linux, macOS)
    TlsPlace      a port on 127.0.0.1 with TLS, for holders of a certificate (Windows)
    OldPlace      the port of a server that an older copy of the program runs: only ever joined

Other users can bind a port before the child does, or while it restarts, and answer in its name.
So nothing that a listener says counts before `answers()` or `is_trusted()` has told whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import ssl
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from orderbook_desktop.storage.errors import DataFolderUnusable, PlaceTaken
from orderbook_desktop.storage.server.certificates import Certificates
from orderbook_desktop.storage.server.listeners import peer_of
from orderbook_desktop.storage.server.times import SERVER_TIMES
from orderbook_desktop.system.ports import (
    HOST,
    holder_of_port,
    is_free,
    is_listening,
    named_process,
)
from orderbook_desktop.system.private_files import write_private

# The kernel's limit on a path, less the zero at its end.
_LONGEST_PATH: Final = 103 if sys.platform == "darwin" else 107
# Our driver knows a socket by this ending.
SOCKET_SUFFIX: Final = ".sock"
# What a mongod would take for something else in the path of a socket.
_SPECIAL: Final = frozenset(":,[]")


class Transport(Enum):
    """What a child server is reached by."""

    SOCKET = "socket"
    TLS = "tls"


USUAL_TRANSPORT: Final = Transport.TLS if sys.platform == "win32" else Transport.SOCKET


@dataclass(frozen=True, slots=True)
class SocketPlace:
    """The Unix socket at `path`."""

    path: Path

    def __str__(self) -> str:
        return f"the socket {self.path}"

    @property
    def host(self) -> str:
        """How an address names the server."""
        return quote_plus(os.fsencode(self.path))

    @property
    def options(self) -> dict[str, str]:
        """What else an address has to say."""
        return {}

    @property
    def member(self) -> str:
        """How the configuration of a replica set names the server."""
        return str(self.path)

    async def answers(self, child_pid: int) -> bool:
        """Whether the child listens. Raises `PlaceTaken` where another process does."""
        listener = self.listener()
        if listener is None:
            return False
        if not _is_or_descends_from(listener[0], child_pid):
            raise self.taken()
        return True

    async def is_listening(self) -> bool:
        """Whether anybody listens."""
        return self.listener() is not None

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether a listener is there that no other user can have put there."""
        del server_pid
        listener = self.listener()
        if listener is None or not is_private(self.path.parent):
            return False
        return listener[1] in (self.path.parent.stat().st_uid, 0)

    def listener(self) -> tuple[int, int] | None:
        """Return process and user of the listener, None where there is none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fsencode(self.path))
            except OSError:
                return None
            return peer_of(probe)

    async def check_free(self) -> None:
        """Raise `PlaceTaken` where something stands in the way of a new server."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(there.st_mode) or self.listener() is not None:
            raise self.taken()

    def taken(self) -> PlaceTaken:
        """Return the error that says who is here."""
        listener = self.listener()
        if listener is not None:
            return PlaceTaken(str(self), named_process(listener[0]))
        is_socket = True
        with contextlib.suppress(OSError):
            is_socket = stat.S_ISSOCK(self.path.lstat().st_mode)
        holder = "another program" if is_socket else "something that is no socket"
        return PlaceTaken(str(self), holder)

    def clear(self) -> None:
        """Remove what a server that was killed left behind, and a folder made for it."""
        with contextlib.suppress(OSError):
            if self.listener() is None and stat.S_ISSOCK(self.path.lstat().st_mode):
                self.path.unlink()
        if self.path.parent.name.startswith(_SHORT):
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


@dataclass(frozen=True, slots=True)
class TlsPlace:
    """The port on 127.0.0.1, with the certificates by which both ends know each other.

    What listens there has `answer_s` to say what it is. The child finds the port in `port_file`: on
    its command line every user could read it, and take the port before the child does.
    """

    port: int
    certificates: Certificates
    answer_s: float = SERVER_TIMES.listener_s

    @property
    def port_file(self) -> Path:
        """The file that names the port, in the words of a mongod's configuration."""
        return self.certificates.server.with_name("server.port")

    def write_port(self) -> None:
        """Write `port_file`. Raises `OSError`."""
        write_private(self.port_file, f"net:\n  port: {self.port}\n")

    def __str__(self) -> str:
        return f"port {self.port} on {HOST}"

    @property
    def host(self) -> str:
        """How an address names the server."""
        return f"{HOST}:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """What else an address has to say."""
        return {
            "tls": "true",
            "tlsCAFile": str(self.certificates.authority),
            "tlsCertificateKeyFile": str(self.certificates.client),
        }

    @property
    def member(self) -> str:
        """How the configuration of a replica set names the server."""
        return self.host

    async def answers(self, child_pid: int) -> bool:
        """Whether the child listens: nobody else has its key."""
        return await self.is_trusted(child_pid)

    async def is_listening(self) -> bool:
        """Whether anybody listens."""
        return await is_listening(self.port)

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether a listener is there that has the server's key."""
        del server_pid
        return await self._kind_of_listener() == _OURS

    async def _kind_of_listener(self) -> str:
        """Return `_OURS`, empty where nobody listens, or what a person should know of it."""
        context = ssl.create_default_context(cafile=str(self.certificates.authority))
        context.load_cert_chain(self.certificates.client)
        try:
            async with asyncio.timeout(self.answer_s):
                _, writer = await asyncio.open_connection(HOST, self.port, ssl=context)
        except ssl.SSLCertVerificationError:
            return ", which shows another certificate"
        except TimeoutError:
            return ", which says nothing"
        except ssl.SSLError:
            return ", which speaks no TLS"
        except ConnectionRefusedError:
            return ""
        except OSError:
            return ", which closes connections"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return _OURS

    async def check_free(self) -> None:
        """Raise `PlaceTaken`, with the kind of listener, where a new server could not listen."""
        if is_free(self.port):
            return
        kind = await self._kind_of_listener()
        holder = holder_of_port(self.port)
        raise PlaceTaken(str(self), holder if kind == _OURS else f"{holder}{kind}")

    def taken(self) -> PlaceTaken:
        """Return the error that says who is here."""
        return PlaceTaken(str(self), holder_of_port(self.port))

    def clear(self) -> None:
        """Nothing is left by a server that was killed."""


@dataclass(frozen=True, slots=True)
class OldPlace:
    """The port of a server of an older copy of the program, which has its password only."""

    port: int

    def __str__(self) -> str:
        return f"port {self.port} on {HOST}"

    @property
    def host(self) -> str:
        """How an address names the server."""
        return f"{HOST}:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """What else an address has to say."""
        return {}

    async def is_listening(self) -> bool:
        """Whether anybody listens."""
        return await is_listening(self.port)

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether process `server_pid`, or one that it guards, listens and is our own user's."""
        return _listens(server_pid, self.port)


Place = SocketPlace | TlsPlace
_OURS: Final = "ours"
# Begins the names of folders that are made where the data folder can't have a socket.
_SHORT: Final = "orderbook-"


def socket_place(folder: Path, name: str) -> SocketPlace:
    """Return where the server `name` of the private `folder` listens.

    That is in `folder`, unless its path is too long, or its disk can't have sockets or doesn't
    keep others out: then it is in a short folder of our own in the user's run-time folder or
    that for temporary files, the same each time. Raises `DataFolderUnusable` where there is no
    such place at all.
    """
    candidate = folder / f"{name}{SOCKET_SUFFIX}"
    if is_private(folder) and _takes_sockets(candidate):
        return SocketPlace(candidate)
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    for short in _short_folders(f"{_SHORT}{os.geteuid()}-{digest}"):
        candidate = short / f"{name}{SOCKET_SUFFIX}"
        if _takes_sockets(candidate):
            return SocketPlace(candidate)
    raise DataFolderUnusable(folder, "there is no private place for a socket")


def is_private(folder: Path) -> bool:
    """Whether `folder` itself is one that only its owner can enter, and root or we own it."""
    try:
        there = folder.lstat()
    except OSError:
        return False
    closed = stat.S_ISDIR(there.st_mode) and not stat.S_IMODE(there.st_mode) & 0o077
    return closed and (there.st_uid in (os.geteuid(), 0) or os.geteuid() == 0)


def _short_folders(name: str) -> Iterator[Path]:
    """Make and give folders that nobody else can replace, best first."""
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108
    for base in [Path(one) for one in bases if one]:
        if not _keeps_names(base):
            continue
        with contextlib.suppress(OSError):
            (base / name).mkdir(mode=0o700)
        if _is_own(base / name):
            yield base / name
        else:  # Somebody was there before us.
            with contextlib.suppress(OSError):
                yield Path(tempfile.mkdtemp(prefix=f"{_SHORT}{os.geteuid()}-", dir=base))


def _is_own(folder: Path) -> bool:
    return is_private(folder) and folder.lstat().st_uid == os.geteuid()


def _keeps_names(folder: Path) -> bool:
    """Whether others can't rename or remove what we make in `folder`."""
    try:
        there = folder.stat()
    except OSError:
        return False
    shared = there.st_mode & 0o022 and not there.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(there.st_mode) and not shared and there.st_uid in (os.geteuid(), 0)


def _takes_sockets(path: Path) -> bool:
    """Whether a socket can be made at `path`, and be named to the driver and to a mongod."""
    try:
        fits = len(str(path).encode()) <= _LONGEST_PATH and not _SPECIAL & set(str(path))
    except UnicodeEncodeError:
        return False
    if not fits:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(os.fsencode(path))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    path.unlink()
    return True


def _is_or_descends_from(pid: int, ancestor: int) -> bool:
    """Whether process `pid` is `ancestor`, or was started by it (which may only be a guard)."""
    import psutil  # noqa: PLC0415 - not at the window's start

    if pid == ancestor:
        return True
    try:
        return any(one.pid == ancestor for one in psutil.Process(pid).parents())
    except (psutil.Error, ValueError):
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether process `pid`, or one that it started, listens on `port` and belongs to our user."""
    import psutil  # noqa: PLC0415 - not at the window's start

    try:
        own, server = psutil.Process().username(), psutil.Process(pid)
        return any(
            one.status == psutil.CONN_LISTEN and one.laddr == (HOST, port)
            for process in (server, *server.children(recursive=True))
            if process.username() == own
            for one in process.net_connections(kind="inet4")
        )
    except psutil.Error:
        return False
