"""Which process records a segment, whether it is still alive, and what others record just now."""

from __future__ import annotations

import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.failures import driver_failures_told
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import RECORDER, SEGMENTS, Document

# Tells this process from all others, those of the same number before and after it included.
_TOKEN: Final = secrets.token_hex(8)
# A recorder writes every ten seconds at least that it lives; after an outage it needs a moment.
_HEARD_WITHIN_MS: Final = 45_000
# The system tells the start of a process to a hundredth of a second.
_START_MARGIN_MS: Final = 1_000

# After these a recorder goes on by itself, with a segment of its own, as soon as it can.
_PASSING: Final = frozenset(
    cause.value
    for cause in GapCause
    if cause not in (GapCause.USER, GapCause.CRASH, GapCause.DATABASE)
)
_FIELDS: Final = ("market", "owner", "alive_ms", "end_cause", "origin")


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


def owner_document(now_ns: Callable[[], int] = time.time_ns) -> Document:
    """Return the fields that say who writes a segment, and when that was.

    `alive_ms` is compared for change only: clocks differ, and jump.
    """
    owner = {"host": _SPACE, "pid": os.getpid(), "token": _TOKEN}
    return {"owner": owner, "alive_ms": now_ns() // 1_000_000}


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


class RecorderState(Enum):
    """What the recorder of a market does. The values are what a person reads."""

    RECORDING = "recording"
    INTERRUPTED = "interrupted"
    GONE = "gone without closing"
    NONE = ""

    @property
    def is_live(self) -> bool:
        """Whether there is a recorder, be it that it waits for the exchange."""
        return self in (RecorderState.RECORDING, RecorderState.INTERRUPTED)


async def recorder_states(
    database: Database, now_ns: Callable[[], int] = time.time_ns
) -> dict[str, RecorderState]:
    """Return by market what its recorder does, as far as is stored. Raises PyMongo's errors.

    A recorder that has lost the exchange has no running segment: it is known by the last one that
    it wrote. If it was told to stop before the exchange came back, nothing says so until its
    program ends. `storage.store.owner.is_live` says what is known of other machines.
    """
    now_ms = now_ns() // 1_000_000
    found = database.collection(SEGMENTS).find({}, dict.fromkeys(_FIELDS, 1))
    by_market: dict[str, list[Document]] = {}
    for one in await found.to_list(None):
        # A damaged one may not say of what it is; an import records nothing.
        if "market" in one and one.get("origin", RECORDER) == RECORDER:
            by_market.setdefault(one["market"], []).append(one)
    return {market: _state_of(some, now_ms) for market, some in by_market.items()}


def _state_of(segments: list[Document], now_ms: int) -> RecorderState:
    running = [one for one in segments if one.get("end_cause", "") is None]
    if any(is_live(one, now_ms) for one in running):
        return RecorderState.RECORDING
    # Of each recorder its last word.
    last: dict[object, Document] = {}
    for one in sorted(segments, key=_written_ms):
        last[token_of(one)] = one
    passing = (one for one in last.values() if one.get("end_cause") in _PASSING)
    if any(is_live(one, now_ms) for one in passing):
        return RecorderState.INTERRUPTED
    return RecorderState.GONE if running else RecorderState.NONE


def _written_ms(segment: Document) -> int:
    alive_ms = segment.get("alive_ms")
    return alive_ms if isinstance(alive_ms, int) else 0


async def recorded_by_others(database: Database) -> frozenset[str]:
    """Return the markets that other processes record, as far as can be known.

    One on another machine that ended without a word counts until its segments are closed
    (`storage.recorder.recovery`). Raises `DatabaseFailed`.
    """
    fields = {"market": 1, "owner": 1}
    with driver_failures_told():
        running = database.collection(SEGMENTS).find({"end_cause": None}, fields)
        found = await running.to_list(None)
    others = (one for one in found if not is_ours(one) and not is_gone(one))
    # A damaged one may not say of what it is.
    return frozenset(one["market"] for one in others if "market" in one)
