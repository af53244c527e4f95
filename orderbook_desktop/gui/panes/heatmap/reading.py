"""Asks the pages for what the heatmap shows, and a little beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.edge import EdgeColumns
from orderbook_desktop.core.heatmap.grid import (
    LONGEST_BIN_MS,
    TILED_FROM_MS,
    PriceGrid,
    fitting_bin,
    fitting_step,
)
from orderbook_desktop.core.heatmap.pages import (
    HeatmapPages,
    HeatmapPart,
    HeatmapRequest,
    HeatmapWish,
    RecordedMarket,
)
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.timeline import Gap

# What is asked for reaches beyond the view by this part of it on each side.
_MARGIN: Final = 0.4
_HOUR_MS: Final = 3_600_000
# Without a live edge the newest columns are read again so often, with one less often.
_AGAIN_MS: Final = 2_000
# The columns of the live edge are prepared for so long.
_AHEAD_MS: Final = 300_000
_MOST_OPEN: Final = 32
_NO_COLUMN: Final = 1 << 60
# So much of what is recorded is drawn from the live edge: it is written a little later.
_OVERLAP_MS: Final = 30_000
_AGAIN_BEHIND_TAIL_MS: Final = 60_000


class Choice(Struct, frozen=True):
    """What of the market is shown."""

    statistic: Statistic = Statistic.MAX
    side: Side = Side.BOTH


def wish_for(
    market: str, view: View, size: tuple[int, int], grid: PriceGrid, choice: Choice, to_ms: int
) -> HeatmapWish | None:
    """Return what to ask for so that `view` is shown on `size` pixels, up to the time `to_ms`.

    None: there is no such time.
    """
    width, height = size
    bin_ms = min(fitting_bin(view.length_ms / width), LONGEST_BIN_MS)
    is_tiled = view.length_ms > _HOUR_MS or bin_ms >= TILED_FROM_MS
    step = fitting_step(grid, view.height / height, is_tiled=is_tiled)
    beyond = round(view.length_ms * _MARGIN)
    begin = max(0, view.from_ms - beyond) // bin_ms * bin_ms
    end = -(-min(view.to_ms + beyond, to_ms) // bin_ms) * bin_ms
    if end <= begin:
        return None
    reach = round(view.height * _MARGIN)
    first = max(0, view.low - reach) // step
    rows = (first, -(-(view.high + reach) // step) - first)
    return HeatmapWish(
        market,
        TimeBins(begin, end, bin_ms),
        PriceSteps(step, view.exponent, rows),
        choice.statistic,
        choice.side,
    )


class EdgeNews(Struct, frozen=True, eq=False):
    """The newest columns, which have changed since `changed_ms`.

    They are all columns of the live edge if it `is_whole`, else those that follow the ones before.
    """

    cells: Heatmap
    changed_ms: int
    is_whole: bool


class LiveEdge:
    """Keeps the columns of the newest minutes, in the bins and rows that a view wants."""

    def __init__(self) -> None:
        self._columns: EdgeColumns | None = None
        self._tail: DepthTail | None = None
        self._is_recorded = False
        # The columns before this one are over, and were given.
        self._open_from = _NO_COLUMN

    def want(self, wish: HeatmapWish, tail: DepthTail | None, *, is_recorded: bool) -> bool:
        """Keep the columns of a wish; return whether they are others than before.

        Where the market `is_recorded`, the pages have what is older, and whole columns only count:
        what the tail lacks of one may be its largest size.
        """
        if tail is None or not tail.from_ms:
            changed = self._columns is not None
            self._columns = self._tail = None
            return changed
        bin_ms = wish.bins.bin_ms
        begin = max(tail.from_ms // bin_ms * bin_ms, wish.bins.from_ms)
        if is_recorded:
            begin = max(begin, -(-tail.from_ms // bin_ms) * bin_ms)
            begin = max(begin, (tail.to_ms - _OVERLAP_MS) // bin_ms * bin_ms)
        held = self._columns
        is_same = self._tail is tail and self._is_recorded is is_recorded
        if held is not None and is_same and _is_served(held, wish, begin):
            return False
        self._is_recorded = is_recorded
        self._open_from = _NO_COLUMN
        # It ends in the future, so that it is not begun anew with each column.
        end = (max(tail.to_ms, begin) + _AHEAD_MS) // bin_ms * bin_ms + bin_ms
        self._tail = tail
        bins = TimeBins.between(begin, end, bin_ms)
        self._columns = EdgeColumns(wish.market, bins, wish.steps, wish.statistic, wish.side)
        return True

    def follow(self) -> EdgeNews | None:
        """Take what is new; None: nothing is. Raises as `EdgeColumns`."""
        columns, tail = self._columns, self._tail
        if columns is None or tail is None:
            return None
        first = columns.follow(tail)
        if first is None:
            return None
        # To copy all columns with each event takes longer than all the rest.
        is_whole = first < self._open_from or columns.reached - self._open_from > _MOST_OPEN
        begin = 0 if is_whole else self._open_from
        if is_whole:
            self._open_from = columns.reached - 1
        cells = columns.heatmap(begin)
        changed_ms = columns.bins.from_ms + first * columns.bins.bin_ms
        return None if cells is None else EdgeNews(cells, changed_ms, is_whole)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps in the newest minutes; one that is not over ends with the newest moment."""
        tail = self._tail
        if tail is None:
            return ()
        return tuple(
            Gap(gap.from_ms, gap.from_ms if gap.to_ms is None else gap.to_ms, 0, 0, gap.cause, "")
            for gap in tail.gaps
        )

    @property
    def span(self) -> tuple[int, int] | None:
        """The time of which the live edge knows the book, in ms; None: of none."""
        return None if self._tail is None else (self._tail.from_ms, self._tail.to_ms)


def _is_served(held: EdgeColumns, wish: HeatmapWish, begin: int) -> bool:
    # Where a view ends before the columns, it needs none of them.
    if held.bins.from_ms > begin and wish.bins.to_ms > held.bins.from_ms:
        return False
    same = held.bins.bin_ms == wish.bins.bin_ms and held.steps.step == wish.steps.step
    same &= (held.statistic, held.side) == (wish.statistic, wish.side)
    same &= held.steps.exponent == wish.steps.exponent and held.steps.rows == wish.steps.rows
    return same and not held.is_over and held.market == wish.market


class CellReader:
    """Reads what is recorded of a market, and the cells of its views.

    `answered` receives each answer, and whether it is the first one to its wish; `known` receives
    what is recorded.
    """

    def __init__(
        self,
        answered: Callable[[HeatmapPart, bool], None],
        known: Callable[[RecordedMarket], None],
    ) -> None:
        self.pages: HeatmapPages | None = None
        self.recorded: RecordedMarket | None = None
        self.wish: HeatmapWish | None = None
        self._answered, self._known = answered, known
        self._market = ""
        self._size = (1, 1)
        self._requests: dict[str, HeatmapRequest] = {}
        self._asked_ms = 0
        # Whether the wish reached the newest moment when it was asked.
        self._is_at_edge = False
        # Whether what is recorded was asked for, and not answered yet.
        self._is_looking = False
        self._epoch = 0

    @property
    def is_recorded(self) -> bool:
        """Whether the market is being recorded now."""
        return self.recorded is not None and self.recorded.coverage.is_growing

    def set_pages(self, pages: HeatmapPages | None) -> None:
        """Read from `pages`; what was read from others is forgotten."""
        market = self._market
        self.forget()
        self.pages = pages
        self.begin(market)

    def begin(self, market: str) -> None:
        """Read what is recorded of `market`."""
        if market != self._market:
            self.forget()
        self._market = market
        if self.pages is None or not market or self._is_looking:
            return
        epoch, self._is_looking = self._epoch, True

        def take(recorded: RecordedMarket) -> None:
            # An earlier look may still go on when another market, or other pages, are chosen.
            if epoch == self._epoch:
                self._is_looking, self.recorded = False, recorded
                self._known(recorded)

        self._requests["recorded"] = self.pages.recorded(market, take)

    def forget(self) -> None:
        """Stop reading."""
        for request in self._requests.values():
            request.cancel()
        self._requests = {}
        self._market, self.recorded, self.wish = "", None, None
        self._is_looking = False
        self._epoch += 1

    def drop_wish(self) -> None:
        """Have the next view asked for, also where the cells in sight would serve it."""
        request = self._requests.pop("cells", None)
        if request is not None:
            request.cancel()
        self.wish = None

    def ask(
        self,
        view: View,
        size: tuple[int, int],
        grid: PriceGrid,
        choice: Choice,
        newest_ms: int,
        *,
        has_tail: bool,
    ) -> None:
        """Ask for what `view` needs, unless it has been asked for already."""
        wish = wish_for(self._market, view, size, grid, choice, newest_ms)
        if self.pages is None or wish is None:
            return
        if self.wish is not None and _serves(self.wish, wish, view):
            again = max(_AGAIN_BEHIND_TAIL_MS if has_tail else _AGAIN_MS, 2 * wish.bins.bin_ms)
            is_short = self.wish.bins.to_ms < min(view.to_ms, newest_ms)
            is_early = self._is_at_edge and newest_ms - self._asked_ms < again
            if not is_short or is_early:
                return
        self.drop_wish()
        self.wish, self._asked_ms = wish, newest_ms
        self._is_at_edge = wish.bins.to_ms >= newest_ms
        is_first = True

        def take(part: HeatmapPart) -> None:
            nonlocal is_first
            if part.heatmap is not None or part.problem:
                was_first, is_first = is_first, False
                self._answered(part, was_first)

        self._requests["cells"] = self.pages.cells(wish, take)


def _serves(asked: HeatmapWish, wish: HeatmapWish, view: View) -> bool:
    """Whether what was asked for shows the view as well as `wish`, as far as there is something."""
    same = (asked.market, asked.bins.bin_ms, asked.steps.step, asked.statistic, asked.side) == (
        wish.market,
        wish.bins.bin_ms,
        wish.steps.step,
        wish.statistic,
        wish.side,
    )
    if not same or asked.steps.rows is None or asked.steps.exponent != wish.steps.exponent:
        return False
    first, count = asked.steps.rows
    step = asked.steps.step
    has_prices = first * step <= view.low and view.high <= (first + count) * step
    return has_prices and asked.bins.from_ms <= view.from_ms
