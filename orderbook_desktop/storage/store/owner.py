"""Which process wrote a document, and whether it still runs."""

from __future__ import annotations

import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.storage.store.schema import Document

# Identifies this process; a process id may be used again.
_TOKEN: Final = secrets.token_hex(8)
# A recorder writes a heartbeat every ten seconds. After an outage it needs a moment longer.
_HEARD_WITHIN_MS: Final = 45_000
# The system gives the start of a process to a hundredth of a second.
_START_MARGIN_MS: Final = 1_000
_LARGEST_PID: Final = (1 << 31) - 1


def _process_space() -> str:
    """Name the space in which process ids are unique: machine, boot and namespace.

    Two containers may have the same host name, and each has a process 1.
    """
    parts = [platform.node()]
    if sys.platform == "linux":
        with suppress(OSError):
            parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
            parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


_SPACE: Final = _process_space()


def owner_document(now_ns: Callable[[], int] = time.time_ns) -> Document:
    """Return the fields that name the writing process and the time of writing.

    `alive_ms` is only compared for change, since clocks differ and jump.
    """
    owner = {"host": _SPACE, "pid": os.getpid(), "token": _TOKEN}
    return {"owner": owner, "alive_ms": now_ns() // 1_000_000}


class Writer(Struct, frozen=True):
    """The process that wrote a document: its token, its machine (empty: this one) and its id."""

    token: str
    host: str
    pid: int | None

    @property
    def text(self) -> str:
        """The process in words: ` on HOST (process 1234)`; what it is comes before that."""
        where = f" on {self.host}" if self.host else ""
        return where + (f" (process {self.pid})" if self.pid else "")

    @property
    def has_ended(self) -> bool:
        """Whether the process has certainly ended; false where that can't be known."""
        if self.token == _TOKEN or self.host or self.pid is None:
            return False
        return _is_process_gone(self.pid)


def writer_of(segment: Document) -> Writer | None:
    """Return the process that wrote `segment`; None if there is none, or it is not known."""
    token = token_of(segment)
    if not isinstance(token, str):
        return None
    host = "" if is_here(segment) else str(_owner_of(segment).get("host", ""))
    return Writer(token, host.partition(" ")[0], _pid_of(segment))


def is_ours(segment: Document) -> bool:
    """Whether this process wrote `segment`."""
    return bool(_owner_of(segment).get("token") == _TOKEN)


def token_of(segment: Document) -> object:
    """Return the token of the process that wrote `segment`; None if it is not known."""
    return _owner_of(segment).get("token")


def precedes_us(segment: Document) -> bool:
    """Whether the process that wrote `segment` comes before ours in an order of all processes."""
    return str(token_of(segment)) < _TOKEN


def is_here(segment: Document) -> bool:
    """Whether the process that wrote `segment` ran on this machine, since it was started."""
    return bool(_owner_of(segment).get("host") == _SPACE)


def is_gone(segment: Document) -> bool:
    """Whether the process that wrote `segment` has certainly ended.

    False also if that can't be known: it ran on another machine or in another container, or its
    process id is in use again. Then only a heartbeat that stops shows the end.
    """
    pid = _pid_of(segment)
    if is_ours(segment) or not is_here(segment) or pid is None:
        return False
    return _is_process_gone(pid)


def _is_process_gone(pid: int) -> bool:
    """Whether no other process of this machine has that id."""
    # Imported here because the first picture doesn't need it.
    import psutil  # noqa: PLC0415

    return pid == os.getpid() or not psutil.pid_exists(pid)


def is_live(segment: Document, now_ms: int) -> bool:
    """Whether the process that wrote `segment` seems to run, judged by the stored fields.

    On this machine a process with that id has to run, and to have started before it last wrote;
    else the id was used again. A suspended process counts as running. For another machine or
    container only the time of the last write counts: `now_ms` is our time, and clocks may differ by
    up to `_HEARD_WITHIN_MS`.
    """
    alive_ms, pid = segment.get("alive_ms"), _pid_of(segment)
    if is_ours(segment):
        return True
    if not isinstance(alive_ms, int) or pid is None:
        return False
    if not is_here(segment):
        return abs(now_ms - alive_ms) <= _HEARD_WITHIN_MS
    return pid != os.getpid() and _runs_since(pid, alive_ms)


def _runs_since(pid: int, alive_ms: int) -> bool:
    """Whether a process `pid` runs that had started by `alive_ms`."""
    # Imported here because the first picture doesn't need it.
    import psutil  # noqa: PLC0415

    try:
        process = psutil.Process(pid)
        is_dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not is_dead and process.create_time() * 1000 <= alive_ms + _START_MARGIN_MS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # It exists, and belongs to another user.
        return True


def _owner_of(segment: Document) -> Document:
    """Return the owner's fields; empty if the document is damaged."""
    owner = segment.get("owner")
    return owner if isinstance(owner, dict) else {}


def _pid_of(segment: Document) -> int | None:
    """Return the owner's process id; None if it is damaged."""
    pid = _owner_of(segment).get("pid")
    is_possible = isinstance(pid, int) and 0 < pid <= _LARGEST_PID
    return pid if is_possible else None
