"""Builds the heatmap's tiles in spare time: recording, and what is on screen, come first."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.pages import TileStatus
from orderbook_desktop.engine.settings import SPARE_TIMES, SpareTimes
from orderbook_desktop.system.attempts import Repeats

_log = logging.getLogger(__name__)


class BuildCounts(Protocol):
    """How many stretches are done of those wanted, and the market that is being built."""

    @property
    def done(self) -> int:
        """How many have their tiles."""
        ...

    @property
    def wanted(self) -> int:
        """How many can have some."""
        ...

    @property
    def market(self) -> str:
        """The market that is being built; empty: none is."""
        ...


class SteppedBuilder(Protocol):
    """Builds tiles by short steps, as `storage.tiles.building.TileBuilder` does."""

    @property
    def progress(self) -> BuildCounts:
        """How far it is."""
        ...

    async def step(self) -> bool:
        """Do a short part of the work; False: all is there. Raises `KnownError`."""
        ...

    async def close(self) -> None:
        """Give up what is being built."""
        ...


class SpareTimeTiles:
    """Takes the steps of a builder while there is time for them; it is a `TileBuilding`.

    `await run()` until it is cancelled. `open_builder` returns the builder as soon as recordings
    can be read. `is_busy` is whether recording has work waiting. `now` is a clock in seconds that
    never goes back, and `worked` the processor time of this program in seconds: a rest in which the
    program works for most of the time is followed by another one. No thread gets a lower priority:
    one that holds the interpreter's lock and gets no processor would make recording wait.
    """

    def __init__(
        self,
        open_builder: Callable[[], Awaitable[SteppedBuilder]],
        *,
        is_busy: Callable[[], bool],
        is_on: bool = True,
        times: SpareTimes = SPARE_TIMES,
        now: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._open_builder = open_builder
        self._is_busy = is_busy
        self._times = times
        self._now, self._worked = now, worked
        self._builder: SteppedBuilder | None = None
        self._counted = TileStatus()
        self._on = asyncio.Event()
        self._waits = False
        self._load = 0.0
        self._problem = ""
        self._repeats = Repeats()
        self.switch(wanted=is_on)

    @property
    def status(self) -> TileStatus:
        """How far the tiles are (see `TileBuilding`)."""
        is_on, counted = self._on.is_set(), self._counted
        market = counted.market if is_on else ""
        waits, problem = is_on and self._waits, self._problem if is_on else ""
        return TileStatus(is_on, counted.done, counted.wanted, market, waits, problem)

    def switch(self, wanted: bool) -> None:
        """Build tiles, or no more after the present step (see `TileBuilding`)."""
        if wanted:
            self._on.set()
        else:
            self._on.clear()

    async def run(self) -> None:
        """Build in spare time, while it is on."""
        try:
            await self._rest(self._times.begin_s)
            while True:
                if not self._on.is_set():
                    await self._give_up()
                    await self._on.wait()
                self._waits = self._is_busy() or self._load > self._times.busy_share
                await self._rest(self._times.busy_s if self._waits else await self._step())
        finally:
            await self._give_up()

    async def _rest(self, seconds: float) -> None:
        """Rest, and note how much of one processor other work takes meanwhile."""
        begun, worked = self._now(), self._worked()
        await asyncio.sleep(seconds)
        passed = self._now() - begun
        self._load = (self._worked() - worked) / passed if passed > 0 else 0.0

    async def _step(self) -> float:
        """Take a step; return how long to rest after it, in seconds."""
        begun = self._now()
        try:
            if self._builder is None:
                self._builder = await self._open_builder()
            goes_on = await self._builder.step()
        except KnownError as error:
            if self._repeats.is_new(error):
                _log.info("no tiles are built: %s", error)
            self._problem = str(error)
            await self._give_up()
            return self._times.again_s
        self._problem = ""
        progress = self._builder.progress
        self._counted = TileStatus(
            done=progress.done, wanted=progress.wanted, market=progress.market if goes_on else ""
        )
        if not goes_on:
            return self._times.again_s
        return max(self._times.least_rest_s, (self._now() - begun) * self._times.rest_times)

    async def _give_up(self) -> None:
        builder, self._builder = self._builder, None
        if builder is not None:
            await builder.close()
