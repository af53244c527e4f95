"""The errors of the database. The text of each is one sentence for the user.

    KnownError
    └── DatabaseError
        ├── BadDsn                  MONGO_DSN cannot be read
        ├── DatabaseUnreachable     MONGO_DSN names a server that does not answer
        ├── BadCredentials          the server at MONGO_DSN refuses the user
        ├── StandaloneServer        that server is no replica set, so it has no change streams
        ├── UninitiatedReplicaSet   that server's replica set was never initiated
        ├── NoDatabaseProgram       no MONGO_DSN, no mongod, no SecantusDB
        ├── DataFolderUnusable      the data folder can't be created or written
        ├── DataFolderFull          its disk is full
        ├── DatabaseFolderBusy      another process has the database's files open
        ├── NoDatabaseYet           the data folder has no database yet
        ├── NoFileHandles           no further file can be opened
        ├── NoMemory                the system gives no memory, or no thread
        ├── FileSizeLimited         the limit of file sizes is too low
        ├── DiskFails               the disk itself can't be read or written
        ├── OtherVersion            another version of the server wrote the files
        ├── OtherServerMissing      … and that version is not to be had (server_versions.py)
        ├── DamageSuspected         the files look damaged; nothing is proven yet
        ├── DatabaseDamaged         the files are proven to be damaged
        ├── PlaceTaken              another program listens where the server should
        ├── ServerFailed            the server ended while it started
        │   └── ServerKilled        the server was killed while it started
        ├── UnknownToServer         the server refuses our stored password
        ├── ServerTooSlow           the server did not get ready in time
        ├── OwnerSilent             another window owns the folder and runs no server
        ├── OwnerUnproven           another window's server may belong to another user
        ├── OwnerUnlocked           another window's server, an older one, asks for no password
        ├── NewerSchema             a newer program wrote the database
        ├── UnknownSchema           the stored number of the schema is damaged
        ├── OlderRecorder           an older program records into the database
        ├── RecordingConflict       another event is stored under the same id (event_writer.py)
        ├── UnstorableEvent         the database can't take an event (event_writer.py)
        ├── UnstorableAmong         the same, of several at once (event_writer.py)
        ├── TradeConflict           another trade is stored under the same id (trade_batches.py)
        ├── TradesBusy              other programs store the same trades (trade_writer.py)
        ├── DamagedDocument         a stored document is damaged (packing.py)
        ├── ChunkFenced             another archiver has the segment (chunks.py)
        ├── ChunkNotKept            a chunk reads back differently (chunks.py)
        ├── UnprovenChunk           a chunk differs from its events (packing.py)
        ├── UnprovenTrades          a chunk differs from its trades (trade_chunks.py)
        ├── MissingTrades           trades to be packed are missing (packed_trades.py)
        ├── MissingEvents           a recorded part is missing (segment_reader.py)
        ├── WideEvents              no scale holds all levels (segment_reader.py)
        ├── NotCovered              the book is unknown then (recording.py)
        ├── CrossedRecording        a bid reaches an ask (recording.py)
        ├── DamagedRecording        what is damaged can't be packed (packed_file.py)
        ├── RecordingFault          verification found a fault (segment_proof.py)
        ├── StillRecorded           what is removed is in use (removal.py)
        ├── NoSuchImport            no import has an id that begins so (removal.py)
        ├── AmbiguousImport         the ids of several imports begin so (removal.py)
        ├── NotRecorded             no process records the market (change_stream.py)
        ├── RecordingUnreadable     the recorded book can't be read (change_stream.py)
        └── DatabaseFailed          the database failed during a command (failures.py)

No error holds a password: a DSN is redacted before it is passed to an error.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError

_SYSTEM_WORDS: Final = re.compile(
    r"too many open files|file too large|cannot allocate memory|can't start new thread"
    r"|input/output error|read-only file system|no space left on device|disk quota exceeded",
    re.IGNORECASE,
)


def system_words(text: str) -> str:
    """Return the words in a server's answer `text` that say what the system denied it, or empty."""
    found = _SYSTEM_WORDS.search(text)
    return found.group(0) if found else ""


class DatabaseError(KnownError):
    """Root of the errors of the database."""


class BadDsn(DatabaseError):
    """`MONGO_DSN` cannot be read as an address; `reason` comes from the driver."""

    dsn: str
    reason: str

    def __str__(self) -> str:
        return (
            f"MONGO_DSN ({self.dsn}) is not a usable address ({self.reason}); it should look "
            "like mongodb://host:27017/?replicaSet=rs0, or be left empty."
        )


class DatabaseUnreachable(DatabaseError):
    """No usable server answers at `MONGO_DSN`; `reason` comes from the driver."""

    dsn: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} does not answer ({self.reason}); check that it runs "
            "and that MONGO_DSN is right, or leave MONGO_DSN empty."
        )


class BadCredentials(DatabaseError):
    """The database at `MONGO_DSN` refuses the user, or asks for one and none is `given`."""

    dsn: str
    given: bool

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
    """The server at `MONGO_DSN` is a standalone server, which has no change streams."""

    dsn: str

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} is a standalone server, which cannot stream changes; "
            "start mongod with --replSet rs0 and run rs.initiate() once, or leave MONGO_DSN "
            "empty."
        )


class UninitiatedReplicaSet(DatabaseError):
    """The server at `MONGO_DSN` was started with `--replSet` and never initiated."""

    dsn: str

    def __str__(self) -> str:
        return (
            f"The database at {self.dsn} waits to become a replica set; run rs.initiate() on it "
            "once, or leave MONGO_DSN empty."
        )


class NoDatabaseProgram(DatabaseError):
    """No server is given, and there is none to start."""

    def __str__(self) -> str:
        return (
            "There is no database to record into: install MongoDB so that mongod is on the PATH, "
            "or set MONGO_DSN (SecantusDB, the built-in one, does not exist for this computer, "
            "as on Macs with an Intel processor, or is not installed)."
        )


class DataFolderUnusable(DatabaseError):
    """The data folder cannot be created or written; `reason` comes from the operating system."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return (
            f"The data folder {self.folder} cannot be written ({self.reason}); "
            "choose another with ORDERBOOK_DATA_DIR."
        )


class DataFolderFull(DatabaseError):
    """The disk of the data folder is full."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"The disk of the data folder {self.folder} is full; "
            "free some space, or choose another folder with ORDERBOOK_DATA_DIR."
        )


class DatabaseFolderBusy(DatabaseError):
    """Another process has the database's files open; `holder` names it, if it is known."""

    folder: Path
    holder: str = ""

    def __str__(self) -> str:
        holder = self.holder or "another program"
        return f"The database files in {self.folder} are in use by {holder}; close that first."


class NoDatabaseYet(DatabaseError):
    """There is no database in `folder` whose password could be changed."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"There is no database in {self.folder} whose password could be changed; record "
            "something first, or look elsewhere with ORDERBOOK_DATA_DIR."
        )


class NoFileHandles(DatabaseError):
    """The limit of open files is reached, for this process or for the computer."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"The database in {self.folder} can't open its files, because the limit of open files "
            "is reached; close other programs, or raise it (ulimit -n 4096), and start again."
        )


class NoMemory(DatabaseError):
    """The system gives the database no memory, or no thread."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"The database in {self.folder} gets no memory or no thread from the system; close "
            "other programs, or raise the limits of this one (see ulimit -a), and start again."
        )


class FileSizeLimited(DatabaseError):
    """The limit of file sizes is too low for the database."""

    folder: Path

    def __str__(self) -> str:
        return (
            f"The database in {self.folder} may not write files as large as it needs; raise the "
            "limit of file sizes (ulimit -f unlimited), or choose a folder on another disk with "
            "ORDERBOOK_DATA_DIR."
        )


class DiskFails(DatabaseError):
    """The disk of the data folder fails; `reason` comes from the operating system."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return (
            f"The disk of the data folder {self.folder} does not work ({self.reason}); check the "
            "disk and its connection, and start again."
        )


class OtherVersion(DatabaseError):
    """The database's files were written by an incompatible `version` of the server.

    The version is empty where it is not known.
    """

    name: str
    folder: Path
    log_path: Path
    version: str = ""

    def __str__(self) -> str:
        version = (
            f"{self.name} {self.version}" if self.version else f"another version of {self.name}"
        )
        return (
            f"The database files in {self.folder} were written by {version}; "
            f"use that version, or choose another folder with ORDERBOOK_DATA_DIR (details: "
            f"{self.log_path})."
        )


class DamageSuspected(DatabaseError):
    """The server's log lines fit damaged files, among other causes; a second start will show.

    `reason` is its last log line. `is_corrupt` is true if the storage engine found files that
    differ from what it wrote.
    """

    folder: Path
    log_path: Path
    reason: str
    is_corrupt: bool

    def __str__(self) -> str:
        return (
            f"The database server could not use its files in {self.folder} and is started again; "
            f"see {self.log_path} for its messages."
        )


class DatabaseDamaged(DatabaseError):
    """The database's files are proven to be damaged.

    There are two proofs (`storage.server.start_failures`). Either the storage engine reports damage
    at two starts, although the system gives the server all that it needs. Or a file is missing or
    unreadable that the engine always has. Only then is the user asked to move the recordings.
    """

    folder: Path
    log_path: Path

    def __str__(self) -> str:
        return (
            f"The database files in {self.folder} are damaged; to go on with an empty database, "
            f"move that folder aside (details: {self.log_path})."
        )


class PlaceTaken(DatabaseError):
    """Another program listens where the database server should; `holder` names it."""

    place: str
    holder: str

    def __str__(self) -> str:
        return (
            f"{self.place[0].upper()}{self.place[1:]}, meant for the database, is taken by "
            f"{self.holder}, to which nothing was sent; end that program, and start again."
        )


class ServerFailed(DatabaseError):
    """The database server ended while it started; `reason` is its last log line."""

    name: str
    reason: str
    log_path: Path

    def __str__(self) -> str:
        return (
            f"The database server {self.name} could not start ({self.reason}); "
            f"see {self.log_path} for its messages."
        )


class ServerKilled(ServerFailed):
    """The database server was killed while it started; the next start may succeed."""

    def __init__(self, name: str, log_path: Path) -> None:
        super().__init__(name, "it was killed", log_path)


class UnknownToServer(DatabaseError):
    """Our own database server refuses the password in its password file."""

    name: str
    password_path: Path

    def __str__(self) -> str:
        return (
            f"The database server {self.name} refuses the password that is kept in "
            f"{self.password_path}; put the right one back there, or have "
            "`orderbook-desktop doctor --reset-database-password` set a new one."
        )


class ServerTooSlow(DatabaseError):
    """The database server runs but did not get ready in `seconds`."""

    name: str
    seconds: float
    log_path: Path

    def __str__(self) -> str:
        return (
            f"The database server {self.name} was not ready after {self.seconds:.0f} s; try "
            f"again, and see {self.log_path} for its messages."
        )


class OwnerSilent(DatabaseError):
    """Another running copy of the program owns the data folder and runs no server."""

    folder: Path
    owner_pid: int | None

    def __str__(self) -> str:
        process = f" (process {self.owner_pid})" if self.owner_pid else ""
        return (
            f"Another running copy of this program{process} holds the data folder {self.folder} "
            "but runs no database; close it, or choose another folder with ORDERBOOK_DATA_DIR."
        )


class OwnerUnproven(DatabaseError):
    """The listener that answers for another copy's database may belong to another user."""

    place: str
    owner_pid: int | None

    def __str__(self) -> str:
        process = f" (process {self.owner_pid})" if self.owner_pid else ""
        return (
            f"The database that another copy of this program{process} should run at {self.place} "
            "may belong to another user, so it is not used; close that copy, and start again."
        )


class OwnerUnlocked(DatabaseError):
    """An older copy of the program runs the database without a password."""

    owner_pid: int | None

    def __str__(self) -> str:
        process = f" (process {self.owner_pid})" if self.owner_pid else ""
        return (
            f"An older copy of this program{process} runs the database open to every user of this "
            "computer; close it, and start again."
        )


def folder_error(folder: Path, error: OSError) -> DatabaseError:
    """Return the `DatabaseError` for `error`, which came from writing to the data folder."""
    reason = error.strerror or type(error).__name__
    known: dict[int, DatabaseError] = {
        errno.ENOSPC: DataFolderFull(folder),
        errno.EDQUOT: DataFolderFull(folder),
        errno.EMFILE: NoFileHandles(folder),
        errno.ENFILE: NoFileHandles(folder),
        errno.ENOMEM: NoMemory(folder),
        errno.EAGAIN: NoMemory(folder),
        errno.EFBIG: FileSizeLimited(folder),
        errno.EIO: DiskFails(folder, reason),
        errno.ENODEV: DiskFails(folder, reason),
        errno.ENXIO: DiskFails(folder, reason),
        errno.ESTALE: DiskFails(folder, reason),
        errno.ENOTCONN: DiskFails(folder, reason),
    }
    return known.get(error.errno or 0, DataFolderUnusable(folder, reason))


class NewerSchema(DatabaseError):
    """A later version of this program wrote the database: of schema `found`; we know `known`."""

    found: int
    known: int

    def __str__(self) -> str:
        return (
            f"The recording was written by a newer version of this program (schema {self.found}, "
            f"this one knows {self.known}); update the program or choose another DB_NAME."
        )


class UnknownSchema(DatabaseError):
    """The database has no number of a schema, but `found`; or nothing, and `found` is empty."""

    found: str

    def __str__(self) -> str:
        found = f" ({self.found})" if self.found else ""
        return (
            f"The number of the database's schema is damaged{found}, so the program neither reads "
            "nor writes there; restore the database from a backup, or choose another DB_NAME."
        )


class OlderRecorder(DatabaseError):
    """An earlier version of the program records `market` into the database."""

    market: str

    def __str__(self) -> str:
        return (
            f"An older version of this program is recording {self.market} into this database; stop "
            "it, so that the recording can be brought up to date."
        )
