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

from orderbook_desktop.storage.store.schema import Document

# Tells this process from all others, those of the same number before and after it included.
_TOKEN: Final = secrets.token_hex(8)
# A recorder writes every ten seconds at least that it lives; after an outage it needs a moment.
_HEARD_WITHIN_MS: Final = 45_000
# The system tells the start of a process to a hundredth of a second.
_START_MARGIN_MS: Final = 1_000


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


def token_of(segment: Document) -> object:
    """Return what tells the process that wrote `segment` from all others; None: not known."""
    return _owner_of(segment).get("token")


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


def is_live(segment: Document, now_ms: int) -> bool:
    """Whether the process that wrote `segment` seems to run, by all that is stored of it.

    On this machine it is the process of that number, unless it began after it is said to have
    written: then another one has got the number. One that is suspended runs. Of another machine, or
    container, only the time counts at which it last wrote: `now_ms` is ours, and clocks that differ
    by less than `_HEARD_WITHIN_MS` do no harm.
    """
    owner, alive_ms = _owner_of(segment), segment.get("alive_ms")
    pid = owner.get("pid")
    if is_ours(segment):
        return True
    if not isinstance(alive_ms, int) or not isinstance(pid, int):
        return False
    if owner.get("host") != _SPACE:
        return abs(now_ms - alive_ms) <= _HEARD_WITHIN_MS
    return pid != os.getpid() and _runs_since(pid, alive_ms)


def _runs_since(pid: int, alive_ms: int) -> bool:
    """Whether a process `pid` runs that had begun at `alive_ms`."""
    # Imported here because nobody needs it for the first picture.
    import psutil  # noqa: PLC0415

    try:
        process = psutil.Process(pid)
        is_dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not is_dead and process.create_time() * 1000 <= alive_ms + _START_MARGIN_MS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # It is there, and another user's.
        return True


def _owner_of(segment: Document) -> Document:
    """Return what is known of the owner: of a damaged document perhaps nothing."""
    owner = segment.get("owner")
    return owner if isinstance(owner, dict) else {}
