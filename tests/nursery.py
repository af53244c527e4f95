"""A process that has loaded the program's modules, and forks what `tests.warm_starts` asks for.

`python -m tests.nursery KIND FD`: FD is a socket. A message is a JSON object with the three
standard files; the answer is the process id. KIND is `server` for the database server, else
`program`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orderbook_desktop
from tests.forked import REQUEST_BYTES, become, have_spare_server, run
from tests.starts import PROGRAMS, SERVER

# What these load when they need it, besides the package's own modules.
LIBRARIES: Final = (
    *("motor.motor_asyncio", "ccxt.async_support.binance", "uvicorn", "fastapi", "jinja2"),
    *("rich.progress", "rich.table", "rich.live", "websockets.asyncio.server"),
)
_LOOK_EVERY_S: Final = 0.0002


def _load(kind: str) -> None:
    importlib.import_module(SERVER)
    if kind == "server":
        return
    for name in (*LIBRARIES, "PySide6.QtWidgets"):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(orderbook_desktop.__path__, "orderbook_desktop."):
        if module.name != "orderbook_desktop.__main__":
            importlib.import_module(module.name)
    for name in PROGRAMS:
        importlib.import_module(name)
    importlib.import_module("tests.storage.ready_made").copy_new_databases()


def _nurse(connection: socket.socket) -> Mapping[str, Any] | None:
    """Fork what is asked for until the other side closes; return what to run in a child."""
    while True:
        message, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
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
            return _raised(request, files)
        os.waitpid(between, 0)
        connection.send(os.read(reader, 100))
        for file in (*files, reader, writer):
            os.close(file)


def _raised(request: dict[str, Any], files: Sequence[int]) -> Mapping[str, Any]:
    """Become the program that is asked for, or its database server; return what to run."""
    if request["module"] != SERVER and not request["variables"].get("MONGO_DSN"):
        server = have_spare_server(files)
        if server is not None:
            return server
    become(request, files)
    return request


if __name__ == "__main__":
    _load(sys.argv[1])
    gc.collect()
    gc.freeze()
    asked = _nurse(socket.socket(fileno=int(sys.argv[2])))
    if asked is not None:
        run(asked)
