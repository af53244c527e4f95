"""Where a child server listens, how clients reach it, and whether the listener is our child.

    SocketPlace   a Unix socket in a folder that only its owner can enter (Linux, macOS)
    TlsPlace      a port on 127.0.0.1 with TLS, for holders of a certificate (Windows)
    OldPlace      the port of a server that an older copy of the program runs; we only join it

Other users can bind a port before the child does, or while it restarts, and answer in its name.
So do not trust a listener before `answers()` or `is_trusted()` has returned true.
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
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from msgspec import Struct

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
# The driver takes an address with this ending for a socket.
SOCKET_SUFFIX: Final = ".sock"
# Characters that have another meaning for a mongod in the path of a socket.
_SPECIAL: Final = frozenset(":,[]")


class Transport(Enum):
    """How clients reach a child server."""

    SOCKET = "socket"
    TLS = "tls"


USUAL_TRANSPORT: Final = Transport.TLS if sys.platform == "win32" else Transport.SOCKET


class SocketPlace(Struct, frozen=True):
    """The Unix socket at `path`."""

    path: Path

    def __str__(self) -> str:
        return f"the socket {self.path}"

    @property
    def host(self) -> str:
        """The server's host in a MongoDB address."""
        return quote_plus(os.fsencode(self.path))

    @property
    def options(self) -> dict[str, str]:
        """Further options of a MongoDB address."""
        return {}

    @property
    def member(self) -> str:
        """The server's name in the configuration of a replica set."""
        return str(self.path)

    async def answers(self, child_pid: int) -> bool:
        """Whether the child listens. Raises `PlaceTaken` if another process does."""
        listener = self.listener()
        if listener is None:
            return False
        if not _is_or_descends_from(listener[0], child_pid):
            raise self.taken()
        return True

    async def is_listening(self) -> bool:
        """Whether a process listens."""
        return self.listener() is not None

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether the listener is our own user's or root's, in a folder closed to others."""
        del server_pid
        listener = self.listener()
        if listener is None or not is_private(self.path.parent):
            return False
        return listener[1] in (self.path.parent.stat().st_uid, 0)

    def listener(self) -> tuple[int, int] | None:
        """Return process and user of the listener; None if no process listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fsencode(self.path))
            except OSError:
                return None
            return peer_of(probe)

    async def check_free(self) -> None:
        """Raise `PlaceTaken` if a process listens, or `path` exists and is no socket."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(there.st_mode) or self.listener() is not None:
            raise self.taken()

    def taken(self) -> PlaceTaken:
        """Return the error that names the process, or the file, at this place."""
        listener = self.listener()
        if listener is not None:
            return PlaceTaken(str(self), named_process(listener[0]))
        is_socket = True
        with contextlib.suppress(OSError):
            is_socket = stat.S_ISSOCK(self.path.lstat().st_mode)
        holder = "another program" if is_socket else "something that is no socket"
        return PlaceTaken(str(self), holder)

    def clear(self) -> None:
        """Remove the socket of a killed server, and the short folder made for it."""
        with contextlib.suppress(OSError):
            if self.listener() is None and stat.S_ISSOCK(self.path.lstat().st_mode):
                self.path.unlink()
        if self.path.parent.name.startswith(_SHORT):
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


class TlsPlace(Struct, frozen=True):
    """The port on 127.0.0.1, with the certificates by which both ends know each other.

    A listener has to identify itself within `answer_s`. The child reads the port from `port_file`:
    on its command line every user could read the port, and take it before the child does.
    """

    port: int
    certificates: Certificates
    answer_s: float = SERVER_TIMES.listener_s

    @property
    def port_file(self) -> Path:
        """The file that holds the port, in the format of a mongod's configuration."""
        return self.certificates.server.with_name("server.port")

    def write_port(self) -> None:
        """Write `port_file`. Raises `OSError`."""
        write_private(self.port_file, f"net:\n  port: {self.port}\n")

    def __str__(self) -> str:
        return f"port {self.port} on {HOST}"

    @property
    def host(self) -> str:
        """The server's host in a MongoDB address."""
        return f"{HOST}:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """Further options of a MongoDB address."""
        return {
            "tls": "true",
            "tlsCAFile": str(self.certificates.authority),
            "tlsCertificateKeyFile": str(self.certificates.client),
        }

    @property
    def member(self) -> str:
        """The server's name in the configuration of a replica set."""
        return self.host

    async def answers(self, child_pid: int) -> bool:
        """Whether the child listens: no other process has its key."""
        return await self.is_trusted(child_pid)

    async def is_listening(self) -> bool:
        """Whether a process listens."""
        return await is_listening(self.port)

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether the listener has the server's key."""
        del server_pid
        return await self._kind_of_listener() == _OURS

    async def _kind_of_listener(self) -> str:
        """Return `_OURS`, empty if no process listens, or words that describe the listener."""
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
        """Raise `PlaceTaken`, with a description of the listener, if the port is taken."""
        if is_free(self.port):
            return
        kind = await self._kind_of_listener()
        holder = holder_of_port(self.port)
        raise PlaceTaken(str(self), holder if kind == _OURS else f"{holder}{kind}")

    def taken(self) -> PlaceTaken:
        """Return the error that names the process at this port."""
        return PlaceTaken(str(self), holder_of_port(self.port))

    def clear(self) -> None:
        """Do nothing: a killed server leaves nothing behind."""


class OldPlace(Struct, frozen=True):
    """The port of a server of an older copy of the program, protected by the password only."""

    port: int

    def __str__(self) -> str:
        return f"port {self.port} on {HOST}"

    @property
    def host(self) -> str:
        """The server's host in a MongoDB address."""
        return f"{HOST}:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """Further options of a MongoDB address."""
        return {}

    async def is_listening(self) -> bool:
        """Whether a process listens."""
        return await is_listening(self.port)

    async def is_trusted(self, server_pid: int) -> bool:
        """Whether process `server_pid`, or a child of it, listens and belongs to our own user."""
        return _listens(server_pid, self.port)


Place = SocketPlace | TlsPlace
_OURS: Final = "ours"
# The prefix of folders made for a socket, if the data folder can't hold one.
_SHORT: Final = "orderbook-"


def socket_place(folder: Path, name: str) -> SocketPlace:
    """Return where the server `name` of the private `folder` listens.

    The socket is in `folder`, if its path is short enough and its disk has sockets and keeps
    other users out. Else it is in a short folder of our own, the same each time, in the user's
    run-time folder or in the one for temporary files. Raises `DataFolderUnusable` if neither is
    possible.
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
    """Whether only the owner can enter `folder`, and the owner is our user or root."""
    try:
        there = folder.lstat()
    except OSError:
        return False
    closed = stat.S_ISDIR(there.st_mode) and not stat.S_IMODE(there.st_mode) & 0o077
    return closed and (there.st_uid in (os.geteuid(), 0) or os.geteuid() == 0)


def _short_folders(name: str) -> Iterator[Path]:
    """Create and yield folders that no other user can replace, best first."""
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108
    for base in [Path(base) for base in bases if base]:
        if not _keeps_names(base):
            continue
        with contextlib.suppress(OSError):
            (base / name).mkdir(mode=0o700)
        if _is_own(base / name):
            yield base / name
        else:  # Another user has a folder of this name.
            with contextlib.suppress(OSError):
                yield Path(tempfile.mkdtemp(prefix=f"{_SHORT}{os.geteuid()}-", dir=base))


def _is_own(folder: Path) -> bool:
    return is_private(folder) and folder.lstat().st_uid == os.geteuid()


def _keeps_names(folder: Path) -> bool:
    """Whether other users can't rename or remove files that we create in `folder`."""
    try:
        there = folder.stat()
    except OSError:
        return False
    shared = there.st_mode & 0o022 and not there.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(there.st_mode) and not shared and there.st_uid in (os.geteuid(), 0)


def _takes_sockets(path: Path) -> bool:
    """Whether a socket can be created at `path`, and the driver and a mongod accept the path."""
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
    """Whether process `pid` is `ancestor`, or was started by it: `ancestor` may be a guard."""
    import psutil  # noqa: PLC0415 - not at the window's start

    if pid == ancestor:
        return True
    try:
        return any(parent.pid == ancestor for parent in psutil.Process(pid).parents())
    except (psutil.Error, ValueError):
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether process `pid`, or a descendant of it, listens on `port` and belongs to our user."""
    import psutil  # noqa: PLC0415 - not at the window's start

    try:
        own, server = psutil.Process().username(), psutil.Process(pid)
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr == (HOST, port)
            for process in (server, *server.children(recursive=True))
            if process.username() == own
            for connection in process.net_connections(kind="inet4")
        )
    except psutil.Error:
        return False
