"""Who runs the database of a data folder: the lock its owner holds, the record others read."""

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
    """`server.json`: the server of a data folder, for every copy of the program to find.

    It listens at the Unix socket `socket`, or at the TLS port `tls_port`; one of a copy older
    than both at the plain `port`, which is 0 otherwise. `pid` is None while it doesn't run; its
    place is kept then, to be asked for again. `owner_pid` is the program that runs it,
    `started_ms` when (ms since the epoch).
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

        What listens at a port has `answer_s` to say what it is.
        """
        if self.socket:
            return SocketPlace(Path(self.socket))
        if self.tls_port:
            return TlsPlace(self.tls_port, certificates_of(folder / self.kind.value), answer_s)
        return OldPlace(self.port)


class FolderClaim:
    """The claim of one copy of the program on a database folder.

    A lock, since the system frees it when its holder dies, however it dies. Call `release()`
    when done; the folder must exist.
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
        """The TLS port that the folder's server had last, known once we own it; else 0."""
        return self._remembered.tls_port if self._remembered else 0

    def acquire(self) -> bool:
        """Return whether we own the folder, claiming it if nobody does.

        Raises `DataFolderUnusable` or `DataFolderFull`.
        """
        # Imported here because nobody needs it for the first picture.
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
            # What the last owner wrote must not be taken for ours.
            self.publish(msgspec.structs.replace(previous, pid=None, owner_pid=os.getpid()))
        return True

    def read(self) -> ServerRecord | None:
        """Return the record, None where there is none that can be read."""
        try:
            return msgspec.json.decode(self._record_path.read_bytes(), type=ServerRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read: %s", self._record_path, error)
            return None

    def publish(self, record: ServerRecord) -> None:
        """Write the record in one step; only the owner does. Raises like `acquire`."""
        try:
            with atomic_file(self._record_path, replace=True) as file:
                file.write(msgspec.json.encode(record))
        except OSError as error:
            raise folder_error(self._folder, error) from error

    def release(self) -> None:
        """Give the folder up, if it is ours; its record then says that nothing runs."""
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
