"""What can be wrong with the database, each told in one sentence.

    KnownError
    └── DatabaseError
        ├── BadDsn                  MONGO_DSN cannot be read
        ├── DatabaseUnreachable     MONGO_DSN names a server that does not answer
        ├── BadCredentials          it does, and refuses the user
        ├── StandaloneServer        it is no replica set, so it has no change streams
        ├── UninitiatedReplicaSet   it was started as one, and never initiated
        ├── NoDatabaseProgram       no MONGO_DSN, no mongod, no SecantusDB
        ├── DataFolderUnusable      the data folder can't be created or written
        ├── DataFolderFull          its disk is full
        ├── DatabaseFolderBusy      another process has the database's files open
        ├── DatabaseDamaged         the files can't be read
        ├── PortTaken               another program listens on the port
        ├── ServerFailed            the server ended while it started
        │   └── ServerKilled        … because somebody, or the system, killed it
        ├── UnknownToServer         it refuses the password that we keep for it
        ├── ServerTooSlow           it did not get ready in time
        ├── OwnerSilent             another window owns the folder and runs no server
        ├── NewerSchema             a newer program wrote the database (schema.py)
        ├── RecordingConflict       another event is stored under the same id (event_log.py)
        ├── UnstorableEvent         the database can't take an event (event_log.py)
        ├── DamagedDocument         what is stored can't be understood (packing.py)
        ├── NotRecorded             nobody records the market (recorded_snapshots.py)
        ├── RecordingUnreadable     reading it back failed (recorded_snapshots.py)
        └── DatabaseFailed          it failed during a command (failures.py)

None of them ever holds a password: a DSN is redacted before it comes here.
"""

from __future__ import annotations

import errno
from pathlib import Path

from orderbook_desktop.core.errors import KnownError


class DatabaseError(KnownError):
    """Root of what can be wrong with the database."""


class BadDsn(DatabaseError):
    """`MONGO_DSN` cannot be read as an address; `reason` is the driver's finding."""

    def __init__(self, dsn: str, reason: str) -> None:
        self.dsn = dsn
        self.reason = reason
        super().__init__(dsn, reason)

    def __str__(self) -> str:
        return (
            f"MONGO_DSN ({self.dsn}) is not a usable address ({self.reason}); it should look "
            "like mongodb://host:27017/?replicaSet=rs0, or be left empty."
        )


class DatabaseUnreachable(DatabaseError):
    """Nobody usable answers at `MONGO_DSN`; `reason` is the driver's finding."""

    def __init__(self, dsn: str, reason: str) -> None:
        self.dsn = dsn
        self.reason = reason
        super().__init__(dsn, reason)

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} does not answer ({self.reason}); check that it runs "
            "and that MONGO_DSN is right, or leave MONGO_DSN empty."
        )


class BadCredentials(DatabaseError):
    """The database at `MONGO_DSN` refuses the user, or wants one where none is given."""

    def __init__(self, dsn: str, *, given: bool) -> None:
        self.dsn = dsn
        self.given = given
        super().__init__(dsn, given)

    def __str__(self) -> str:
        if self.given:
            return (
                f"The database at {self.dsn} refused the user name or password; "
                "correct them in MONGO_DSN."
            )
        return (
            f"The database at {self.dsn} asks for a user name and password; put them into "
            "MONGO_DSN as mongodb://user:password@host."
        )


class StandaloneServer(DatabaseError):
    """The server at `MONGO_DSN` is a standalone one, which has no change streams."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        super().__init__(dsn)

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} is a standalone server, which cannot stream changes; "
            "start mongod with --replSet rs0 and run rs.initiate() once, or leave MONGO_DSN "
            "empty."
        )


class UninitiatedReplicaSet(DatabaseError):
    """The server at `MONGO_DSN` was started with `--replSet` and never initiated."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        super().__init__(dsn)

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} waits to become a replica set; run rs.initiate() on it "
            "once, or leave MONGO_DSN empty."
        )


class NoDatabaseProgram(DatabaseError):
    """There is no server to use and none to start."""

    def __str__(self) -> str:
        return (
            "There is no database to record into: install MongoDB so that mongod is on the PATH, "
            "or set MONGO_DSN (SecantusDB, the built-in one, does not exist for this computer, "
            "as on Macs with an Intel processor, or is not installed)."
        )


class DataFolderUnusable(DatabaseError):
    """The data folder cannot be created or written; `reason` is the system's."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(folder, reason)

    def __str__(self) -> str:
        return (
            f"The data folder {self.folder} cannot be written ({self.reason}); "
            "choose another with ORDERBOOK_DATA_DIR."
        )


class DataFolderFull(DatabaseError):
    """The disk of the data folder is full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(folder)

    def __str__(self) -> str:
        return (
            f"The disk of the data folder {self.folder} is full; "
            "free some space, or choose another folder with ORDERBOOK_DATA_DIR."
        )


class DatabaseFolderBusy(DatabaseError):
    """Another process has the database's files open; `holder` says who, where known."""

    def __init__(self, folder: Path, holder: str = "") -> None:
        self.folder = folder
        self.holder = holder
        super().__init__(folder, holder)

    def __str__(self) -> str:
        who = self.holder or "another program"
        return f"The database files in {self.folder} are in use by {who}; close that first."


class DatabaseDamaged(DatabaseError):
    """The database's files cannot be read."""

    def __init__(self, folder: Path, log_path: Path) -> None:
        self.folder = folder
        self.log_path = log_path
        super().__init__(folder, log_path)

    def __str__(self) -> str:
        return (
            f"The database files in {self.folder} are damaged; to go on with an empty database, "
            f"move that folder aside (details: {self.log_path})."
        )


class PortTaken(DatabaseError):
    """Another program listens on the port that the database server should have."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(port)

    def __str__(self) -> str:
        return (
            f"Port {self.port} on 127.0.0.1, meant for the database, is taken by another "
            "program; close that, or start again to get another port."
        )


class ServerFailed(DatabaseError):
    """The database server ended while it started; `reason` is the last thing it said."""

    def __init__(self, name: str, reason: str, log_path: Path) -> None:
        self.name = name
        self.reason = reason
        self.log_path = log_path
        super().__init__(name, reason, log_path)

    def __str__(self) -> str:
        return (
            f"The database server {self.name} could not start ({self.reason}); "
            f"see {self.log_path} for what it said."
        )


class ServerKilled(ServerFailed):
    """The database server was killed while it started; it may well start the next time."""

    def __init__(self, name: str, log_path: Path) -> None:
        super().__init__(name, "it was killed", log_path)


class UnknownToServer(DatabaseError):
    """The database server of our own refuses the password that is kept for it."""

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        super().__init__(name, log_path)

    def __str__(self) -> str:
        return (
            f"The database server {self.name} refuses the password that is kept for it, and a "
            f"new one too; start again, and see {self.log_path} for what it said."
        )


class ServerTooSlow(DatabaseError):
    """The database server runs but did not get ready in `seconds`."""

    def __init__(self, name: str, seconds: float, log_path: Path) -> None:
        self.name = name
        self.seconds = seconds
        self.log_path = log_path
        super().__init__(name, seconds, log_path)

    def __str__(self) -> str:
        return (
            f"The database server {self.name} was not ready after {self.seconds:.0f} s; try "
            f"again, and see {self.log_path} for what it said."
        )


class OwnerSilent(DatabaseError):
    """Another running copy of the program owns the data folder and runs no server."""

    def __init__(self, folder: Path, owner_pid: int | None) -> None:
        self.folder = folder
        self.owner_pid = owner_pid
        super().__init__(folder, owner_pid)

    def __str__(self) -> str:
        who = f" (process {self.owner_pid})" if self.owner_pid else ""
        return (
            f"Another running copy of this program{who} keeps the data folder {self.folder} but "
            "runs no database; close it, or choose another folder with ORDERBOOK_DATA_DIR."
        )


def folder_error(folder: Path, error: OSError) -> DatabaseError:
    """Return what `error`, met while writing to the data folder `folder`, means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataFolderFull(folder)
    return DataFolderUnusable(folder, error.strerror or type(error).__name__)
