"""Reads the recordings of a database for the library, again and again while it is looked at."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple, replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library_jobs import LibraryEntry
from orderbook_desktop.desk.library_work import entry_of, sentence_of
from orderbook_desktop.engine.gap_reader import pause_after
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.reading.summaries import recorded_markets, summary_of
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states
from orderbook_desktop.system.attempts import Repeats
from orderbook_desktop.system.tasks import set_within

_log = logging.getLogger(__name__)

# What is not looked at any more is read no more.
_WANTED_S: Final = 5.0
# What is being recorded grows; others change only by imports and removals.
_RECORDED_S: Final = 3.0
_OTHERS_S: Final = 60.0


class _Market(Struct):
    """What is known of a market, and when (in s) it was read. It is `stale` if a job has ended."""

    entry: LibraryEntry | None = None
    recorder: RecorderState = RecorderState.NONE
    read_at: float = float("-inf")
    stale: bool = True


class LibraryReader:
    """Reads the recordings in `database`; `await run()` until it is cancelled.

    `entries` are the recordings by name, None while nothing was read, and `problem` the sentence
    why they can't be read. Both may be read in any thread, and `want` may be called there: what
    nothing wants for some seconds is read no more.
    """

    def __init__(
        self, database: PatientDatabase, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._now = now
        self._wanted_at = now()
        self._markets: dict[str, _Market] = {}
        self._changed = asyncio.Event()
        self._repeats = Repeats()
        self.entries: tuple[LibraryEntry, ...] | None = None
        self.problem = ""

    def want(self) -> None:
        """Read for some seconds more."""
        self._wanted_at = self._now()

    def refresh(self) -> None:
        """Read all recordings again soon; called in the loop of `run`."""
        for known in self._markets.values():
            known.stale = True
        self._changed.set()

    async def run(self) -> None:
        """Look again and again; the pauses are many times as long as the looks."""
        before_s = took_s = 0.0
        while True:
            await self._database.until_connected()
            if self._now() - self._wanted_at < _WANTED_S:
                begun = self._now()
                await self.look()
                before_s, took_s = took_s, self._now() - begun
            await set_within(self._changed, pause_after(before_s, took_s))
            self._changed.clear()

    async def look(self) -> None:
        """Read what is new or stale, and of the others the one that is due longest."""
        try:
            with driver_failures_raised():
                await self._read_due()
            self.problem = ""
        except KnownError as error:
            self.problem = sentence_of(error)
            if self._repeats.is_new(error):
                _log.warning("the recordings can't be listed: %s", error)

    async def _read_due(self) -> None:
        if not await self._database.patiently(self._database.has_recordings):
            self._markets = {}
            self._publish()
            return
        states = await recorder_states(self._database)
        before = self._markets
        self._markets = {
            market: before.get(market, _Market())
            for market in await recorded_markets(self._database)
        }
        if not self._markets or before.keys() - self._markets.keys():
            self._publish()
        due = [
            market
            for market, known in self._markets.items()
            if self._is_due(known, states.get(market, RecorderState.NONE))
        ]
        fresh = [market for market in due if self._markets[market].stale]
        if due and not fresh:
            fresh = [min(due, key=lambda market: self._markets[market].read_at)]
        for market in fresh:
            await self._read(market, states.get(market, RecorderState.NONE))

    async def _read(self, market: str, state: RecorderState) -> None:
        known = self._markets[market]
        known.read_at, known.recorder, known.stale = self._now(), state, False
        summary = await summary_of(self._database, market, state)
        known.entry = None if summary is None else _unless_same(known.entry, entry_of(summary))
        self._publish()

    def _is_due(self, known: _Market, state: RecorderState) -> bool:
        period_s = _RECORDED_S if state.is_live else _OTHERS_S
        is_old = self._now() - known.read_at >= period_s
        return known.stale or state is not known.recorder or is_old

    def _publish(self) -> None:
        """Show what is known; the same entries as before are the same object."""
        found = tuple(known.entry for known in self._markets.values() if known.entry is not None)
        before = self.entries
        is_same = (
            before is not None
            and len(found) == len(before)
            and all(one is other for one, other in zip(found, before, strict=True))
        )
        if not is_same:
            self.entries = found


def _unless_same(before: LibraryEntry | None, found: LibraryEntry) -> LibraryEntry:
    """Return `before` if `found` says the same, so that the same object says that it is so."""
    if before is None:
        return found
    if astuple(before.gaps) == astuple(found.gaps):
        found = replace(found, gaps=before.gaps)
    return before if found == before else found
