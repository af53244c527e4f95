"""What the recorders of each market do, and what other processes record."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import (
    Writer,
    is_gone,
    is_here,
    is_live,
    is_ours,
    precedes_us,
    token_of,
    writer_of,
)
from orderbook_desktop.storage.store.schema import RECORDER, SEGMENTS, Document
from orderbook_desktop.storage.store.segments import WITH_BOOK

# After one of these causes a recorder continues by itself, with a new segment, as soon as it can.
_PASSING: Final = frozenset(
    cause.value
    for cause in GapCause
    if cause not in (GapCause.USER, GapCause.CRASH, GapCause.DATABASE)
)
# A recorder writes a heartbeat every ten seconds. After an outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0
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
        if "market" in segment and _origin_of(segment) == RECORDER:
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


class OtherRecorder(Struct, frozen=True):
    """Another process that records a market.

    `base_id` is the update id of the book with which its running segment begins. Of two processes
    that both could give way, the one that `precedes` goes on.
    """

    base_id: int
    writer: Writer | None
    precedes: bool

    @property
    def text(self) -> str:
        """The process in words: `another program (process 1234)`."""
        return "another program" + (self.writer.text if self.writer is not None else "")


class _Heard(Struct, frozen=True):
    """A running segment of another process: its last beat, and when (in s) that was first read.

    `is_new` is true until a second beat was read.
    """

    document: Document
    beat: object
    since: float
    is_new: bool

    def is_recorded(self, now: float, now_ms: int) -> bool:
        """Whether its process still records it, as far as is known."""
        if now - self.since >= _SILENT_FOR_S or is_gone(self.document):
            return False
        # A process of another machine is known by its second beat, however wrong its clock is.
        return is_live(self.document, now_ms) or not (self.is_new or is_here(self.document))


class OtherRecorders:
    """Finds the markets that other processes record, by their running segments in `database`.

    A process of this machine has to run. Every process has to write a heartbeat, also one of this
    machine, since a process that hangs records nothing. `now` is a clock in seconds that never
    goes back.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._now = now
        self._now_ns = now_ns
        self._heard: dict[str, _Heard] = {}
        self._read_at = 0.0

    async def read(self) -> None:
        """Read which segments are running. Raises PyMongo's errors."""
        query = {"end_cause": None}
        fields = dict.fromkeys((*_FIELDS, "snapshot_id"), 1)
        found = await self._database.collection(SEGMENTS).find(query, fields).to_list(None)
        now = self._now()
        # While nothing could be read, no beat could be heard.
        is_late = now - self._read_at > _SILENT_FOR_S / 2
        before = {} if is_late else self._heard
        self._read_at, self._heard = now, {}
        for segment in found:
            # The market of a damaged segment may be lost. An import has no recorder.
            is_known = isinstance(segment.get("market"), str) and _origin_of(segment) == RECORDER
            if is_ours(segment) or not is_known:
                continue
            key, beat = segment["_id"], segment.get("alive_ms")
            known = before.get(key)
            if known is None:
                self._heard[key] = _Heard(segment, beat, now, is_new=True)
            elif known.beat == beat:
                self._heard[key] = replace(known, document=segment)
            else:
                self._heard[key] = _Heard(segment, beat, now, is_new=False)

    def markets(self) -> dict[str, OtherRecorder]:
        """Return what other processes record, as it was read last, without those that have ended.

        Of several recorders of a market it is the one that precedes the others.
        """
        now, now_ms = self._now(), self._now_ns() // 1_000_000
        found: dict[str, Document] = {}
        for heard in self._heard.values():
            market = heard.document["market"]
            if heard.is_recorded(now, now_ms):
                found[market] = min(found.get(market, heard.document), heard.document, key=_order)
        return {market: _other_of(document) for market, document in found.items()}


def _order(segment: Document) -> str:
    return str(token_of(segment))


def _other_of(segment: Document) -> OtherRecorder:
    base_id = segment.get("snapshot_id")
    return OtherRecorder(
        base_id if isinstance(base_id, int) else 0,
        writer_of(segment),
        precedes=precedes_us(segment),
    )


def _origin_of(segment: Document) -> object:
    return segment.get("origin", RECORDER)
