"""How many connections the system has file descriptors for."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":  # Which has no such limit.
    import resource

# What else the program needs them for: database, exchange, log, libraries.
_KEPT_FREE: Final = 200


def room_for(connections: int) -> int:
    """Return how many of so many `connections` there may be, once the system was asked for more.

    Where viewers took them all, the recorder could reconnect to nothing.
    """
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _KEPT_FREE
    if soft < wanted and soft != resource.RLIM_INFINITY:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(connections, soft - _KEPT_FREE))
    return connections
