"""The command `heatmap`: draws a recorded range, or writes its exact cells, without a window."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import BinaryIO, Final

import typer
from msgspec import Struct

from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.packed import recording_place
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import BadSetting, Settings, symbol_and_market
from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Side, Statistic
from orderbook_desktop.core.heatmap.grid import TILED_FROM_MS, fitting_bin, round_step_from
from orderbook_desktop.core.heatmap.pages import HeatmapWish as CellsWish
from orderbook_desktop.core.time_text import moment_text, time_text
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.core.units import DEFAULT_EXPONENT, format_units
from orderbook_desktop.core.version import __version__
from orderbook_desktop.core.wording import counted
from orderbook_desktop.formats.heatmap_files import write_csv, write_npz
from orderbook_desktop.storage.exports.exporting import NothingRecorded, export_target
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.reading import read_cells

_SUFFIXES: Final = (".png", ".csv", ".npz")
# Books at so many moments say which prices a picture shows.
_LOOKS: Final = 12
# So far beyond the best prices, as a share of the mid in thousandths, and of their own range.
_BEYOND_MID: Final = 3
# About how many columns and rows there are, where the person names no bin and no step.
_COLUMNS: Final = 1_500
_ROWS: Final = 750


class HeatmapWish(Struct, frozen=True, kw_only=True):
    """What the person wants to see; None: what fits."""

    path: Path
    from_ms: int | None
    to_ms: int | None
    step: str | None
    bin_ms: int | None
    prices: tuple[str, str] | None
    statistic: Statistic
    side: Side
    colours: ColourMap
    size: tuple[int, int]
    force: bool


class _Drawn(Struct, frozen=True):
    heatmap: Heatmap
    timeline: Timeline


def run_heatmap(
    settings: Settings, typed: str | None, wish: HeatmapWish, file: Path | None = None
) -> int:
    """Draw the symbol `typed`; return the exit code. Raises `KnownError`.

    It is in the packed `file`, if that is given.
    """
    names = None if typed is None else symbol_and_market(typed)
    check_span(wish.from_ms, wish.to_ms)
    if wish.path.suffix.lower() not in _SUFFIXES:
        raise BadSetting("--output", str(wish.path), "a file that ends in .png, .csv or .npz")

    async def work() -> _Drawn:
        async with recording_place(settings, file, names) as (place, symbol, market):
            with export_target(wish.path, replace=wish.force) as target:
                cache = tiles_of(settings, file)
                drawn = await _read(place, market, symbol, wish, cache)
                await _write(drawn, symbol, wish, target)
            return drawn

    report = partial(_report, wish)
    return run_interruptibly(work(), "nothing was drawn", report, done=f"{wish.path} was written")


def tiles_of(settings: Settings, file: Path | None = None) -> TileCache:
    """Return the tiles of the database, or of the packed file."""
    folder, gigabytes = settings.data_dir, settings.tiles_gb
    if file is not None:
        return TileCache.of_file(folder, file, gigabytes)
    return TileCache.of_database(folder, settings.mongo_dsn, settings.db_name, gigabytes)


async def _read(
    place: Database | RecordingStore,
    market: str,
    symbol: str,
    wish: HeatmapWish,
    cache: TileCache,
) -> _Drawn:
    recording = Recording(place, market)
    timeline = (await recording.timeline()).between(wish.from_ms, wish.to_ms)
    if not timeline.covers:
        raise NothingRecorded(symbol)
    from_ms = timeline.from_ms if wish.from_ms is None else wish.from_ms
    to_ms = timeline.to_ms + 1 if wish.to_ms is None else wish.to_ms
    bin_ms = wish.bin_ms or fitting_bin((to_ms - from_ms) / _COLUMNS)
    is_picture = wish.path.suffix.lower() == ".png"
    if is_picture and bin_ms >= TILED_FROM_MS:
        from_ms, to_ms = from_ms // bin_ms * bin_ms, -(-to_ms // bin_ms) * bin_ms
    bins = TimeBins.between(from_ms, to_ms, bin_ms)
    steps = await _steps(recording, timeline, wish)
    with WorkProgress(f"Drawing {symbol}") as progress:
        if is_picture:
            cells = CellsWish(recording.market, bins, steps, wish.statistic, wish.side)
            return _Drawn(await _by_tiles(recording, cells, cache, progress), timeline)

        def reached(at_ms: int) -> None:
            progress.show((at_ms - from_ms) / (to_ms - from_ms))

        builder = HeatmapBuilder(bins, steps, [wish.statistic], wish.side)
        await read_bins(recording, bins, builder, reached)
    return _Drawn(builder.heatmap(recording.market, wish.statistic), timeline)


async def _by_tiles(
    recording: Recording, wish: CellsWish, cache: TileCache, progress: WorkProgress
) -> Heatmap:
    """Return the cells of a picture, for which what tiles there are is not read again."""
    latest: Heatmap | None = None
    async with aclosing(read_cells(recording, wish, cache)) as parts:
        async for part in parts:
            latest = part.heatmap
            left = sum(to_ms - from_ms for from_ms, to_ms in part.pending)
            progress.show(1 - left / (wish.bins.to_ms - wish.bins.from_ms))
    if latest is None:
        raise BugError("the cells of a heatmap ended without one")
    return latest


async def _steps(recording: Recording, timeline: Timeline, wish: HeatmapWish) -> PriceSteps:
    """Return the rows that the person wants, or those around the best prices."""
    low, high = wish.prices or await _prices_in_sight(recording, timeline)
    try:
        step = wish.step or _fitting_step(low, high)
        return PriceSteps.of(step, low, high)
    except ValueError as error:
        raise BadSetting(
            "--step and the prices", f"{wish.step}, {low}, {high}", str(error)
        ) from error


async def _prices_in_sight(recording: Recording, timeline: Timeline) -> tuple[str, str]:
    """Return a range of prices around the best ones of some moments."""
    bests: list[int] = []
    for time in _moments(timeline.covers):
        book = await recording.book_at(time)
        finer = 10 ** max(0, DEFAULT_EXPONENT - book.scale.price)
        coarser = 10 ** max(0, book.scale.price - DEFAULT_EXPONENT)
        bests += [
            int(side.prices[0]) * finer // coarser
            for side in (book.bids, book.asks)
            if len(side.prices)
        ]
    if not bests:
        raise BadSetting("--price-from", "nothing", "a price, as the book is empty there")
    low, high = min(bests), max(bests)
    beyond = max(high * _BEYOND_MID // 1000, (high - low) // 3, 1)
    return (
        format_units(max(0, low - beyond), DEFAULT_EXPONENT),
        format_units(high + beyond, DEFAULT_EXPONENT),
    )


def _moments(covers: Sequence[Cover]) -> Iterator[int]:
    """Yield some moments at which the book is known, about evenly spread."""
    whole = max(1, sum(cover.to_ms - cover.from_ms for cover in covers))
    for cover in covers[:: -(-len(covers) // (2 * _LOOKS))]:
        length = cover.to_ms - cover.from_ms
        count = max(1, _LOOKS * length // whole)
        yield from (cover.from_ms + length * at // count for at in range(1, count + 1))


def _fitting_step(low: str, high: str) -> str:
    """Return the smallest step of 1, 2 or 5 times a power of ten with no more rows than fit."""
    wanted = (Fraction(high) - Fraction(low)) * 10**DEFAULT_EXPONENT / _ROWS
    return format_units(round_step_from(max(1, ceil(wanted))), DEFAULT_EXPONENT)


async def _write(drawn: _Drawn, symbol: str, wish: HeatmapWish, file: BinaryIO) -> None:
    suffix = wish.path.suffix.lower()
    if suffix == ".png":
        # Qt draws text in the main thread only; it takes a fraction of a second.
        picture = _picture(drawn, symbol, wish)
        await asyncio.to_thread(file.write, picture)
    else:
        write = write_csv if suffix == ".csv" else write_npz
        await asyncio.to_thread(write, drawn.heatmap, file)


def _picture(drawn: _Drawn, symbol: str, wish: HeatmapWish) -> bytes:
    """Return the PNG file."""
    # Fonts need an application, and this one needs no screen.
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtGui import QGuiApplication  # noqa: PLC0415 (only pictures need Qt)

    from orderbook_desktop.gui.panes.heatmap.image import (  # noqa: PLC0415
        HeatmapImage,
        Labels,
        Shown,
        png_of,
    )

    application = QGuiApplication.instance() or QGuiApplication(["orderbook-desktop"])
    heatmap, (base, _, quote) = drawn.heatmap, symbol.partition("/")
    low, high = int(heatmap.prices[0]), int(heatmap.prices[-1]) + heatmap.step
    span = (int(heatmap.times_ms[0]), heatmap.to_ms)
    step = format_units(heatmap.step, heatmap.scale.price, 0)
    labels = Labels(
        f"{symbol}, {moment_text(span[0])} to {moment_text(span[1])}",
        f"Orderbook Desktop {__version__}. {symbol} at Binance, recorded here; cells of "
        f"{heatmap.bin_ms:,} ms by {step} {quote}. Hatched: not recorded.",
        base,
        quote,
    )
    timeline = drawn.timeline
    shown = Shown.of(heatmap, (low, high), timeline.uncovered(*span), timeline.gaps, wish.colours)
    picture = png_of(HeatmapImage(shown, wish.size).draw(labels))
    del application
    return picture


def _report(wish: HeatmapWish, drawn: _Drawn) -> int:
    heatmap = drawn.heatmap
    columns, rows = counted(len(heatmap.times_ms), "column"), counted(len(heatmap.prices), "row")
    step = format_units(heatmap.step, heatmap.scale.price, 0)
    typer.echo(
        f"{wish.path}: {columns} of {heatmap.bin_ms:,} ms, {rows} of {step}, "
        f"{heatmap.statistic} of each cell."
    )
    for gap in drawn.timeline.gaps:
        span = f"{time_text(gap.from_ms)} to {time_text(gap.to_ms)}"
        typer.echo(f"orderbook-desktop: gap from {span}: {gap.account}", err=True)
    return 0
