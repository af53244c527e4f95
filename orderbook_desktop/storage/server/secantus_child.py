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
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

from secantus import cli
from secantus.commands import CommandContext, dispatch
from secantus.server import SecantusDBServer

from orderbook_desktop.storage.server.listeners import TlsListener, UnixListener, server_context

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


class ChildServer(SecantusDBServer):  # type: ignore[misc] # it has no types
    """A SecantusDB that does the task in `options`. SecantusDB's own command creates it."""

    def __init__(self, options: argparse.Namespace, **settings: Any) -> None:
        super().__init__(**settings)
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


def main(arguments: list[str]) -> int:
    """Run SecantusDB with `arguments`; return its exit code."""
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
    cli.SecantusDBServer = partial(ChildServer, options)
    return int(cli.main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
