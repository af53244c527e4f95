"""Ports on 127.0.0.1: finding a private one, and whether somebody listens there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from typing import Final

HOST: Final = "127.0.0.1"

# Below the ranges that systems give to outgoing connections (Linux from 32768, others from
# 49152): nobody's connection sits there while our server restarts, and a client that knocks
# meanwhile can't be connected to itself, as TCP does when both ends have the same port.
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
