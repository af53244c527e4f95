"""Who records a segment, and whether that process is still alive."""

from __future__ import annotations

import os
import platform
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from orderbook_desktop.storage.schema import Document

# Tells this process from all others, those of the same number before and after it included.
_TOKEN: Final = secrets.token_hex(8)


def _process_space() -> str:
    """Name the processes among which a process id means one thing: machine, boot, namespace.

    Two containers may well have the same host name, and each a process 1.
    """
    parts = [platform.node()]
    if sys.platform == "linux":
        with suppress(OSError):
            parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
            parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


_SPACE: Final = _process_space()


def owner_document() -> Document:
    """Return the fields that say who writes a segment, and when that was.

    `alive_ms` is compared for change only: clocks differ, and jump.
    """
    owner = {"host": _SPACE, "pid": os.getpid(), "token": _TOKEN}
    return {"owner": owner, "alive_ms": time.time_ns() // 1_000_000}


def is_ours(segment: Document) -> bool:
    """Whether this very process wrote `segment`."""
    return bool(_owner_of(segment).get("token") == _TOKEN)


def is_gone(segment: Document) -> bool:
    """Whether the process that wrote `segment` certainly runs no more.

    False also where that can't be known: on another machine or in another container, or
    where another process has got its number. There only a heartbeat that stops tells.
    """
    owner = _owner_of(segment)
    pid = owner.get("pid")
    if is_ours(segment) or owner.get("host") != _SPACE or not isinstance(pid, int):
        return False
    # Imported here because nobody needs it for the first picture.
    import psutil  # noqa: PLC0415

    return pid == os.getpid() or not psutil.pid_exists(pid)


def _owner_of(segment: Document) -> Document:
    """Return what is known of the owner: of a damaged document perhaps nothing."""
    owner = segment.get("owner")
    return owner if isinstance(owner, dict) else {}
