"""Keeps the gaps of those recordings up to date that are on a screen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.recording_status import RecordingCounts
from orderbook_desktop.core.trade_coverage import gaps_between
from orderbook_desktop.storage.failures import is_driver_failure
from orderbook_desktop.storage.reading.healed_gaps import healed_gaps
from orderbook_desktop.storage.reading.recording import Recording, read_timeline
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.system.attempts import Repeats

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.25
# A market that is not asked for any more is read no more.
_WANTED_S: Final = 5.0
# The beginning or end of a run is stored some seconds after this program has noted it.
_NEWS_S: Final = 15.0
_WITH_NEWS_S: Final = 1.0
# Other programs record, import and remove, too.
_WITHOUT_NEWS_S: Final = 10.0
# However long a recording is, reading it takes a twentieth of the time at most.
_PAUSE_TIMES: Final = 20


class _Market(Struct):
    """What is known of one market, and when (in s) it was asked for, changed, and was read."""

    wanted_at: float
    gaps: RecordedGaps | None = None
    news: object = None
    changed_at: float = float("-inf")
    read_at: float = float("-inf")


def pause_after(before_s: float, took_s: float) -> float:
    """Return how many seconds to pause after two looks, of which the last one took `took_s`.

    The quicker one counts: a look that a busy database kept waiting says nothing of how long the
    recording is.
    """
    return max(_LOOK_S, _PAUSE_TIMES * min(before_s, took_s))


class GapReader:
    """Reads the gaps of recordings in `database`; `await run()` until it is cancelled.

    `gaps_of` returns at once. A market that it is asked for is read in the background, and again
    while it is asked for. `counts` returns what this program has recorded of a market.
    """

    def __init__(
        self,
        database: Database,
        counts: Callable[[str], RecordingCounts],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._counts = counts
        self._now = now
        self._markets: dict[str, _Market] = {}
        self._repeats = Repeats()

    def gaps_of(self, market: str) -> RecordedGaps | None:
        """Return the gaps of a market, as they were read last; None: they are not read yet."""
        now = self._now()
        known = self._markets.setdefault(market, _Market(now))
        known.wanted_at = now
        return known.gaps

    async def run(self) -> None:
        """Look several times a second. A read that fails is tried again."""
        before_s = took_s = 0.0
        while True:
            await asyncio.sleep(pause_after(before_s, took_s))
            await self._database.until_connected()
            begun = self._now()
            await self.look()
            before_s, took_s = took_s, self._now() - begun

    async def look(self) -> None:
        """Read the market that is due, of several the one that was read longest ago."""
        due = [item for item in self._markets.items() if self._is_due(*item)]
        if due:
            await self._read(*min(due, key=lambda item: item[1].read_at))

    def _is_due(self, market: str, known: _Market) -> bool:
        now = self._now()
        if now - known.wanted_at > _WANTED_S:
            return False
        counts = self._counts(market)
        news = (counts.books, counts.gaps, counts.events > 0)
        if news != known.news:
            known.news, known.changed_at = news, now
        has_news = now - known.changed_at < _NEWS_S
        return now - known.read_at >= (_WITH_NEWS_S if has_news else _WITHOUT_NEWS_S)

    async def _read(self, market: str, known: _Market) -> None:
        known.read_at = self._now()
        try:
            segments = await Recording(self._database, market).segments()
            timeline = await read_timeline(store_of(self._database), market, segments)
            healed = await asyncio.to_thread(healed_gaps, timeline, segments)
            runs = await store_of(self._database).trades.runs(market)
            trades = await asyncio.to_thread(gaps_between, runs)
        except Exception as error:  # noqa: BLE001 - such as a document that is damaged
            self._log_once(market, error)
            return
        session_id = self._counts(market).first_id
        begun = (one.segment for one in segments if one.segment.snapshot_id == session_id)
        session_ms = max((segment.first_event_ms for segment in begun), default=0)
        found = RecordedGaps.of(timeline.gaps, session_id, healed, trades, session_ms)
        # The same object says that nothing has changed.
        if known.gaps is None or astuple(known.gaps) != astuple(found):
            known.gaps = found

    def _log_once(self, market: str, error: Exception) -> None:
        """Log why the gaps can't be read. Of a failure of the driver the recorder tells."""
        level = logging.DEBUG if is_driver_failure(error) else logging.WARNING
        if self._repeats.is_new(error):
            _log.log(level, "%s: the gaps can't be read: %s", market, error)
