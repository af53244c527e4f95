"""Which database server to start when none is given, and with which arguments."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from orderbook_desktop.storage.errors import NoDatabaseProgram
from orderbook_desktop.storage.server.credentials import key_path, password_path
from orderbook_desktop.storage.server.places import Place, SocketPlace
from orderbook_desktop.system.bundle import bundled_database, is_frozen
from orderbook_desktop.system.ports import HOST

REPLICA_SET: Final = "orderbook"

_SECANTUS_CHILD: Final = "orderbook_desktop.storage.server.secantus_child"
# Of a mongod that has a socket and no port: any but the one that it takes a socket to have. It
# would ask the name service for the socket then, which may take seconds.
_UNUSED_PORT: Final = "65535"

# What a reader can have missed and still resume: a change stream that was away for a minute, and
# as long again to come back. One that is later than this loads its books anew. An entry takes 570
# bytes on average, and an event two: it is inserted, and removed once it is archived. So the age is
# what bounds the op-log (14 MB at 100 events/s); the number of entries is for more than 800
# events/s, where it holds a minute of 1,500 (120 MB). They are counted at each start of
# SecantusDB (0.8 s for all of them).
_OPLOG_ENTRIES: Final = 200_000
_OPLOG_SECONDS: Final = 120
_CACHE: Final = "64M"


class ServerKind(Enum):
    """Whose database server it is. The values name the child's folder below `database/`."""

    DSN = "dsn"
    MONGOD = "mongod"
    SECANTUS = "secantus"


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A database server that can be started: its kind, and the command up to its arguments."""

    kind: ServerKind
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "SecantusDB" if self.kind is ServerKind.SECANTUS else "mongod"

    def command_line(self, place: Place, folder: Path) -> list[str]:
        """Return the command that serves `folder` at `place`, to its one user only.

        It needs the password in `password_path(folder)`, a mongod also the key in
        `key_path(folder)`.
        """
        if self.kind is ServerKind.SECANTUS:
            task = ["serve", *_secantus_place(place), *_secantus_arguments(folder), "--auth"]
            return [*self.command, *task]
        # A replica set's members must know one another; this also makes them ask for users.
        members = ["--replSet", REPLICA_SET, "--keyFile", str(key_path(folder))]
        return [*self.command, *_mongod_place(place), *_mongod_arguments(folder), *members]

    def making(self, folder: Path, password_file: Path) -> list[str]:
        """Return the command that makes a SecantusDB in `folder`, and then ends."""
        return [*self.command, "make", *_secantus_arguments(folder, password_file)]

    def resetting(self, place: Place, folder: Path, password_file: Path) -> list[str]:
        """Return the command with which the password of `folder` can be changed.

        A SecantusDB takes it from `password_file` and ends, without listening. A mongod has to be
        told it, and serves at `place` without asking for users.
        """
        if self.kind is ServerKind.SECANTUS:
            return [*self.command, "reset", *_secantus_arguments(folder, password_file)]
        return [*self.command, *_mongod_place(place), *_mongod_arguments(folder)]


def choose_program() -> ServerProgram:
    """Return the server to start: the `mongod` on the PATH, else SecantusDB.

    Raises `NoDatabaseProgram` where there is neither.
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
    # An empty file of ours, or it would take any secantusd.toml that lies about.
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
        # Not another one where everybody finds it, either.
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
        # 200 MB of its own diagnostics are of no use to anybody here.
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--quiet",
    ]
