"""What the ladder shows at one moment: its rows with their texts and bars, and its headings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.ladder import Ladder, LadderSide, Side
from orderbook_desktop.core.ladder_memory import ColumnFormats, LadderMemory
from orderbook_desktop.core.number_format import (
    ColumnFormat,
    MarketFormat,
    exact_text,
    percent_text,
)
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Direction, LastPrice
from orderbook_desktop.gui.panes.ladder.flow import RowFlow
from orderbook_desktop.gui.panes.ladder.layout import Column, Grid, Span
from orderbook_desktop.gui.panes.ladder.position import Row, SeenRow, View
from orderbook_desktop.gui.panes.ladder.volume import LadderVolume, VolumeTexts
from orderbook_desktop.gui.panes.row_table import TableCell, TableRow

PADDING: Final = 7
# More texts than rows come into view within minutes.
_KEPT_TEXTS: Final = 4_000
_MOVED_ROWS: Final = 50


class LadderRow(NamedTuple):
    """One row in view: its place, its texts, and the lengths of its bars as shares of 1.

    `change` is 1 where the size has just grown, -1 where it has shrunk, else 0. `move` says the
    same of a best price's last change. `skips` is whether steps without a level lie between this
    row and the next row towards the spread. `beyond` is the side beyond whose known levels the row
    is.
    """

    row: Row
    span: Span
    price: str
    size: str = ""
    total: str = ""
    beyond: Side | None = None
    size_share: float = 0.0
    total_share: float = 0.0
    change: int = 0
    move: int = 0
    skips: bool = False
    is_large: bool = False
    volume: VolumeTexts = VolumeTexts()
    flow: RowFlow = RowFlow()


class LastText(NamedTuple):
    """The last price as text, and where it went when it changed last."""

    price: str
    direction: Direction


class LadderScene(Struct, frozen=True):
    """Everything that the ladder shows.

    `spread_lines` are mid and spread in words. `spread_span` is the place of the spread row; None
    where it is not in view. `last` is the last price; None where no trade is known.
    """

    rows: tuple[LadderRow, ...]
    spread_lines: tuple[str, str]
    spread_span: Span | None
    columns: Mapping[Column, Span]
    last: LastText | None = None

    def row_at(self, y: int) -> Row | None:
        """Return the row at the y coordinate `y`, or None."""
        return next((row.row for row in self.rows if row.span.start <= y < row.span.end), None)


def table_of(scene: LadderScene | None, picked: int | None) -> list[TableRow]:
    """Return the rows of `scene` for assistive technology; that at the price `picked` is picked."""
    if scene is None:
        return []
    rows = []
    for row in sorted(scene.rows, key=lambda row: row.span.start):
        side = row.row.side.value if row.row.side else "no level"
        cells = {
            Column.PRICE: TableCell(row.price, f"{side} {row.price}"),
            Column.SIZE: TableCell(row.size),
            Column.TOTAL: TableCell(row.total),
            Column.BOUGHT: TableCell(row.volume.bought),
            Column.SOLD: TableCell(row.volume.sold),
            Column.ADDED: TableCell(row.flow.added),
            Column.PULLED: TableCell(row.flow.pulled),
        }
        shown = tuple(cells[column] for column in scene.columns)
        rows.append(TableRow(shown, row.span.start, row.span.end, row.row.price == picked))
    return rows


class Marks(NamedTuple):
    """What bars and marks depend on.

    `changed` are the rows whose sizes have just changed, 1 or -1. A size of at least `large_times`
    the usual size is marked (0: none). `total_scale` is the total that fills a bar. `skips` is
    whether rows that skip steps are marked.
    """

    memory: LadderMemory
    changed: Mapping[Row, int]
    large_times: int
    total_scale: float
    skips: bool


class SceneBuilder:
    """Makes the scenes of one market, grouped by `step`, and keeps texts that it has made."""

    def __init__(self, market: MarketFormat, step: int) -> None:
        self.market = market
        self.step = step
        self._prices: dict[tuple[int, int], str] = {}
        self._sizes: dict[int, str] = {}
        self._format = ColumnFormat(0, 0, 0)
        # The lines of the last grid: a grid stays until the ladder's size changes.
        self._spans: tuple[Grid | None, list[Span]] = None, []

    def fits(self, market: MarketFormat, step: int) -> bool:
        """Return whether this builder makes the scenes of `market` grouped by `step`."""
        return market == self.market and step == self.step

    def rows(
        self,
        ladder: Ladder,
        shown: Mapping[Side, LadderSide],
        view: View,
        grid: Grid,
        formats: ColumnFormats,
        marks: Marks,
    ) -> Iterator[LadderRow]:
        """Iterate over the rows of `view`; those of one side are in their order.

        The numbers written are those of `shown`. Bars and marks depend on the sizes in `ladder`,
        so that they are the same in the quote asset.
        """
        if formats.size != self._format:
            self._sizes, self._format = {}, formats.size
        if self._spans[0] != grid:
            self._spans = grid, [grid.span(line) for line in range(grid.lines)]
        spans = self._spans[1]
        by_side: dict[Side | None, list[SeenRow]] = {None: [], Side.ASK: [], Side.BID: []}
        for seen in view.rows:
            by_side[seen.row.side].append(seen)
        for line, row, _ in by_side.pop(None):
            text = self._price(row.price, self.step)
            beyond = ladder.unknown_side(row.price)
            yield LadderRow(row, spans[line], text, beyond=beyond)
        for side, rows in by_side.items():
            if side is not None and rows:
                levels = ladder.side(side)
                yield from self._side(levels, shown[side], rows, spans, formats.total, marks)

    def _side(
        self,
        levels: LadderSide,
        shown: LadderSide,
        rows: list[SeenRow],
        spans: list[Span],
        total_format: ColumnFormat,
        marks: Marks,
    ) -> Iterator[LadderRow]:
        memory = marks.memory
        scale, large = max(1, memory.scale), memory.large_from(marks.large_times)
        move = memory.move_of(rows[0].row.side)
        first = min(rows[0].rank, rows[-1].rank)
        part = slice(first, first + len(rows))
        # The price before the first row tells whether that row skips steps.
        inner = levels.prices[max(0, first - 1) : part.stop].tolist()
        inner = inner if first else [inner[0], *inner]
        sizes, totals = levels.quantities[part].tolist(), levels.cumulative[part].tolist()
        written, sums = shown.quantities[part].tolist(), shown.cumulative[part].tolist()
        for line, row, rank in rows:
            at = rank - first
            size, is_least = sizes[at], levels.is_least_total(rank)
            at_least = AT_LEAST if levels.is_least_size(rank) else ""
            yield LadderRow(
                row,
                spans[line],
                self._price(row.price, levels.price_step(rank, self.step)),
                at_least + self._size(written[at]),
                (AT_LEAST if is_least else "") + total_format.text(sums[at]),
                row.side if is_least else None,
                min(1.0, size / scale),
                0.0 if is_least else min(1.0, totals[at] / marks.total_scale),
                marks.changed.get(row, 0),
                move if rank == 0 else 0,
                marks.skips and abs(row.price - inner[at]) > self.step,
                large is not None and size >= large,
            )

    def _price(self, price: int, step: int) -> str:
        text = self._prices.get((price, step))
        if text is None:
            if len(self._prices) > _KEPT_TEXTS:
                self._prices.clear()
            text = self._prices[price, step] = self.market.price(price, step)
        return text

    def _size(self, size: int) -> str:
        text = self._sizes.get(size)
        if text is None:
            if len(self._sizes) > _KEPT_TEXTS:
                self._sizes.clear()
            text = self._sizes[size] = self._format.text(size)
        return text


def reach_of(view: View) -> dict[Side, int]:
    """Return how many rows of each side there are from the spread to the farthest in view."""
    reach = dict.fromkeys(Side, 0)
    for seen in view.rows:
        if seen.row.side is not None:
            reach[seen.row.side] = max(reach[seen.row.side], seen.rank + 1)
    return reach


def changed_sizes(before: Ladder, after: Ladder, view: View) -> dict[Row, int]:
    """Return the rows of `view` whose size grew (1) or shrank (-1); a new row has grown."""
    changed = {}
    for side in Side:
        old, new = before.side(side), after.side(side)
        indices = [seen.rank for seen in view.rows if seen.row.side is side]
        if not indices or not len(old.prices):
            continue
        # Rows that came or went since before have moved the others by a few places at most.
        known = slice(max(0, min(indices) - _MOVED_ROWS), max(indices) + 1 + _MOVED_ROWS)
        sizes = dict(zip(old.prices[known].tolist(), old.quantities[known].tolist(), strict=True))
        part = slice(min(indices), max(indices) + 1)
        rows = zip(new.prices[part].tolist(), new.quantities[part].tolist(), strict=True)
        for price, size in rows:
            was = sizes.get(price, 0)
            if size != was:
                changed[Row(side, price)] = 1 if size > was else -1
    return changed


def price_heading(quote: str) -> str:
    """Return the heading of the prices."""
    return f"Price, {quote}"


def headings(
    columns: Mapping[Column, Span],
    formats: ColumnFormats,
    symbol: SymbolInfo,
    volume: LadderVolume,
    advance: Callable[[str], float],
    *,
    in_quote: bool,
) -> dict[Column, str]:
    """Return the columns' headings, which name the unit; without the assets if they don't fit.

    `advance` returns the width of a text.
    """
    asset = symbol.quote if in_quote else symbol.base
    full = _headings(formats, volume, price_heading(symbol.quote), asset, symbol.base)
    if all(advance(full[column]) <= span.length - 2 * PADDING for column, span in columns.items()):
        return {column: full[column] for column in columns}
    short = _headings(formats, volume, "Price", "", "")
    return {column: short[column] for column in columns}


def _headings(
    formats: ColumnFormats, volume: LadderVolume, price: str, asset: str, base: str
) -> dict[Column, str]:
    bought, sold = volume.headings(asset)
    return {
        Column.PRICE: price,
        Column.SIZE: formats.size.heading("Size", asset),
        Column.TOTAL: formats.total.heading("Total", asset),
        Column.BOUGHT: bought,
        Column.SOLD: sold,
        Column.ADDED: f"Added, {base}" if base else "Added",
        Column.PULLED: f"Pulled, {base}" if base else "Pulled",
    }


def last_text(last: LastPrice | None, market: MarketFormat) -> LastText | None:
    """Return the last price to show; None where there is none."""
    if last is None:
        return None
    return LastText(exact_text(last.price, last.exponent, market.price_places), last.direction)


def spread_lines(ladder: Ladder, market: MarketFormat) -> tuple[str, str]:
    """Return mid and spread in words, the spread absolute and in percent.

    If a side is empty, the first line names that side.
    """
    if ladder.spread is None or ladder.twice_mid is None:
        return ("no bids" if not len(ladder.bids.prices) else "no asks"), ""
    word = "spread" if ladder.spread >= 0 else "crossed by"
    percent = ladder.spread_percent
    share = "" if percent is None else f"  ({percent_text(abs(percent)).removeprefix('+')})"
    return (
        f"mid {market.half_price(ladder.twice_mid)}",
        f"{word} {market.price(abs(ladder.spread))}{share}",
    )
