"""A forked process becomes a program: what it has of its own, and how it ends.

It is as a new process would be, apart from the modules that are loaded already.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import runpy
import secrets
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO

from tests.starts import ENCODING_VARIABLE, SERVER, ForkedStarts, Start

REQUEST_BYTES: Final = 1_000_000
_PR_SET_PDEATHSIG: Final = 1
_READY: Final = b"ready"


def set_process(option: int, value: int) -> None:
    """Call Linux's `prctl`. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Become what a new process would be, apart from the loaded modules."""
    if request["guard_of"]:
        set_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != request["guard_of"]:
            os._exit(0)
    if request["is_leader"] and os.getsid(0) != os.getpid():
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    time.tzset()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _open_standard_files()
    _have_own_token()
    if request["has_folder_on_path"]:
        sys.path[0] = request["folder"]
    else:
        del sys.path[0]
    sys.argv = [request["module"], *request["arguments"]]
    sys.modules["__main__"] = types.ModuleType("__main__")
    # It is run as `__main__`: only what it imports stays loaded.
    if not hasattr(sys.modules[request["module"]], "__path__"):
        del sys.modules[request["module"]]


def run(request: Mapping[str, Any]) -> None:
    """Run what this process has become, to its end."""
    # What `python -m` calls.
    run_module = vars(runpy)["_run_module_as_main"]
    run_and_end(partial(run_module, request["module"], alter_argv=True))


def run_and_end(run_program: Callable[[], object]) -> None:
    """Run a program, and end the process as Python does, without freeing all that is loaded.

    That takes longer than most programs run. After an error, and if the output can't be written,
    Python itself ends the process.
    """
    code: str | int | None = None
    try:
        run_program()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            raise
    vars(threading)["_shutdown"]()
    vars(atexit)["_run_exitfuncs"]()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(int(code or 0) & 0xFF)


class SpareServer:
    """A child that waits to become the first database server of this process, and ends with it.

    It has to be forked before this process has threads. The server's module is loaded.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self._pid = pid
        self._is_waiting = True
        ForkedStarts(self._forker_of).begin()
        atexit.register(self._close)

    def start(self, request: dict[str, Any], files: Sequence[int]) -> int | None:
        """Have it become the server; None where it was killed."""
        self._is_waiting = False
        with self._connection, suppress(OSError):
            socket.send_fds(self._connection, [json.dumps(request).encode()], list(files))
            if self._connection.recv(len(_READY)) == _READY:
                return self._pid
        os.waitpid(self._pid, 0)
        return None

    def _forker_of(self, start: Start) -> SpareServer | None:
        return self if self._is_waiting and start.module == SERVER and start.guard_of else None

    def _close(self) -> None:
        if self._is_waiting:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def have_spare_server(not_its_files: Sequence[int] = ()) -> Mapping[str, Any] | None:
    """Fork a spare server. Return None; there, when the server is needed, what to run.

    `not_its_files` are closed there.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if pid != 0:
        theirs.close()
        SpareServer(ours, pid)
        return None
    set_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    # Signals to the group of its parent are none to it.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    ours.close()
    for file in not_its_files:
        os.close(file)
    message, files, _, _ = socket.recv_fds(theirs, REQUEST_BYTES, 3)
    if not message:
        os._exit(0)
    request: dict[str, Any] = json.loads(message)
    become(request, files)
    theirs.send(_READY)
    theirs.close()
    return request


def _have_own_token() -> None:
    """Have a token of this process's own, by which recorders know one another."""
    owner = sys.modules.get("orderbook_desktop.storage.store.owner")
    if owner is not None:
        vars(owner)["_TOKEN"] = secrets.token_hex(8)


def _open_standard_files() -> None:
    """Open them as Python does at its start."""
    encoding, _, errors = os.environ.get(ENCODING_VARIABLE, "").partition(":")
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old: TextIO = getattr(sys, name)
        is_error = name == "stderr"
        handling = errors or ("strict" if encoding else old.errors)
        stream = open(  # noqa: SIM115 - open until the end
            number,
            mode,
            1 if is_error else -1,
            encoding or old.encoding,
            old.errors if is_error else handling,
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
