"""Which database server to start if none is given, and its command line."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.storage.errors import NoDatabaseProgram
from orderbook_desktop.storage.server.credentials import key_path, password_path
from orderbook_desktop.storage.server.places import Place, SocketPlace
from orderbook_desktop.system.bundle import bundled_database, is_frozen
from orderbook_desktop.system.ports import HOST

REPLICA_SET: Final = "orderbook"

_SECANTUS_CHILD: Final = "orderbook_desktop.storage.server.secantus_child"
# The port argument of a mongod that listens at a socket only. It must not be the default port: a
# mongod with that one asks the name service for the socket's path, which may take seconds.
_UNUSED_PORT: Final = "65535"

# The op-log's bounds (see `secantus_child.OplogTrimmer`). They let a change stream resume that was
# away for a minute and takes another minute to come back; a later one loads its books again. An
# entry takes 570 bytes on average, and an event makes two entries: it is inserted, and removed when
# it is archived. Up to 800 events/s the age is the bound (14 MB at 100 events/s). Above that it is
# the number of entries, which is enough for a minute at 1,500 events/s (120 MB). SecantusDB counts
# the entries at each start (0.8 s for all of them).
_OPLOG_ENTRIES: Final = 200_000
_OPLOG_SECONDS: Final = 120
_CACHE: Final = "64M"


class ServerKind(Enum):
    """The kind of database server. The values name the child's folder below `database/`."""

    DSN = "dsn"
    MONGOD = "mongod"
    SECANTUS = "secantus"


class ServerProgram(Struct, frozen=True):
    """A database server that can be started: its kind, and the command up to its arguments.

    One that `is_other` is of another version than the program's own, for files that only it reads.
    """

    kind: ServerKind
    command: tuple[str, ...]
    is_other: bool = False

    @property
    def name(self) -> str:
        """The name that the user sees."""
        return "SecantusDB" if self.kind is ServerKind.SECANTUS else "mongod"

    def command_line(self, place: Place, folder: Path) -> list[str]:
        """Return the command that serves `folder` at `place`, to its only user.

        The server reads the password in `password_path(folder)`; a mongod also reads the key in
        `key_path(folder)`.
        """
        if self.kind is ServerKind.SECANTUS:
            task = ["serve", *_secantus_place(place), *_secantus_arguments(folder), "--auth"]
            return [*self.command, *task]
        # The members of a replica set need a common key. It also turns on user authentication.
        members = ["--replSet", REPLICA_SET, "--keyFile", str(key_path(folder))]
        return [*self.command, *_mongod_place(place), *_mongod_arguments(folder), *members]

    def making(self, folder: Path, password_file: Path) -> list[str]:
        """Return the command that creates a SecantusDB in `folder`, and then ends."""
        return [*self.command, "make", *_secantus_arguments(folder, password_file)]

    def resetting(self, place: Place, folder: Path, password_file: Path) -> list[str]:
        """Return the command for changing the password of `folder`.

        A SecantusDB reads the new password from `password_file` and ends without listening. A
        mongod serves at `place` without authentication, and a client has to set the password.
        """
        if self.kind is ServerKind.SECANTUS:
            return [*self.command, "reset", *_secantus_arguments(folder, password_file)]
        return [*self.command, *_mongod_place(place), *_mongod_arguments(folder)]


def choose_program() -> ServerProgram:
    """Return the server to start: the `mongod` on the PATH, else SecantusDB.

    Raises `NoDatabaseProgram` if both are missing.
    """
    mongod = shutil.which("mongod")
    if mongod is not None:
        return ServerProgram(ServerKind.MONGOD, (mongod,))
    if is_frozen():
        bundled = bundled_database()
        if bundled.exists():
            return ServerProgram(ServerKind.SECANTUS, (str(bundled),))
    elif all(importlib.util.find_spec(name) for name in ("secantus", "wiredtiger")):
        # -P: the working folder must not shadow a module of the server.
        return ServerProgram(ServerKind.SECANTUS, (sys.executable, "-P", "-m", _SECANTUS_CHILD))
    raise NoDatabaseProgram


def _secantus_place(place: Place) -> list[str]:
    if isinstance(place, SocketPlace):
        return ["--socket", str(place.path)]
    files = place.certificates
    known = ["--certificate", str(files.server), "--authority", str(files.authority)]
    return ["--tls-port-file", str(place.port_file), *known]


def _secantus_arguments(folder: Path, password_file: Path | None = None) -> list[str]:
    # Our own empty file: else SecantusDB reads a secantusd.toml that it finds elsewhere.
    config = folder.parent / "secantus.toml"
    return [
        *("--password-file", str(password_file or password_path(folder))),
        *("--config", str(config)),
        *("--storage-path", str(folder)),
        *("--log-level", "WARNING"),
        *("--cache-size", _CACHE),
        *("--oplog-max-entries", str(_OPLOG_ENTRIES)),
        *("--oplog-retention-seconds", str(_OPLOG_SECONDS)),
        "--sync-on-commit",
    ]


def _mongod_place(place: Place) -> list[str]:
    if isinstance(place, SocketPlace):
        # Without --nounixsocket a mongod also makes a socket in a folder open to all users.
        return ["--bind_ip", str(place.path), "--port", _UNUSED_PORT, "--nounixsocket"]
    files = place.certificates
    return [
        *("--bind_ip", HOST, "--config", str(place.port_file)),
        *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(files.server)),
        *("--tlsCAFile", str(files.authority)),
    ]


def _mongod_arguments(folder: Path) -> list[str]:
    return [
        *("--dbpath", str(folder)),
        *("--oplogSize", "990"),
        *("--wiredTigerCacheSizeGB", "0.25"),
        # Saves 200 MB of diagnostic files, which are not used here.
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--quiet",
    ]
