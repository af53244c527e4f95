"""What the recorders of each market do, and what other processes record."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, is_live, is_ours, token_of
from orderbook_desktop.storage.store.schema import RECORDER, SEGMENTS, Document
from orderbook_desktop.storage.store.segments import WITH_BOOK

# After one of these causes a recorder continues by itself, with a new segment, as soon as it can.
_PASSING: Final = frozenset(
    cause.value
    for cause in GapCause
    if cause not in (GapCause.USER, GapCause.CRASH, GapCause.DATABASE)
)
_FIELDS: Final = ("market", "owner", "alive_ms", "end_cause", "origin")


class RecorderState(Enum):
    """What the recorder of a market does. The user reads the values."""

    RECORDING = "recording"
    INTERRUPTED = "interrupted"
    GONE = "gone without closing"
    NONE = ""

    @property
    def is_live(self) -> bool:
        """Whether there is a recorder, even if it waits for the exchange."""
        return self in (RecorderState.RECORDING, RecorderState.INTERRUPTED)


async def recorder_states(
    database: Database, now_ns: Callable[[], int] = time.time_ns
) -> dict[str, RecorderState]:
    """Return by market what its recorder does, judged by the stored segments.

    A recorder that has lost the exchange has no running segment; its last segment stands for it.
    If it was stopped before the exchange came back, it counts as interrupted until its program
    ends. For other machines see `is_live`. Raises PyMongo's errors.
    """
    now_ms = now_ns() // 1_000_000
    found = database.collection(SEGMENTS).find(dict(WITH_BOOK), dict.fromkeys(_FIELDS, 1))
    by_market: dict[str, list[Document]] = {}
    for segment in await found.to_list(None):
        # A damaged segment may lack its market. An import has no recorder.
        if "market" in segment and segment.get("origin", RECORDER) == RECORDER:
            by_market.setdefault(segment["market"], []).append(segment)
    return {market: _state_of(some, now_ms) for market, some in by_market.items()}


def _state_of(segments: list[Document], now_ms: int) -> RecorderState:
    running = [segment for segment in segments if segment.get("end_cause", "") is None]
    if any(is_live(segment, now_ms) for segment in running):
        return RecorderState.RECORDING
    # The last segment of each recorder.
    last: dict[object, Document] = {}
    for segment in sorted(segments, key=_written_ms):
        last[token_of(segment)] = segment
    passing = (segment for segment in last.values() if segment.get("end_cause") in _PASSING)
    if any(is_live(segment, now_ms) for segment in passing):
        return RecorderState.INTERRUPTED
    return RecorderState.GONE if running else RecorderState.NONE


def _written_ms(segment: Document) -> int:
    alive_ms = segment.get("alive_ms")
    return alive_ms if isinstance(alive_ms, int) else 0


async def recorded_by_others(database: Database) -> frozenset[str]:
    """Return the markets that other processes record, as far as is known.

    A recorder that crashed on another machine counts until its segments are closed
    (`storage.recorder.recovery`). Raises `DatabaseFailed`.
    """
    fields = {"market": 1, "owner": 1}
    with driver_failures_raised():
        running = database.collection(SEGMENTS).find({"end_cause": None}, fields)
        found = await running.to_list(None)
    others = (segment for segment in found if not is_ours(segment) and not is_gone(segment))
    # A damaged segment may lack its market.
    return frozenset(segment["market"] for segment in others if "market" in segment)
