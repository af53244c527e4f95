"""A process that has loaded the program's modules, and forks what `tests.warm_starts` asks for.

`python -m tests.nursery KIND FD`: FD is a socket. A message is a JSON object with the three
standard files; the answer is the process id. KIND is `server` for the database server, else
`program`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import secrets
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TextIO

import orderbook_desktop

SERVER: Final = "orderbook_desktop.storage.server.secantus_child"
PROGRAMS: Final = (
    "orderbook_desktop",
    "tests.app.unhurried_program",
    "tests.faults.hasty_program",
    "tests.faults.chaos.exchange",
    "tests.storage.other_copy",
)
# Python reads it at its start; the nursery does so for what it forks.
ENCODING_VARIABLE: Final = "PYTHONIOENCODING"
# What these load when they need it, besides the package's own modules.
LIBRARIES: Final = (
    *("motor.motor_asyncio", "ccxt.async_support.binance", "uvicorn", "fastapi", "jinja2"),
    *("rich.progress", "rich.table", "rich.live", "websockets.asyncio.server"),
)
_PR_SET_PDEATHSIG: Final = 1
_REQUEST_BYTES: Final = 1_000_000
_LOOK_EVERY_S: Final = 0.0002


def set_process(option: int, value: int) -> None:
    """Call Linux's `prctl`. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def run_and_end(run: Callable[[], object]) -> None:
    """Run a program, and end the process as Python does, without freeing all that is loaded.

    That takes longer than most programs run. After an error, and if the output can't be written,
    Python itself ends the process.
    """
    code: str | int | None = None
    try:
        run()
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


def _load(kind: str) -> None:
    if kind == "server":
        importlib.import_module(SERVER)
        return
    for name in (*LIBRARIES, "PySide6.QtWidgets"):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(orderbook_desktop.__path__, "orderbook_desktop."):
        if module.name not in (SERVER, "orderbook_desktop.__main__"):
            importlib.import_module(module.name)
    for name in PROGRAMS:
        importlib.import_module(name)
    importlib.import_module("tests.storage.ready_made").copy_new_databases()


def _nurse(connection: socket.socket) -> dict[str, Any] | None:
    """Fork what is asked for until the other side closes; return the request in a child."""
    while True:
        message, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
        if not message:
            return None
        request: dict[str, Any] = json.loads(message)
        parent = os.getppid()
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child != 0:
                os.write(writer, str(child).encode())
                os._exit(0)
            connection.close()
            os.close(reader)
            os.close(writer)
            # The end of the process between makes it a child of the one that asked.
            while os.getppid() != parent:
                time.sleep(_LOOK_EVERY_S)
            _become(request, files)
            return request
        os.waitpid(between, 0)
        connection.send(os.read(reader, 100))
        for one in (*files, reader, writer):
            os.close(one)


def _become(request: dict[str, Any], files: Sequence[int]) -> None:
    """Become what a new process would be, apart from the loaded modules."""
    if request["guard_of"]:
        set_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != request["guard_of"]:
            os._exit(0)
    if request["is_leader"]:
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


if __name__ == "__main__":
    _load(sys.argv[1])
    gc.collect()
    gc.freeze()
    asked = _nurse(socket.socket(fileno=int(sys.argv[2])))
    if asked is not None:
        # What `python -m` calls.
        run_module = vars(runpy)["_run_module_as_main"]
        run_and_end(partial(run_module, asked["module"], alter_argv=True))
