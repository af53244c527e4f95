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
from orderbook_desktop.storage.server.credentials import key_path

REPLICA_SET: Final = "orderbook"

# The second executable of a frozen bundle, in the folder of the first: it is guard and
# SecantusDB in one, since a bundle has no interpreter that could be told `-m secantus`.
BUNDLED_DATABASE: Final = (
    "orderbook-database.exe" if sys.platform == "win32" else ("orderbook-database")
)

# What a reader can have missed and still resume. It is counted anew at each start of SecantusDB
# (0.2 s for so many), so more would cost readiness; a reader that is later than this rebuilds.
_OPLOG_ENTRIES: Final = 50_000
_OPLOG_SECONDS: Final = 86_400
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

    def command_line(self, port: int, folder: Path, *, locked: bool = True) -> list[str]:
        """Return the command that serves `folder` on 127.0.0.1:`port`.

        `locked`: to its users only; a mongod then needs the key in `key_path(folder)`.
        """
        if self.kind is ServerKind.SECANTUS:
            lock = ["--auth"]
            arguments = _secantus_arguments(port, folder)
        else:
            # A replica set's members must know one another; this also makes them ask for users.
            lock = ["--keyFile", str(key_path(folder))]
            arguments = _mongod_arguments(port, folder)
        return [*self.command, *arguments, *(lock if locked else ())]


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
        return ServerProgram(ServerKind.SECANTUS, (sys.executable, "-P", "-m", "secantus"))
    raise NoDatabaseProgram


def is_frozen() -> bool:
    """Return whether this is a bundle without a Python interpreter of its own."""
    return bool(getattr(sys, "frozen", False))


def bundled_database() -> Path:
    """Return where a frozen bundle has its second executable."""
    return Path(sys.executable).with_name(BUNDLED_DATABASE)


def _secantus_arguments(port: int, folder: Path) -> list[str]:
    # An empty file of ours, or it would take any secantusd.toml that lies about.
    config = folder.parent / "secantus.toml"
    return [
        *("--config", str(config)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--storage-path", str(folder)),
        *("--log-level", "WARNING"),
        *("--cache-size", _CACHE),
        *("--oplog-max-entries", str(_OPLOG_ENTRIES)),
        *("--oplog-retention-seconds", str(_OPLOG_SECONDS)),
        "--sync-on-commit",
    ]


def _mongod_arguments(port: int, folder: Path) -> list[str]:
    return [
        *("--bind_ip", "127.0.0.1", "--port", str(port)),
        *("--dbpath", str(folder)),
        *("--replSet", REPLICA_SET),
        *("--oplogSize", "990"),
        *("--wiredTigerCacheSizeGB", "0.25"),
        # 200 MB of its own diagnostics are of no use to anybody here.
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--quiet",
        *(() if sys.platform == "win32" else ("--nounixsocket",)),
    ]
