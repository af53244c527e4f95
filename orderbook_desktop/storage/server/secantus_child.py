"""SecantusDB as a child of this program, where other users of the computer can't reach it.

    secantus_child serve LISTENER --password-file FILE ARGUMENTS…   serves a database, locked
    secantus_child make --password-file FILE ARGUMENTS…             makes one, and ends
    secantus_child reset --password-file FILE ARGUMENTS…            changes our password, and ends

ARGUMENTS are SecantusDB's own. LISTENER is `--socket PATH`, or `--tls-port-file FILE` with
`--certificate FILE` and `--authority FILE`: a command line is for all to read, so no port is on it.

SecantusDB has no way to make the first user of a locked database but to open it to all. Here the
user is made before the listener is, so that no database is ever open. Run in the child only:
SecantusDB is under the GPL and is not imported by the program itself.
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
# The one user of such a server, in its database `admin` (`credentials.USER`).
USER: Final = "orderbook"

# SecantusDB keeps the documents of all collections in sixteen tables, each of which it makes when
# the first collection comes that belongs there. A kill in that very millisecond leaves a table
# that is half made, and then nothing in the whole database can be read any more: so all are made
# before anything is recorded. The table is chosen by the low bits of a hash (FNV-1a) of database
# and collection. They are a bijection of the last letter's low bits, so sixteen letters in a row
# belong to all of them.
_SETUP: Final = "setup"
# Its log grows, and removed documents keep their room, until the next checkpoint: by itself it
# makes one a minute.
_CHECKPOINT: Final = ("SECANTUS_CHECKPOINT_SECONDS", "10")
_COLLECTIONS: Final = "abcdefghijklmnop"


class ChildServer(SecantusDBServer):  # type: ignore[misc] # it has no types
    """A SecantusDB that does the task in `options`; made by SecantusDB's own command."""

    def __init__(self, options: argparse.Namespace, **settings: Any) -> None:
        super().__init__(**settings)
        self._options = options
        self._password = options.password_file.read_text("ascii").strip()

    def start(self) -> None:
        """Do the task; to serve goes on in threads."""
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

        A signal's handler runs between two steps of the main thread. One that comes in the
        instant before a thread falls asleep would not wake it; what is written by the signal
        itself does.
        """
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        while not self._stop_event.is_set():
            woken.recv(1)

    def _listen(self) -> None:
        # What this thread has read so far would be kept for it, with all that is removed or changed
        # later, for as long as the server runs: nothing of its files would be used again.
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
        """Make our user where there is none: of a new database, or of one that was never locked.

        Who else could use the latter has no business there any more.
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
        """Run a command as a client would that may do everything."""
        context = CommandContext(0, self.storage, self.cursors, db_name=database)
        answer = dispatch({**command, "$db": database}, context)
        if answer.get("ok") != 1.0:
            raise RuntimeError(f"{next(iter(command))}: {answer.get('errmsg')}")


def port_in(file: Path) -> int:
    """Return the port that `TlsPlace.write_port` has written."""
    return int(file.read_text("ascii").rpartition(":")[2])


def main(arguments: list[str]) -> int:
    """Run SecantusDB as `arguments` say; return its exit code."""
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
