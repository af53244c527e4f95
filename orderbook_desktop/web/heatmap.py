"""Heatmaps for programs and the page: cells as bytes, one tile an answer, and their colours."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query, Response
from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.cells import NO_PRICE, Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, LAST_SIZE, colour_table
from orderbook_desktop.core.heatmap.edge import EdgeColumns
from orderbook_desktop.core.heatmap.grid import FINE_BINS_MS, TILED_FROM_MS
from orderbook_desktop.core.heatmap.pages import HeatmapPages, HeatmapPart, HeatmapWish
from orderbook_desktop.core.heatmap.picture import Quantiser, usual_cut_offs
from orderbook_desktop.core.heatmap.sources import Source, fitting_quantiser
from orderbook_desktop.core.heatmap.tail import DepthTail, TailPart
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX, MAX_EXPONENT, format_units
from orderbook_desktop.web.book_view import default_step_for
from orderbook_desktop.web.channel import Channel, Moment
from orderbook_desktop.web.errors import Unreadable
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.queries import OF_SYMBOLS, OF_VALUES, REFUSALS, SymbolQuery

MAX_COLUMNS: Final = 2_000
MAX_ROWS: Final = 512
_LONGEST_MS: Final = 1 << 50
_FIRST_BOOK_S: Final = 3.0
_READ_S: Final = 8.0
_READS_AT_ONCE: Final = 2
_USUAL_MS: Final = 300_000
_BINS_MS: Final = (*FINE_BINS_MS, *(TILED_FROM_MS << power for power in range(15)))
_DECIMAL: Final = r"^[0-9]{1,12}(\.[0-9]{1,18})?$"

FromQuery = Annotated[
    int | None, Query(alias="from", ge=0, le=_LONGEST_MS, description="Begin, ms since the epoch.")
]
ToQuery = Annotated[
    int | None,
    Query(alias="to", ge=0, le=_LONGEST_MS, description="End, ms; left out: the newest moment."),
]
BinQuery = Annotated[
    int,
    Query(
        alias="bin",
        ge=100,
        le=_BINS_MS[-1],
        description="Width of a column, ms: 100, 200, 500, 1000, 2000, or 4000 times a power of 2.",
    ),
]
StepQuery = Annotated[
    str | None,
    Query(
        max_length=31,
        pattern=_DECIMAL,
        description="Height of a row, a price; left out: as the page groups the book.",
    ),
]
LowQuery = Annotated[
    str | None,
    Query(
        max_length=31,
        pattern=_DECIMAL,
        description="A price in the lowest row; left out: so that the mid is in the middle.",
    ),
]
RowsQuery = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many rows.")]
BaseQuery = Annotated[
    float | None,
    Query(
        gt=0,
        le=1e30,
        allow_inf_nan=False,
        description="The `base` of an answer whose bytes are to mean the same.",
    ),
]
StatisticQuery = Annotated[Statistic, Query(description="What a cell says of its quantity.")]
PlaceQuery = Annotated[float, Query(ge=FIRST_SIZE, le=LAST_SIZE, allow_inf_nan=False)]
MapQuery = Annotated[ColourMap, Query(alias="map", description="The colour map.")]

_OCTETS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Four bytes with the length of a header (little-endian), the header as JSON,"
        " then a byte a cell, column by column, the lowest price first: 0 empty, 1 unknown, 2 gap,"
        " 3 and up a size: `base` times 2^((byte - 3) / 8). If `partly`, a bit a cell follows"
        " (first bit highest): whether only some of its prices are known.",
        "content": {"application/octet-stream": {}},
    },
    **OF_SYMBOLS,
}
_TABLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "256 colours of four bytes each: red, green, blue, 255.",
        "content": {"application/octet-stream": {}},
    },
    **OF_VALUES,
}


class NotATile(KnownError):
    """A heatmap that is not served; `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return f"No such heatmap: {self.reason}."


class TileGap(Struct, rename="camel"):
    """The book is not known from `from_ms` to `to_ms`; null: it is not known yet."""

    from_ms: int
    to_ms: int | None
    cause: str
    detail: str


class TileHeader(Struct, rename="camel", omit_defaults=True):
    """What a tile is made of; prices are decimals, times ms, `best` prices those of each column."""

    symbol: str
    statistic: str
    bin: int
    from_ms: int
    to_ms: int
    columns: int
    rows: int
    step: str
    low: str
    base: float = 0.0
    cut_offs: tuple[int, int] = (FIRST_SIZE, LAST_SIZE)
    best_bids: list[str | None] = []
    best_asks: list[str | None] = []
    gaps: list[TileGap] = []
    pending: list[tuple[int, int]] = []
    replay_time: int | None = None
    partly: bool = False


class TileWish(Struct, frozen=True):
    """The heatmap that a request asks for; None: what is usual."""

    symbol: str | None
    from_ms: int | None
    to_ms: int | None
    bin_ms: int
    step: str | None
    low: str | None
    rows: int
    statistic: Statistic
    base: float | None


async def _asked(
    symbol: SymbolQuery = None,
    from_ms: FromQuery = None,
    to_ms: ToQuery = None,
    bin_ms: BinQuery = 1_000,
    step: StepQuery = None,
    low: LowQuery = None,
    rows: RowsQuery = 128,
    statistic: StatisticQuery = Statistic.MAX,
    base: BaseQuery = None,
) -> TileWish:
    return TileWish(symbol, from_ms, to_ms, bin_ms, step, low, rows, statistic, base)


Asked = Annotated[TileWish, Depends(_asked)]


def heatmap_routes(hub: Hub) -> APIRouter:
    """Return the paths of heatmaps, served from `hub`."""
    router = APIRouter(tags=["for programs"], responses=REFUSALS)
    served = _Heatmaps(hub)
    router.get("/api/heatmap", response_class=Response, responses=_OCTETS)(served.recorded)
    router.get("/api/heatmap/live", response_class=Response, responses=_OCTETS)(served.live)
    router.get("/api/heatmap/colours", response_class=Response, responses=_TABLE)(_colours)
    return router


async def _colours(
    low: PlaceQuery = float(FIRST_SIZE),
    high: PlaceQuery = float(LAST_SIZE),
    colours: MapQuery = ColourMap.FIRE,
) -> Response:
    """Return the colour of each byte, as the window has it between these two bytes."""
    table = colour_table(colours, low, high)
    channels = np.stack([table >> 16 & 255, table >> 8 & 255, table & 255, table >> 24], axis=1)
    return _octets(channels.astype(np.uint8).tobytes())


class _Heatmaps:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    async def live(self, asked: Asked) -> Response:
        """Return the newest minutes as they come; without columns in a replay."""
        info = self._found(asked)
        async with self._hub.channel(info, _FIRST_BOOK_S) as channel:
            moment, tail = channel.moment, channel.depth
        steps = _steps(channel, asked)
        end_ms = tail.to_ms + 1 if tail is not None else 0
        bins = _bins(asked, min(asked.to_ms or end_ms, end_ms))
        if tail is None or bins is None or bins.to_ms <= tail.from_ms:
            return _tile(_header(channel, moment, bins, steps, asked), None, asked.base)
        # What is older than the tail is not held by it: that is no gap.
        first_ms = max(bins.from_ms, tail.from_ms // asked.bin_ms * asked.bin_ms)
        bins = TimeBins.between(first_ms, bins.to_ms, asked.bin_ms)
        part, gaps = tail.part(bins.from_ms, bins.to_ms), _gaps_of_tail(tail, bins)
        async with self._reads:
            found = await asyncio.to_thread(_edge, info.market, bins, steps, asked.statistic, part)
        header = _header(channel, moment, bins, steps, asked)
        header.gaps = gaps
        return await asyncio.to_thread(_tile, header, found, asked.base)

    async def recorded(self, asked: Asked) -> Response:
        """Return what is recorded; in a replay nothing of after the clock's time.

        Times in `pending` were not read in time: a later request gets them. Raises `Unreadable`.
        """
        info = self._found(asked)
        async with self._hub.channel(info, _FIRST_BOOK_S) as channel:
            moment = channel.moment
        steps = _steps(channel, asked)
        end_ms = moment.image.event_ms + 1 if asked.to_ms is None else asked.to_ms
        if moment.replay is not None:
            end_ms = min(end_ms, _over_at(moment.replay) // asked.bin_ms * asked.bin_ms)
        bins = _bins(asked, end_ms)
        header = _header(channel, moment, bins, steps, asked)
        pages = self._hub.library.heatmaps_of(info)
        if pages is None or bins is None:
            return _tile(header, None, asked.base)
        async with self._reads:
            part = await _read(pages, HeatmapWish(info.market, bins, steps, asked.statistic))
        if part.problem:
            raise Unreadable(part.problem)
        header.pending = list(part.pending)
        header.gaps = [
            TileGap(gap.from_ms, gap.to_ms, gap.cause.value, gap.detail)
            for gap in (moment.gaps.gaps if moment.gaps is not None else ())
            if gap.from_ms < bins.to_ms and gap.to_ms > bins.from_ms
        ]
        return await asyncio.to_thread(_tile, header, part.heatmap, asked.base)

    def _found(self, asked: TileWish) -> SymbolInfo:
        library = self._hub.library
        return library.find(asked.symbol or library.default_symbol)


def _over_at(replay: ReplayStatus) -> int:
    """Return up to when all is known at the clock's time; 0: that is not known."""
    return replay.gap.gap.from_ms if replay.gap is not None else replay.event_ms


async def _read(pages: HeatmapPages, wish: HeatmapWish) -> HeatmapPart:
    """Return the whole wish, or what is known of it after a few seconds."""
    latest, is_read = HeatmapPart(pending=((wish.bins.from_ms, wish.bins.to_ms),)), asyncio.Event()

    def answered(part: HeatmapPart) -> None:
        nonlocal latest
        latest = part
        if part.is_complete:
            is_read.set()

    request = pages.cells(wish, answered)
    try:
        async with asyncio.timeout(_READ_S):
            await is_read.wait()
    except TimeoutError:
        pass
    finally:
        request.cancel()
    return latest


def _edge(
    market: str, bins: TimeBins, steps: PriceSteps, statistic: Statistic, part: TailPart
) -> Heatmap | None:
    edge = EdgeColumns(market, bins, steps, statistic)
    edge.begin(part)
    return edge.heatmap()


def _gaps_of_tail(tail: DepthTail, bins: TimeBins) -> list[TileGap]:
    return [
        TileGap(gap.from_ms, gap.to_ms, gap.cause.value, gap.detail)
        for gap in tail.gaps
        if gap.from_ms < bins.to_ms and (gap.to_ms is None or gap.to_ms > bins.from_ms)
    ]


def _bins(asked: TileWish, to_ms: int) -> TimeBins | None:
    """Return whole columns up to `to_ms`; None if there is none. Raises `NotATile`."""
    from_ms, bin_ms = asked.from_ms, asked.bin_ms
    if bin_ms not in _BINS_MS:
        raise NotATile(f"columns of {bin_ms} ms are not among {', '.join(map(str, _BINS_MS))}")
    begin_ms = max(0, to_ms - _USUAL_MS) if from_ms is None else from_ms
    first, end = begin_ms // bin_ms, -(-to_ms // bin_ms)
    if from_ms is None:
        first = max(first, end - MAX_COLUMNS)
    if end - first > MAX_COLUMNS:
        raise NotATile(f"it has {end - first} columns, and {MAX_COLUMNS} are the most")
    return TimeBins.between(first * bin_ms, end * bin_ms, bin_ms) if first < end else None


def _steps(channel: Channel, asked: TileWish) -> PriceSteps:
    """Return the rows that are asked for; raises `NotATile`."""
    image, rows = channel.moment.shown, asked.rows
    if asked.step is None:
        width = Decimal(default_step_for(channel.info, image)).scaleb(-MAX_EXPONENT)
    else:
        width = Decimal(asked.step)
    exponent = max(DEFAULT_EXPONENT, -int(width.normalize().as_tuple().exponent))
    units = int(width.scaleb(exponent))
    if not units:
        raise NotATile("a row of 0 has no height")
    if asked.low is not None:
        first = int(Decimal(asked.low) // width)
    else:
        best = [side.prices[0] for side in (image.bids, image.asks) if len(side.prices)]
        mid = Decimal(sum(map(int, best))) / max(1, len(best))
        first = max(0, int(mid.scaleb(-image.scale.price) // width) - rows // 2)
    if (first + rows) * units > INT64_MAX:
        raise NotATile("its prices are too high for this step")
    return PriceSteps(units, exponent, (first, rows))


def _header(
    channel: Channel,
    moment: Moment,
    bins: TimeBins | None,
    steps: PriceSteps,
    asked: TileWish,
) -> TileHeader:
    first, rows = steps.rows or (0, 0)
    step, exponent = steps.step, steps.exponent
    return TileHeader(
        channel.info.symbol,
        asked.statistic.value,
        asked.bin_ms,
        0 if bins is None else bins.from_ms,
        0 if bins is None else bins.to_ms,
        0,
        rows,
        format_units(step, exponent, 0),
        format_units(first * step, exponent, 0),
        replay_time=None if moment.replay is None else moment.replay.at_ms,
    )


def _tile(header: TileHeader, heatmap: Heatmap | None, base: float | None) -> Response:
    """Return the answer of a heatmap; None: nothing is known, and it has no columns."""
    cells = dotted = b""
    if heatmap is not None and len(heatmap.columns) and len(heatmap.prices):
        source = Source(heatmap)
        quantiser = fitting_quantiser([source], None if base is None else Quantiser(base))
        count, rows = heatmap.values.shape
        found, partly = source.cells(np.arange(count), 0, rows, quantiser)
        cells, exponent = found.T.tobytes(), heatmap.scale.price
        header.columns, header.rows, header.bin = count, rows, heatmap.bin_ms
        header.from_ms = int(heatmap.times_ms[0])
        header.to_ms = header.from_ms + count * heatmap.bin_ms
        header.step = format_units(heatmap.step, exponent, 0)
        header.low = format_units(int(heatmap.prices[0]), exponent, 0)
        header.base, header.cut_offs = quantiser.base, usual_cut_offs(found)
        header.best_bids = _prices(heatmap.columns.best_bids.tolist(), exponent)
        header.best_asks = _prices(heatmap.columns.best_asks.tolist(), exponent)
        header.partly = bool(partly.any())
        dotted = np.packbits(partly.T).tobytes() if header.partly else b""
    head = msgspec.json.encode(header)
    return _octets(len(head).to_bytes(4, "little") + head + cells + dotted)


def _prices(prices: list[int], exponent: int) -> list[str | None]:
    return [None if price == NO_PRICE else format_units(price, exponent, 0) for price in prices]


def _octets(body: bytes) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, media_type="application/octet-stream", headers=headers)
