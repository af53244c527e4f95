"""Opening the port, and saying who has it where that fails."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import Final

from orderbook_desktop.system.ports import holder_of_port
from orderbook_desktop.web.errors import CannotServe, PortTaken

_TRIED: Final = 20
_BACKLOG: Final = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port` (0: any free one); close it when done.

    Raises `PortTaken` or `CannotServe`.
    """
    try:
        return _bound(host, port)
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: no name at all, such as one with two dots in a row.
        raise CannotServe(host, port, "it is no address of this computer") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, holder_of_port(port), _free_port(host, port)) from error
        raise CannotServe(host, port, _reason(error)) from error


def _reason(error: OSError) -> str:
    """Return the system's words for an error, also where Python brings its own or no number."""
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # There it would let a second program listen on the same port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _free_port(host: str, port: int) -> int:
    for candidate in range(port + 1, min(port + 1 + _TRIED, 65536)):
        with suppress(OSError):
            _bound(host, candidate).close()
            return candidate
    return 0
