"""Reads a recording for the heatmap: as spans of levels, and as bins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive import ChunkSlice
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import HeatmapPart, HeatmapWish
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.core.units import DEFAULT_EXPONENT
from orderbook_desktop.storage.reading.recording import Recording

# What is read first is small, so that it is soon there; each further piece is twice as long.
_FIRST_MS: Final = 5 * 60_000
_LONGEST_MS: Final = 2 * 3_600_000


async def level_spans(
    recording: Recording, from_ms: int, to_ms: int
) -> AsyncGenerator[tuple[LevelSpan, bool]]:
    """Iterate over what is covered from `from_ms` to `to_ms`, and whether a run begins there.

    Spans follow each other without a hole until a run begins. All of them cover together what the
    timeline covers, to the millisecond. Raises as `Recording.slices`; close the generator.
    """
    stands_from, pending = from_ms, None
    async with aclosing(recording.covered_slices(from_ms, to_ms)) as slices:
        async for cover, part in slices:
            if pending is not None:
                span = await asyncio.to_thread(
                    _span_before, pending, cover, part, stands_from, to_ms
                )
                yield span, pending[1].opens
                stands_from = span.until_ms
            if part.opens:
                stands_from = max(from_ms, _begins(pending, cover, part))
            pending = cover, part
    if pending is not None:
        until_ms = min(pending[0].to_ms, to_ms)
        yield await asyncio.to_thread(span_of, pending[1], stands_from, until_ms), pending[1].opens


def _span_before(
    pending: tuple[Cover, ChunkSlice], cover: Cover, part: ChunkSlice, from_ms: int, to_ms: int
) -> LevelSpan:
    """Return the span of a slice that `part` follows.

    It ends with its last event, when the book of `part` takes over, or with its cover.
    """
    ends_cover = part.opens and cover != pending[0]
    return span_of(pending[1], from_ms, min(pending[0].to_ms, to_ms) if ends_cover else from_ms)


def _begins(pending: tuple[Cover, ChunkSlice] | None, cover: Cover, part: ChunkSlice) -> int:
    """Return from when on the book of `part`, which opens a run, is known."""
    if pending is not None and pending[0] == cover and part.begin < part.end:
        # Retention has just cut what was before it.
        return int(part.chunk.numbers.event_ms[part.begin])
    return cover.from_ms


async def read_bins(
    recording: Recording,
    bins: TimeBins,
    builder: HeatmapBuilder,
    reached: Callable[[int], None] | None = None,
) -> None:
    """Give `builder` what is recorded in `bins`; `reached` is told the time that was read.

    Raises as `level_spans` and `HeatmapBuilder.take`.
    """
    async with aclosing(level_spans(recording, bins.from_ms, bins.to_ms)) as spans:
        async for span, opens in spans:
            await asyncio.to_thread(builder.take, span, opens=opens)
            if reached is not None:
                reached(span.until_ms)


async def price_grid(recording: Recording, timeline: Timeline) -> PriceGrid | None:
    """Return the grid of the first recorded book; None: no book has a level.

    Raises as `Recording.book_at`.
    """
    for cover in timeline.covers:
        for time in (cover.from_ms, cover.to_ms):
            book = await recording.book_at(time)
            best = [int(side.prices[0]) for side in (book.bids, book.asks) if len(side.prices)]
            if best:
                exponent = max(DEFAULT_EXPONENT, book.scale.price)
                finer = 10 ** (exponent - book.scale.price)
                mid = sum(best) * finer // len(best)
                return PriceGrid.of(_tick_of(book) * finer, mid, exponent)
    return None


def _tick_of(book: BookImage) -> int:
    """Return the largest step of which all prices are multiples."""
    return int(np.gcd.reduce(np.concatenate((book.bids.prices, book.asks.prices))))


async def read_newest_first(recording: Recording, wish: HeatmapWish) -> AsyncGenerator[HeatmapPart]:
    """Read the cells of `wish`, the newest ones first: each part has all that was read before.

    The last part has the same values, bit for bit, as from `read_bins`. Raises as `read_bins`.
    """
    timeline = (await recording.timeline()).between(wish.bins.from_ms, wish.bins.to_ms)
    pieces = list(_pieces(timeline.covers, wish.bins))
    read: list[tuple[Heatmap, bool]] = []
    for number, piece in enumerate(pieces):
        read.append((await _read_piece(recording, wish, piece), piece.opens))
        heatmap = await asyncio.to_thread(_joined, read, wish)
        left = [(one.from_ms, one.to_ms) for one in pieces[number + 1 :]]
        yield HeatmapPart(heatmap, tuple(reversed(left)))
    if not pieces:
        yield HeatmapPart(await asyncio.to_thread(_joined, read, wish))


class _Piece(Struct, frozen=True):
    """A part of an unbroken run; `opens` is whether the run begins with it.

    `follows` is whether an earlier run ends at the very millisecond at which it begins, and
    `is_followed` whether a later one begins in its last millisecond.
    """

    from_ms: int
    to_ms: int
    opens: bool
    follows: bool
    is_followed: bool


async def _read_piece(recording: Recording, wish: HeatmapWish, piece: _Piece) -> Heatmap:
    width = wish.bins.bin_ms
    begin, end = piece.from_ms // width * width, -(-piece.to_ms // width) * width
    bins = TimeBins.between(begin, min(end, wish.bins.to_ms), width)
    builder = HeatmapBuilder(bins, wish.steps, [wish.statistic], wish.side)
    run = -1 if piece.follows else 0
    is_first = True
    async with aclosing(level_spans(recording, piece.from_ms, piece.to_ms)) as spans:
        async for span, opens in spans:
            run += opens and not is_first
            is_first = False
            if run > 0 and piece.is_followed:
                break
            if run >= 0:
                await asyncio.to_thread(builder.take, span, opens=False)
    return await asyncio.to_thread(builder.heatmap, recording.market, wish.statistic)


def _joined(read: Sequence[tuple[Heatmap, bool]], wish: HeatmapWish) -> Heatmap:
    """Return the cells of `wish` made of pieces, which are given from the newest one back."""
    builder = HeatmapBuilder(wish.bins, wish.steps, [wish.statistic], wish.side)
    for piece, opens in reversed(read):
        builder.merge(piece, opens=opens)
    return builder.heatmap(wish.market, wish.statistic)


def _pieces(covers: Sequence[Cover], bins: TimeBins) -> Iterator[_Piece]:
    """Yield the pieces of all that is covered, the newest one first."""
    width = bins.bin_ms
    length = max(_FIRST_MS, width)
    runs = list(_runs(covers, bins))
    for number in reversed(range(len(runs))):
        from_ms, to_ms = runs[number]
        follows = number > 0 and runs[number - 1][1] > from_ms
        is_followed = number + 1 < len(runs) and runs[number + 1][0] < to_ms
        end = to_ms
        while end > from_ms:
            begin = max(from_ms, (end - length) // width * width)
            opens = begin == from_ms
            yield _Piece(begin, end, opens, opens and follows, end == to_ms and is_followed)
            end, length = begin, min(length * 2, max(_LONGEST_MS, width))


def _runs(covers: Sequence[Cover], bins: TimeBins) -> Iterator[tuple[int, int]]:
    """Yield the times of unbroken runs within `bins`."""
    from_ms = to_ms = -1
    for cover in covers:
        if not cover.continues:
            if from_ms < to_ms:
                yield from_ms, to_ms
            from_ms = max(cover.from_ms, bins.from_ms)
        to_ms = min(cover.to_ms + 1, bins.to_ms)
    if from_ms < to_ms:
        yield from_ms, to_ms
