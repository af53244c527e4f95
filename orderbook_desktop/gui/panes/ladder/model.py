"""What the ladder shows and what a person picked in it, without Qt: the widget paints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from orderbook_desktop.core.known_depth import AT_LEAST, at_least_text
from orderbook_desktop.core.ladder import Ladder, LadderSide, Side, build_ladder, cost_side
from orderbook_desktop.core.ladder_memory import ColumnFormats, LadderMemory
from orderbook_desktop.core.tape import Direction
from orderbook_desktop.core.traded_volume import SINCE_RESET, Period
from orderbook_desktop.gui.panes.axes import scale_top
from orderbook_desktop.gui.panes.book_frame import BookFrame, message_of
from orderbook_desktop.gui.panes.ladder.flow import WINDOWS_S, LadderFlow
from orderbook_desktop.gui.panes.ladder.layout import VOLUME_COLUMNS, Column, Grid, Span
from orderbook_desktop.gui.panes.ladder.position import (
    AroundSpread,
    EveryStep,
    Position,
    Row,
    View,
    find_row,
)
from orderbook_desktop.gui.panes.ladder.scene import (
    LadderScene,
    Marks,
    SceneBuilder,
    changed_sizes,
    headings,
    last_text,
    price_heading,
    reach_of,
    spread_lines,
)
from orderbook_desktop.gui.panes.ladder.volume import LadderVolume

_WORDS: Final = {Direction.UP: ", up", Direction.DOWN: ", down", Direction.NONE: ""}


class _ExactRow(NamedTuple):
    """The exact values of a row with a level, as texts.

    `edge` is the last known price of its side. `times_usual` is how many times the usual size a
    large row has, 0 for other rows.
    """

    side: Side
    price: str
    size: str
    total: str
    is_least_size: bool
    is_least_total: bool
    edge: int | None
    times_usual: int


class LadderModel:
    """The ladder of one book: its rows, the part in view, and the picked row.

    `lines` is how many lines the widget has room for. `in_quote` is whether sizes and totals are
    in the quote asset; `stands_still` whether each price step has a row. A size is marked from
    `large_times` the usual one on (0: none).
    """

    def __init__(
        self,
        *,
        in_quote: bool,
        stands_still: bool,
        large_times: int,
        period: Period = SINCE_RESET,
        flow_seconds: int = WINDOWS_S[1],
    ) -> None:
        self.frame: BookFrame | None = None
        self.ladder: Ladder | None = None
        self.large_times = large_times
        self.picked: int | None = None
        self.volume = LadderVolume(period, in_quote=in_quote)
        self.shows_volume = False
        self.flow = LadderFlow(flow_seconds)
        self.shows_flow = False
        self._in_quote = in_quote
        self._stands_still = stands_still
        self._step = 1
        self._changed: Mapping[Row, int] = {}
        self._memory = LadderMemory()
        self._formats: ColumnFormats | None = None
        self._builder: SceneBuilder | None = None
        self._total_scale = 1.0
        self.position = self._new_position()
        # The part in view, and the number of lines that it is for.
        self._seen: tuple[int, View] = 0, View(())

    @property
    def stands_still(self) -> bool:
        """Whether each price step has a row."""
        return self._stands_still

    @property
    def is_home(self) -> bool:
        """Whether the view follows the market; otherwise the rows stay at their prices."""
        return self.position.is_home

    @property
    def has_changes(self) -> bool:
        """Whether a row is marked as changed."""
        return bool(self._changed)

    def set_frame(self, frame: BookFrame, lines: int, *, mark_changes: bool) -> None:
        """Take in `frame`; another market than before begins centred, with no row picked."""
        if self.frame is None or frame.symbol.market != self.frame.symbol.market:
            self.ladder = None
            self._begin()
        before, self.frame = self.ladder, frame
        self._changed = {}
        ladder = self._build(frame, lines)
        if mark_changes and before is not None:
            self._changed = changed_sizes(before, ladder, self._view(ladder, lines))
        self.take_trades(frame)

    def take_trades(self, frame: BookFrame) -> None:
        """Take in a frame of the same book, with newer trades."""
        self.frame = frame
        if self.shows_volume:
            self.volume.follow(frame)
        if self.shows_flow:
            self.flow.follow(frame)

    def row_to(self, price: int | None, scene: LadderScene) -> Row | None:
        """Return the row in `scene` that a sum from the spread to `price` ends with, or None."""
        if price is None or self.frame is None:
            return None
        bids, asks = self.frame.bids.prices, self.frame.asks.prices
        if len(asks) and price >= asks[0]:
            above = [
                one.row for one in scene.rows if one.row.side is Side.ASK and one.row.price >= price
            ]
            return min(above, key=lambda row: row.price, default=None)
        if len(bids) and price <= bids[0]:
            below = [
                one.row for one in scene.rows if one.row.side is Side.BID and one.row.price <= price
            ]
            return max(below, key=lambda row: row.price, default=None)
        return None

    def forget(self) -> None:
        """Show nothing, and treat the next frame as that of another market."""
        self.frame = None
        self.volume.forget()

    def calm_down(self) -> None:
        """Mark no row as changed."""
        self._changed = {}

    def set_step(self, step: int, lines: int) -> None:
        """Group by `step` price units, and go home."""
        if step != self._step:
            self._step = step
            self._begin()
            self._rebuild(lines)

    def set_quote_units(self, wanted: bool, lines: int) -> None:
        """Write sizes and totals in the quote asset, or in the base asset."""
        self._in_quote = self.volume.in_quote = wanted
        self._rebuild(lines)

    def stand_still(self, wanted: bool, lines: int) -> None:
        """Give each price step a row, or each group with a quantity."""
        self._stands_still = wanted
        self.position = self._new_position()
        self._rebuild(lines)

    def resize(self, lines: int) -> None:
        """Take in another number of lines."""
        if self.ladder is not None:
            self.position.follow(self.ladder, lines)
            self._look(self.ladder, lines)

    def scroll(self, rows: int, lines: int) -> None:
        """Move by `rows` towards higher prices; negative: lower."""
        if self.ladder is not None:
            self.position.scroll(self.ladder, lines, rows)
            self._look(self.ladder, lines)

    def centre(self, lines: int) -> None:
        """Follow the market again."""
        self.position.centre()
        self.resize(lines)

    def pick(self, price: int, lines: int) -> None:
        """Pick the row at `price`, and bring it into view."""
        if self.ladder is not None:
            self.picked = price
            self.position.show(self.ladder, lines, price)
            self._look(self.ladder, lines)

    def pick_next(self, down: int, lines: int) -> None:
        """Pick the row `down` rows below the picked row; with none, a row at the spread."""
        if self.ladder is None:
            return
        row = self.picked_row
        price = self.position.next_price(self.ladder, row and row.price, down)
        if price is not None:
            self.pick(price, lines)

    @property
    def picked_row(self) -> Row | None:
        """The picked row; None if its price has no row any more."""
        if self.picked is None or self.ladder is None:
            return None
        found = find_row(self.ladder, self.picked)
        if found is not None:
            return found.row
        return Row(None, self.picked) if self._stands_still else None

    def price_texts(self) -> list[str]:
        """Return the texts of prices that are as long as the longest."""
        if self.frame is None or self.ladder is None:
            return [""]
        # The farthest ask has the longest price; without asks, the best bid has it.
        asks, bids = self.ladder.asks, self.ladder.bids
        ends = asks.prices[-1:].tolist() or bids.prices[:1].tolist()
        # A single level beyond what is known has the places of the tick.
        singles = any(side.single < len(side.prices) for side in (asks, bids))
        step = 0 if singles else self._step
        return [self.frame.format.price(price, step) for price in ends] or [""]

    @property
    def price_heading(self) -> str:
        """The whole heading of the prices."""
        return price_heading(self.frame.symbol.quote) if self.frame is not None else ""

    @property
    def shows_rows(self) -> bool:
        """Whether there are rows to show, and no message in their place."""
        return self._rows_shown is not None

    @property
    def _rows_shown(self) -> tuple[BookFrame, Ladder, ColumnFormats] | None:
        frame, ladder, formats = self.frame, self.ladder, self._formats
        if frame is None or ladder is None or formats is None or message_of(frame):
            return None
        return frame, ladder, formats

    def scene(self, grid: Grid, columns: Mapping[Column, Span]) -> LadderScene | None:
        """Return the scene to paint; None while a message is shown."""
        if self._rows_shown is None:
            return None
        frame, ladder, formats = self._rows_shown
        view = self._view(ladder, grid.lines)
        shown = {side: ladder.side(side) for side in Side}
        if self._in_quote:
            shown = {side: self._costs(frame, side, rows) for side, rows in reach_of(view).items()}
        marks = Marks(
            self._memory,
            self._changed,
            self.large_times,
            self._total_scale,
            skips=not self._stands_still,
        )
        if self._builder is None or not self._builder.fits(frame.format, self._step):
            self._builder = SceneBuilder(frame.format, self._step)
        rows = list(self._builder.rows(ladder, shown, view, grid, formats, marks))
        if not columns.keys().isdisjoint(VOLUME_COLUMNS):
            volumes = self.volume.texts([row.row for row in rows], ladder, self._step)
            rows = [row._replace(volume=volume) for row, volume in zip(rows, volumes, strict=True)]
        if self.shows_flow:
            flows = self.flow.texts([row.row for row in rows], ladder, self._step)
            rows = [row._replace(flow=flow) for row, flow in zip(rows, flows, strict=True)]
        spread = grid.span(view.spread_line, 2) if view.spread_line is not None else None
        last = last_text(frame.last, frame.format)
        return LadderScene(tuple(rows), spread_lines(ladder, frame.format), spread, columns, last)

    def headings(
        self, columns: Mapping[Column, Span], advance: Callable[[str], float]
    ) -> dict[Column, str]:
        """Return the columns' headings; `advance` returns the width of a text."""
        if self.frame is None or self._formats is None:
            return {column: column.value.capitalize() for column in Column}
        symbol, volume = self.frame.symbol, self.volume
        return headings(columns, self._formats, symbol, volume, advance, in_quote=self._in_quote)

    def describe(self, row: Row) -> str:
        """Return the exact values of `row` as text."""
        frame, exact = self.frame, self._exact(row)
        if frame is None:
            return ""
        if exact is None:
            price = frame.format.price(row.price, self._step)
            lines = [f"{price} {frame.symbol.quote}", self._nothing_at(row.price)]
            return "\n".join([*lines, *self._traded_at(row)])
        asset = frame.symbol.quote if self._in_quote else frame.symbol.base
        size, total = f"{exact.size} {asset}", f"{exact.total} {asset}"
        edge = None if exact.edge is None else frame.format.price(exact.edge)
        total = at_least_text(total, edge) if exact.is_least_total else total
        lines = [
            f"{exact.side.value.capitalize()} {exact.price} {frame.symbol.quote}",
            f"Size {'at least ' if exact.is_least_size else ''}{size}",
            f"Total from the spread {total}",
        ]
        if exact.times_usual:
            lines.append(f"{exact.times_usual:,} times the usual size")
        return "\n".join([*lines, *self._traded_at(row)])

    def _traded_at(self, row: Row) -> list[str]:
        """Return what was traded at a row, in words, if that is shown and anything was."""
        if self.ladder is None:
            return []
        shown = (self.shows_volume, self.volume), (self.shows_flow, self.flow)
        texts = [one.describe(row, self.ladder, self._step) for is_shown, one in shown if is_shown]
        return [text for text in texts if text]

    def copied(self) -> str:
        """Return side, price, size and total of the picked row, exact, separated by tabs."""
        row = self.picked_row
        exact = self._exact(row) if row is not None else None
        if exact is None:
            return ""
        size = (AT_LEAST if exact.is_least_size else "") + exact.size
        total = (AT_LEAST if exact.is_least_total else "") + exact.total
        return f"{exact.side.value}\t{exact.price}\t{size}\t{total}".replace(",", "")

    def summary(self) -> str:
        """Return the last price, best bid, best ask and spread in words."""
        if self.frame is None or self.ladder is None:
            return ""
        message = message_of(self.frame)
        if message is not None:
            return f"{message.title}. {message.detail}"
        best = [
            f"best {side.value} {self.frame.format.price(price)}"
            for side, price in self.ladder.best.items()
        ]
        lines = spread_lines(self.ladder, self.frame.format)
        last = last_text(self.frame.last, self.frame.format)
        traded = [] if last is None else [f"last price {last.price}{_WORDS[last.direction]}"]
        return ", ".join([*traded, *best, " ".join(line for line in lines if line)])

    def _begin(self) -> None:
        """Forget what holds for one market and one grouping only."""
        self.position = self._new_position()
        self.picked = None
        self._memory, self._formats, self._builder = LadderMemory(), None, None
        self._total_scale = 1.0

    def _new_position(self) -> Position:
        return EveryStep(self._step) if self._stands_still else AroundSpread()

    def _rebuild(self, lines: int) -> None:
        """Build the present frame anew, after another choice."""
        if self.frame is not None:
            self._changed = {}
            self._build(self.frame, lines)

    def _build(self, frame: BookFrame, lines: int) -> Ladder:
        self.ladder = ladder = build_ladder(
            frame.bids,
            frame.asks,
            frame.format.scale,
            self._step,
            frame.horizon,
            singles=not self._stands_still,
        )
        self._formats = self._memory.formats(ladder, frame.format, in_quote=self._in_quote)
        self._memory.take(ladder, frame.event_ms)
        self.resize(lines)
        return ladder

    def _costs(self, frame: BookFrame, side: Side, rows: int) -> LadderSide:
        """Return the best `rows` rows of a side in the quote asset."""
        levels = frame.bids if side is Side.BID else frame.asks
        return cost_side(
            levels, self._step, side, frame.horizon, rows, singles=not self._stands_still
        )

    def _look(self, ladder: Ladder, lines: int) -> None:
        """Take in what is in view now, which another ladder, place or number of lines changes.

        The total that fills a bar is a little more than the largest in view.
        """
        view = self.position.view(ladder, lines)
        self._seen = lines, view
        # Totals grow outward, so that the farthest row in view has the largest.
        largest = [
            int(ladder.side(side).cumulative[reach - 1])
            for side, reach in reach_of(view).items()
            if reach
        ]
        self._total_scale = scale_top(max(largest, default=0), self._total_scale)

    def _view(self, ladder: Ladder, lines: int) -> View:
        seen_lines, view = self._seen
        return view if lines == seen_lines else self.position.view(ladder, lines)

    def _exact(self, row: Row) -> _ExactRow | None:
        """Return the exact values of `row`; None if it has no level."""
        frame, ladder = self.frame, self.ladder
        found = find_row(ladder, row.price) if ladder is not None else None
        side = row.side
        if frame is None or ladder is None or found is None or side is None:
            return None
        if found.row.side is not side:
            return None
        rank, text = found.rank, frame.format
        levels = ladder.side(side)
        shown, written = levels, text.quantity
        if self._in_quote:
            shown, written = self._costs(frame, side, rank + 1), text.cost
        size, large = int(levels.quantities[rank]), self._memory.large_from(self.large_times)
        return _ExactRow(
            side,
            text.price(row.price, levels.price_step(rank, self._step)),
            written(int(shown.quantities[rank])),
            written(int(shown.cumulative[rank])),
            levels.is_least_size(rank),
            levels.is_least_total(rank),
            levels.edge,
            size // self._memory.usual if large is not None and size >= large else 0,
        )

    def _nothing_at(self, price: int) -> str:
        """Return in words what a step without a level holds."""
        unknown = self.ladder is not None and self.ladder.unknown_side(price) is not None
        return "Not known whether there is a level" if unknown else "No level"
