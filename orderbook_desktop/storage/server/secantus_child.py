"""SecantusDB as a child of this program, where other users of the computer can't reach it.

    secantus_child serve LISTENER --password-file FILE ARGUMENTS…   serves a database, locked
    secantus_child make --password-file FILE ARGUMENTS…             creates a database, and ends
    secantus_child reset --password-file FILE ARGUMENTS…            changes our password, and ends

ARGUMENTS are SecantusDB's own. LISTENER is `--socket PATH`, or `--tls-port-file FILE` with
`--certificate FILE` and `--authority FILE`. The port is not on the command line, which all users
can read.

SecantusDB creates the first user of a locked database only while the database is open to all.
Here the user is created before the listener, so that no database is ever open. This module runs
only in the child: SecantusDB is under the GPL, and the program itself does not import it.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from secantus import cli
from secantus import server as secantus_server
from secantus.commands import CommandContext, dispatch
from secantus.server import SecantusDBServer
from secantus.storage import Storage
from wiredtiger import WiredTigerError

from orderbook_desktop.storage.server.listeners import TlsListener, UnixListener, server_context
from orderbook_desktop.storage.server.quick_storage import QuickStorage

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
# The only user of the server, in its database `admin` (`credentials.USER`).
USER: Final = "orderbook"

# SecantusDB keeps the documents of all collections in sixteen tables. It creates a table with the
# first collection that belongs there. A kill in that millisecond leaves half a table, and then
# the whole database can't be read any more. So all tables are created before anything is recorded.
# SecantusDB chooses the table by the low bits of a hash (FNV-1a) of database and collection. They
# are a bijection of the low bits of the last letter, so sixteen successive letters reach all.
_SETUP: Final = "setup"
# Until the next checkpoint the log grows and removed documents keep their disk space. SecantusDB's
# default is a checkpoint a minute.
_CHECKPOINT: Final = ("SECANTUS_CHECKPOINT_SECONDS", "10")
_COLLECTIONS: Final = "abcdefghijklmnop"

_OPLOG: Final = "table:secantus_oplog"
_OPLOG_BOUNDS: Final = ("oplog_retention_seconds", "oplog_max_entries")
_NEVER: Final = 10**12
# It takes one to twenty milliseconds, beside all other work.
_GIVE_BACK_EVERY: Final = 10
# The engine removes so many entries in a few milliseconds, and other threads run meanwhile.
_TRIMMED_AT_ONCE: Final = 1_000
_TRIM_PAUSE_S: Final = 0.02
_KEPT_AT_LEAST: Final = 1_000


class OplogTrimmer:
    """Removes the entries of the op-log that no change stream needs any more, in small slices.

    SecantusDB would do so within the transaction of an insert or removal: all old entries at once,
    one by one, although the transaction may have to be repeated. A start on the files of a busy
    recording finds up to 200,000 of them, which held up all writes for half a minute and took
    110 MB.

    An entry stays for `ticks`, and for as long as it is among the newest thousand: with an empty
    op-log no stream of a quiet database could resume. At most `most` entries stay. Call `tick()`
    once a second, from one thread, and `close()` before the storage is closed. Meanwhile `stopped`
    ends what is under way.
    """

    def __init__(self, storage: Storage, ticks: int, most: int, stopped: threading.Event) -> None:
        self._storage = storage
        self._most = most
        self._stopped = stopped
        # The number of the newest entry at each of the last ticks. Neither a clock that steps nor
        # the time of a suspended server counts, so readers that were suspended with it still find
        # their place.
        self._tails: deque[int] = deque(maxlen=ticks)
        self._floor = storage.oplog_floor_seq()
        # An engine session of its own; no transaction is begun by this.
        self._handle = storage.begin_user_transaction()

    def tick(self) -> None:
        """Remove the entries that are too old now, or too many. Raises `WiredTigerError`."""
        tail = self._storage.oplog_visible_tail_seq()
        is_full = len(self._tails) == self._tails.maxlen
        too_old = min(self._tails[0], tail - _KEPT_AT_LEAST) if is_full else 0
        kept_from = max(too_old, tail - self._most) + 1
        self._tails.append(tail)
        while self._floor < kept_from and not self._stopped.is_set():
            self._remove_before(min(self._floor + _TRIMMED_AT_ONCE, kept_from))
            self._stopped.wait(_TRIM_PAUSE_S)

    def close(self) -> None:
        """Give the session back."""
        self._storage.abort_user_transaction(self._handle)

    def _remove_before(self, seq: int) -> None:
        session = self._handle.session
        cursors = [session.open_cursor(_OPLOG, None) for _ in range(2)]
        first, last = cursors
        try:
            first.set_key(self._floor)
            last.set_key(seq - 1)
            session.truncate(None, first, last, None)
        finally:
            for cursor in cursors:
                cursor.close()
        self._floor = seq


class Upkeep(threading.Thread):
    """Every `tick_s` it trims the op-log of `storage`; now and then it gives free memory back.

    An entry of the op-log stays for `seconds`, but at most `most` entries stay. Call `stop()`
    before the storage is closed.
    """

    def __init__(self, storage: Storage, seconds: float, most: int, *, tick_s: float = 1.0) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._stopped = threading.Event()
        self._tick_s = tick_s
        ticks = max(round(seconds / tick_s), 1)
        self._trimmer = OplogTrimmer(storage, ticks, most, self._stopped)
        self._has_failed = False

    def run(self) -> None:
        """Work until `stop()`."""
        for tick in count(1):
            if self._stopped.wait(self._tick_s):
                return
            self._trim()
            if tick % _GIVE_BACK_EVERY == 0:
                give_back_memory()

    def stop(self) -> None:
        """End, and return when nothing is being done any more."""
        self._stopped.set()
        if self.is_alive():
            self.join()
        self._trimmer.close()

    def _trim(self) -> None:
        try:
            self._trimmer.tick()
        except WiredTigerError as error:
            if not self._has_failed:
                log.warning("the op-log can't be trimmed now: %s", error)
            self._has_failed = True
        else:
            self._has_failed = False


def give_back_memory() -> None:
    """Give memory that is free back to the system, where its C library can do so (glibc).

    It keeps what is free between blocks in use. After large answers that was half of this process.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class ChildServer(SecantusDBServer):  # type: ignore[misc] # it has no types
    """A SecantusDB that does the task in `options`. SecantusDB's own command creates it."""

    def __init__(self, options: argparse.Namespace, **settings: Any) -> None:
        bounds = {name: settings.pop(name) for name in _OPLOG_BOUNDS}
        # Else SecantusDB trims its op-log, too, within the writes.
        super().__init__(**settings, **dict.fromkeys(_OPLOG_BOUNDS, _NEVER))
        self._upkeep = Upkeep(self.storage, *bounds.values())
        self._options = options
        self._password = options.password_file.read_text("ascii").strip()

    def start(self) -> None:
        """Do the task. The task `serve` continues in threads."""
        if self._options.task == "reset":
            self._change_password()
        else:
            self._admit()
        if self._options.task == "serve":
            self._listen()
            return
        if self._options.task == "make":
            self._make_tables()
        self.stop()

    def wait(self) -> None:
        """Return when the server was stopped, or the task is done.

        Python runs a signal's handler between two steps of the main thread. A signal in the
        instant before the thread falls asleep would not wake it; the byte that it writes does.
        """
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        while not self._stop_event.is_set():
            woken.recv(1)

    def _listen(self) -> None:
        # Else the engine keeps this thread's view of the files as long as the server runs, with all
        # documents that are removed or changed later, and never reuses their disk space.
        self.storage.release_thread_snapshot()
        options = self._options
        self._socket: UnixListener | TlsListener | None
        if options.socket is not None:
            self._socket = UnixListener(options.socket)
        else:
            context = server_context(options.certificate, options.authority)
            self._socket = TlsListener(HOST, port_in(options.tls_port_file), context)
        self._thread = threading.Thread(
            target=self._serve_forever, name="secantus-accept", daemon=True
        )
        self._thread.start()
        self._upkeep.start()

    def stop(self) -> None:
        """End all threads, and close the files."""
        self._upkeep.stop()
        super().stop()

    def _admit(self) -> None:
        """Create our user if it is missing: in a new database, or in one that was never locked.

        Other users of a database that was never locked are removed.
        """
        if self.storage.get_user("admin", USER) is not None:
            return
        for other in self.storage.list_users():
            self.storage.drop_user(other["db"], other["user"])
            log.warning("user %s of database %s is not ours: removed", other["user"], other["db"])
        self._run("admin", createUser=USER, pwd=self._password, roles=["root"])

    def _change_password(self) -> None:
        if self.storage.get_user("admin", USER) is None:
            self._admit()
        else:
            self._run("admin", updateUser=USER, pwd=self._password, roles=["root"])

    def _make_tables(self) -> None:
        for name in _COLLECTIONS:
            self._run(_SETUP, create=name)
        self._run(_SETUP, dropDatabase=1)

    def _run(self, database: str, **command: Any) -> None:
        """Run a command as a client with all rights would."""
        context = CommandContext(0, self.storage, self.cursors, db_name=database)
        answer = dispatch({**command, "$db": database}, context)
        if answer.get("ok") != 1.0:
            raise RuntimeError(f"{next(iter(command))}: {answer.get('errmsg')}")


def port_in(file: Path) -> int:
    """Return the port that `TlsPlace.write_port` wrote."""
    return int(file.read_text("ascii").rpartition(":")[2])


def main(arguments: list[str], storage: type[Storage] = QuickStorage) -> int:
    """Run SecantusDB with `arguments` on files of `storage`; return its exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("task", choices=("serve", "make", "reset"))
    parser.add_argument("--password-file", type=Path, required=True)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--socket", type=Path)
    place.add_argument("--tls-port-file", type=Path)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--authority", type=Path)
    options, rest = parser.parse_known_args(arguments)
    if options.task == "serve" and options.socket is None and options.tls_port_file is None:
        parser.error("serve needs --socket or --tls-port-file")
    os.environ.setdefault(*_CHECKPOINT)
    secantus_server.Storage = storage
    cli.SecantusDBServer = partial(ChildServer, options)
    return int(cli.main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
