"""Which copy of the program runs the database of a data folder: its lock, and its record."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orderbook_desktop.storage.errors import DatabaseError, folder_error
from orderbook_desktop.storage.server.certificates import certificates_of
from orderbook_desktop.storage.server.choice import ServerKind
from orderbook_desktop.storage.server.places import OldPlace, Place, SocketPlace, TlsPlace
from orderbook_desktop.storage.server.times import SERVER_TIMES
from orderbook_desktop.system.atomic_file import atomic_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`server.json`: where the server of a data folder is, for all copies of the program.

    The server listens at the Unix socket `socket`, or at the TLS port `tls_port`. A server of an
    older copy listens at the plain `port`; else that is 0. `pid` is None while no server runs; the
    port stays in the record, so that the next server asks for it again. `owner_pid` is the copy of
    the program that runs the server, and `started_ms` when it started it (ms since the epoch).
    """

    kind: ServerKind
    owner_pid: int
    pid: int | None = None
    socket: str = ""
    tls_port: int = 0
    port: int = 0
    started_ms: int = 0

    def place(self, folder: Path, answer_s: float = SERVER_TIMES.listener_s) -> Place | OldPlace:
        """Return where the server of the database folder `folder` listens.

        A listener at a TLS port has to identify itself within `answer_s`.
        """
        if self.socket:
            return SocketPlace(Path(self.socket))
        if self.tls_port:
            return TlsPlace(self.tls_port, certificates_of(folder / self.kind.value), answer_s)
        return OldPlace(self.port)


class FolderClaim:
    """The claim of one copy of the program on a database folder.

    It is a file lock: the system frees it when the process that holds it ends, even by a kill. Call
    `release()` when done. The folder must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record_path = folder / "server.json"
        self._lock: BaseFileLock | None = None
        self._remembered: ServerRecord | None = None

    @property
    def held(self) -> bool:
        """Whether we own the folder."""
        return self._lock is not None and self._lock.is_locked

    @property
    def last_port(self) -> int:
        """The last TLS port of the folder's server, known once we own the folder; else 0."""
        return self._remembered.tls_port if self._remembered else 0

    def acquire(self) -> bool:
        """Claim the folder if no other copy owns it; return whether we own it.

        Raises `DataFolderUnusable` or `DataFolderFull`.
        """
        # Imported here because the first picture doesn't need it.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        if self.held:
            return True
        if self._lock is None:
            self._lock = FileLock(self._folder / "owner.lock", thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            raise folder_error(self._folder, _as_os_error(error)) from error
        previous = self.read()
        if previous is not None:
            self._remembered = previous
            # Else other copies would take the last owner's server for ours.
            try:
                self.publish(msgspec.structs.replace(previous, pid=None, owner_pid=os.getpid()))
            except DatabaseError:
                # As on a full disk. A later attempt has to write it.
                self._lock.release()
                raise
        return True

    def read(self) -> ServerRecord | None:
        """Return the record; None if it is missing or can't be read."""
        try:
            return msgspec.json.decode(self._record_path.read_bytes(), type=ServerRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read: %s", self._record_path, error)
            return None

    def publish(self, record: ServerRecord) -> None:
        """Write the record in one step. Only the owner may call it. Raises like `acquire`."""
        try:
            with atomic_file(self._record_path, replace=True) as file:
                file.write(msgspec.json.encode(record))
        except OSError as error:
            raise folder_error(self._folder, error) from error

    def release(self) -> None:
        """Give up the claim, if we hold it, and write into the record that no server runs."""
        if self._lock is None or not self.held:
            return
        try:
            record = self.read()
            if record is not None and record.pid is not None:
                self.publish(msgspec.structs.replace(record, pid=None))
        except DatabaseError as error:
            log.warning("the record of the database server could not be closed: %s", error)
        finally:
            self._lock.release()


def _as_os_error(error: OSError | NotImplementedError) -> OSError:
    return error if isinstance(error, OSError) else OSError(0, "it has no file locks")
