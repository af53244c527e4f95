"""Measures how much has been recorded and how fast it grows, and applies the retention."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from orderbook_desktop.core.disk import DAY_MS, FolderSize, RecordingSize, Retention
from orderbook_desktop.storage.failures import is_driver_failure
from orderbook_desktop.storage.retention.retention import Pruner
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import RecordingSizes
from orderbook_desktop.system.attempts import Repeats

_log = logging.getLogger(__name__)

_LOOK_AT_LAST_S: Final = 60.0
# Each pause is so many times as long as the work before it: however much is recorded, measuring
# takes no more than a small share of the database's time.
_LOOK_TIMES: Final = 20
_COUNT_TIMES: Final = 100
_PRUNE_EVERY_S: Final = 30.0
# Some documents have to be counted one by one: often at first, then less and less often.
_COUNT_FIRST_S: Final = 5.0
_COUNT_LAST_S: Final = 600.0
# A retention chosen by mistake can be taken back before anything is removed.
_GRACE_S: Final = 30.0
# The first events come in a burst: after 10 s a forecast was half too high, after 60 s a tenth.
_PACE_AFTER_S: Final = 60.0
# The pace of longer ago says little about the present pace.
_PACE_OVER_S: Final = 300.0


class RecordingKeeper:
    """Measures the recordings in `database` and removes what `retention` doesn't keep.

    `await run()` until it is cancelled. `recorded` returns how many bytes and events this process
    has recorded so far, `recorded_trades` how many trades, and `is_recording` whether it records
    now: a process that doesn't record removes nothing. `files` returns the size of the database's
    files, and may block. `retention` can be set at any time; the removal begins half a minute
    later.
    """

    def __init__(
        self,
        database: Database,
        retention: Retention,
        *,
        recorded: Callable[[], tuple[int, int]],
        recorded_trades: Callable[[], int],
        is_recording: Callable[[], bool],
        files: Callable[[], FolderSize | None],
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        look_every_s: float = 5.0,
    ) -> None:
        self._retention = retention
        self._chosen_at = float("-inf")
        self.size: RecordingSize | None = None
        self.folder: FolderSize | None = None
        self._database = database
        self._recorded = recorded
        self._recorded_trades = recorded_trades
        self._is_recording = is_recording
        self._files = files
        self._now = now
        self._now_ns = now_ns
        self._look_every_s = look_every_s
        self._sizes = RecordingSizes(database)
        self._pruner = Pruner(database)
        # (time in s, payload bytes, events, trades) of the last minutes.
        self._samples: deque[tuple[float, int, int, int]] = deque()
        self._counted_at = self._pruned_at = float("-inf")
        self._count_after_s = _COUNT_FIRST_S
        self._count_least_s = 0.0
        self._repeats = Repeats()

    @property
    def retention(self) -> Retention:
        """How much of the recordings is kept."""
        return self._retention

    @retention.setter
    def retention(self, value: Retention) -> None:
        if value != self._retention:
            self._retention = value
            self._chosen_at = self._now()
            self._pruned_at = float("-inf")

    @property
    def problem(self) -> str:
        """Why more is kept than `retention` says, as a sentence; else empty."""
        return self._pruner.problem

    @property
    def bytes_per_day(self) -> int | None:
        """The bytes that the archive grows by in a day at the present pace; None: not known yet."""
        if not self._samples:
            return None
        then, now = self._samples[0], self._samples[-1]
        passed_s, grown = now[0] - then[0], now[1] - then[1]
        events, trades = now[2] - then[2], now[3] - then[3]
        if passed_s < _PACE_AFTER_S or grown <= 0 or not events:
            return None
        size = self.size or RecordingSize()
        lasting = grown * size.lasting_share(grown, events) + trades * size.bytes_a_trade
        return round(lasting * DAY_MS / 1000 / passed_s)

    async def run(self) -> None:
        """Look every few seconds. A look that fails is tried again, and never ends a recording."""
        pause_s = self._look_every_s
        while True:
            # The pause comes first, because the start of the program is busy enough.
            await asyncio.sleep(pause_s)
            await self._database.until_connected()
            begun = self._now()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - such as a document that is damaged
                self._log_once(error)
            pause_s = min(_LOOK_TIMES * (self._now() - begun), _LOOK_AT_LAST_S)
            pause_s = max(pause_s, self._look_every_s)

    def _log_once(self, error: Exception) -> None:
        """Log why a look failed, unless that is logged already.

        Of a failure of the driver there is no trace: the recorder says why the database is away.
        """
        if not self._repeats.is_new(error):
            return
        if is_driver_failure(error):
            _log.warning("the recordings can't be measured now (%s)", type(error).__name__)
        else:
            _log.error("the recordings can't be measured now", exc_info=error)

    async def look(self) -> None:
        """Measure once, and apply the retention if it is due. Raises PyMongo's errors."""
        self._note_pace()
        self.folder = await asyncio.to_thread(self._files)
        count_after_s = max(self._count_after_s, self._count_least_s)
        if self._now() - self._counted_at >= count_after_s:
            begun = self._now()
            await self._sizes.count_rest()
            self._counted_at = self._now()
            self._count_least_s = _COUNT_TIMES * (self._counted_at - begun)
            self._count_after_s = min(2 * self._count_after_s, _COUNT_LAST_S)
        self.size = await self._sizes.measure()
        if self._is_due():
            self._pruned_at = self._now()
            now_ms = self._now_ns() // 1_000_000
            working = 0 if self.folder is None else self.folder.working_bytes
            if await self._pruner.prune(self.retention, now_ms, self._sizes.measure, working):
                # The counts that are taken rarely have changed, too.
                self._count_after_s = _COUNT_FIRST_S

    def _is_due(self) -> bool:
        if not self._is_recording() or not self._database.prepared:
            return False
        now = self._now()
        is_settled = now - self._chosen_at >= _GRACE_S
        return is_settled and now - self._pruned_at >= _PRUNE_EVERY_S

    def _note_pace(self) -> None:
        now, (payload_bytes, events) = self._now(), self._recorded()
        if not self._is_recording():
            self._samples.clear()
            return
        self._samples.append((now, payload_bytes, events, self._recorded_trades()))
        while now - self._samples[0][0] > _PACE_OVER_S:
            self._samples.popleft()
