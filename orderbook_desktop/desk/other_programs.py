"""Which markets other programs record, and where this program leaves the recording to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.desk.settings import FollowTimes
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.storage.failures import is_driver_failure
from orderbook_desktop.storage.store.recorder_states import OtherRecorder, OtherRecorders


class OtherPrograms:
    """The recorders of other programs on the database of `engine`, as `look()` found them.

    `here_too` are the symbols of the markets that this program records in any case.
    """

    def __init__(
        self,
        engine: Engine,
        here_too: Iterable[str],
        times: FollowTimes,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._times = times
        self._now = now
        self._recorders = OtherRecorders(engine.database)
        # By market, with the time (in s) of the first look that found it.
        self._found: dict[str, tuple[OtherRecorder, float]] = {}
        self._here_too: dict[str, str] = {}
        for symbol in here_too:
            self.record_here(symbol, wanted=True)

    @property
    def here_too(self) -> tuple[str, ...]:
        """The symbols of the markets that this program records in any case."""
        return tuple(self._here_too.values())

    def record_here(self, symbol: str, *, wanted: bool) -> None:
        """Record `symbol` also while another program records it, or not any more."""
        name, market = split_symbol(symbol)
        if wanted:
            self._here_too[market] = name
        else:
            self._here_too.pop(market, None)

    def is_here_too(self, market: str) -> bool:
        """Whether this program records `market` also while another program does."""
        return market in self._here_too

    async def look(self) -> None:
        """Look what other programs record. If that takes too long, only ends are noticed."""
        with suppress(TimeoutError, KnownError):
            async with asyncio.timeout(self._times.look_within_s):
                await self._engine.until_database()
                await self._engine.database.until_connected()
                await self._read()
        before, now = self._found, self._now()
        self._found = {
            market: (recorder, before[market][1] if market in before else now)
            for market, recorder in self._recorders.markets().items()
        }

    async def _read(self) -> None:
        try:
            await self._recorders.read()
        except Exception as error:
            # The recorder reports why the database is away.
            if not is_driver_failure(error):
                raise

    def followed(self, market: str) -> OtherRecorder | None:
        """Return the recorder to which this program leaves `market`; None if it should record."""
        found = self._found.get(market)
        return None if found is None or market in self._here_too else found[0]

    def recorder_before(self, session: MarketSession) -> OtherRecorder | None:
        """Return the recorder to which `session`, which records now, gives way; None if to none.

        It goes on until the other recording has all events that come after its own, so no event is
        lost. If both programs could give way, only the one does that the other precedes.
        """
        other = self.followed(session.market)
        if other is None or session.sink.segment_id is None:
            return other
        waited_s = self._now() - self._found[session.market][1]
        is_covered = session.sink.counts.last_id >= other.base_id
        goes_on = other.precedes or waited_s >= self._times.patience_s
        return other if is_covered and goes_on else None
