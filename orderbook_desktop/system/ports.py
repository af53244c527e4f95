"""Ports on 127.0.0.1: finding a private one, whether one is listened on, and by which process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psutil

HOST: Final = "127.0.0.1"

# Below the ranges that systems use for outgoing connections (Linux from 32768, others from 49152).
# So no connection takes the port while our server restarts. A client that connects meanwhile is
# not connected to itself either, as TCP does when both ends have the same port.
_PRIVATE: Final = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # where it would mean "share the port"
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def private_port() -> int:
    """Return a port that is free now. Raises `OSError` where there is none."""
    for port in random.sample(_PRIVATE, k=100):
        if is_free(port):
            return port
    raise OSError(f"no free port between {_PRIVATE.start} and {_PRIVATE.stop}")


async def is_listening(port: int) -> bool:
    """Return whether a server accepts connections on `port`."""
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(HOST, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def holder_of_port(port: int) -> str:
    """Return which process listens on `port` on this computer, as far as the system tells."""
    import psutil  # noqa: PLC0415 - not at the window's start

    try:
        found = [
            connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr[1] == port
        ]
    except (psutil.Error, OSError):
        return "another program"
    if not found:
        return "another program"
    return "a program of another user" if found[0] is None else named_process(found[0])


def named_process(pid: int) -> str:
    """Return `process PID (NAME)`, without the name where the system does not tell it."""
    import psutil  # noqa: PLC0415 - not at the window's start

    try:
        return f"process {pid} ({_name_of(psutil.Process(pid))})"
    except (psutil.Error, ValueError, OSError):
        return f"process {pid}"


def _name_of(process: psutil.Process) -> str:
    """Return the whole name of a program, also where the system truncates it."""
    import psutil  # noqa: PLC0415 - not at the window's start

    name = process.name()
    with contextlib.suppress(psutil.Error):
        # A script's first argument is its interpreter, the second one its path.
        files = [os.path.basename(argument) for argument in process.cmdline()[:2]]  # noqa: PTH119
        return next((file for file in files if file.startswith(name)), name)
    return name
