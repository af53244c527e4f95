"""Reads heatmaps of recordings in the background, for views that can't wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import (
    FactsPart,
    FlowPart,
    HeatmapPart,
    HeatmapRequest,
    HeatmapWish,
    RecordedMarket,
    TradedPart,
)
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.recording_store import RecordingStore

if TYPE_CHECKING:
    from orderbook_desktop.engine.engine import Engine
    from orderbook_desktop.replay.coverage import CoverageReader
    from orderbook_desktop.storage.tiles.cache import TileCache

# Runs a job of a name in the background, and returns what ends it.
RunTask = Callable[[Coroutine[Any, Any, None], str], HeatmapRequest]


class RecordedHeatmaps:
    """The heatmaps of a database or a packed file, read by jobs that `run` runs.

    It is a `HeatmapPages`. `store` returns the recordings as soon as they can be read, and raises
    the `KnownError` why they can't; it is called with each request. `tiles` returns the tiles of
    these recordings; without them all is read from the archive.
    """

    def __init__(
        self,
        store: Callable[[], Awaitable[RecordingStore]],
        run: RunTask,
        tiles: Callable[[], TileCache | None] = lambda: None,
    ) -> None:
        self._store = store
        self._run = run
        self._tiles = tiles
        # What was read of each market, and of which store.
        self._coverages: dict[str, tuple[RecordingStore, CoverageReader]] = {}
        self._grids: dict[str, PriceGrid] = {}

    def recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> HeatmapRequest:
        """Read what is recorded of a market (see `HeatmapPages`)."""

        async def read() -> None:
            try:
                with driver_failures_raised():
                    await self._read_recorded(market, answered)
            except KnownError as error:
                answered(RecordedMarket(market, problem=str(error)))

        return self._run(read(), f"what is recorded of {market}")

    def cells(self, wish: HeatmapWish, answered: Callable[[HeatmapPart], None]) -> HeatmapRequest:
        """Read cells, the newest ones first (see `HeatmapPages`)."""

        async def read() -> None:
            # As below, the first picture of the window does without these.
            from orderbook_desktop.storage.reading.recording import Recording  # noqa: PLC0415
            from orderbook_desktop.storage.tiles.reading import read_cells  # noqa: PLC0415

            try:
                with driver_failures_raised():
                    recording = Recording(await self._store(), wish.market)
                    async with aclosing(read_cells(recording, wish, self._tiles())) as parts:
                        async for part in parts:
                            answered(part)
            except KnownError as error:
                answered(HeatmapPart(problem=str(error)))

        return self._run(read(), f"a heatmap of {wish.market}")

    def traded(self, wish: HeatmapWish, answered: Callable[[TradedPart], None]) -> HeatmapRequest:
        """Read what was traded (see `HeatmapPages`)."""

        async def read() -> None:
            # As below, the first picture of the window does without this.
            from orderbook_desktop.storage.reading.traded_cells import read_traded  # noqa: PLC0415

            try:
                with driver_failures_raised():
                    async with aclosing(read_traded(await self._store(), wish)) as parts:
                        async for part in parts:
                            answered(part)
            except KnownError as error:
                answered(TradedPart(problem=str(error)))

        return self._run(read(), f"what was traded of {wish.market}")

    def flows(self, wish: HeatmapWish, answered: Callable[[FlowPart], None]) -> HeatmapRequest:
        """Read what was added, traded and pulled (see `HeatmapPages`)."""

        async def read() -> None:
            # As below, the first picture of the window does without this.
            from orderbook_desktop.storage.reading.level_flows import read_flows  # noqa: PLC0415

            bins = wish.bins
            try:
                with driver_failures_raised():
                    store = await self._store()
                    flows = await read_flows(
                        store, wish.market, bins.from_ms, bins.to_ms, wish.steps, wish.side
                    )
                answered(FlowPart(flows))
            except KnownError as error:
                answered(FlowPart(problem=str(error)))

        return self._run(read(), f"what flowed in {wish.market}")

    def facts(self, wish: HeatmapWish, answered: Callable[[FactsPart], None]) -> HeatmapRequest:
        """Read what is exactly known of a cell (see `HeatmapPages`)."""

        async def read() -> None:
            # As below, the first picture of the window does without these.
            from orderbook_desktop.storage.reading.cell_facts import read_facts  # noqa: PLC0415
            from orderbook_desktop.storage.reading.recording import Recording  # noqa: PLC0415

            try:
                with driver_failures_raised():
                    recording = Recording(await self._store(), wish.market)
                    async with aclosing(read_facts(recording, wish)) as parts:
                        async for part in parts:
                            answered(part)
            except KnownError as error:
                answered(FactsPart(problem=str(error)))

        return self._run(read(), f"a cell of {wish.market}")

    async def _read_recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> None:
        from orderbook_desktop.replay.coverage import CoverageReader  # noqa: PLC0415
        from orderbook_desktop.storage.reading.heatmaps import price_grid  # noqa: PLC0415
        from orderbook_desktop.storage.reading.recording import Recording  # noqa: PLC0415
        from orderbook_desktop.storage.tiles.reading import market_grid  # noqa: PLC0415

        store = await self._store()
        known = self._coverages.get(market)
        if known is None or known[0] is not store:
            known = self._coverages[market] = store, CoverageReader(store, market)
        coverage = await known[1].read_covers()
        grid = self._grids.get(market)
        if grid is None:
            recording, tiles = Recording(store, market), self._tiles()
            if tiles is None:
                grid = await price_grid(recording, coverage.timeline)
            else:
                grid = await market_grid(recording, coverage.timeline, tiles)
        if grid is not None:
            self._grids[market] = grid
        answered(RecordedMarket(market, coverage, grid))
        whole = await known[1].read()
        if whole != coverage:
            answered(RecordedMarket(market, whole, grid))


def heatmaps_of_database(engine: Engine, run: RunTask) -> RecordedHeatmaps:
    """Return the heatmaps of an engine's database, as soon as that can be read."""
    store = DatabaseStore(engine.database)

    async def ready() -> DatabaseStore:
        await engine.until_database()
        return store

    return RecordedHeatmaps(ready, run, engine.tile_cache)
