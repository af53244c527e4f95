"""What other processes record in the same database just now."""

from __future__ import annotations

import time
from enum import Enum
from typing import Final

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.failures import driver_failures_told
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, is_live, is_ours, token_of
from orderbook_desktop.storage.store.schema import RECORDER, SEGMENTS, Document

# After these a recorder goes on by itself, with a segment of its own, as soon as it can.
_PASSING: Final = frozenset(
    cause.value
    for cause in GapCause
    if cause not in (GapCause.USER, GapCause.CRASH, GapCause.DATABASE)
)
_FIELDS: Final = ("market", "owner", "alive_ms", "end_cause", "origin")


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


async def recorder_states(database: Database) -> dict[str, RecorderState]:
    """Return by market what its recorder does, as far as is stored. Raises PyMongo's errors.

    A recorder that has lost the exchange has no running segment: it is known by the last one that
    it wrote. If it was told to stop before the exchange came back, nothing says so until its
    program ends. `storage.store.owner.is_live` says what is known of other machines.
    """
    now_ms = time.time_ns() // 1_000_000
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
