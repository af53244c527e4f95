"""Asks the pages for what the heatmap shows, and a little beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Side, Statistic
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
from orderbook_desktop.core.heatmap.view import View

# What is asked for reaches beyond the view by this part of it on each side.
_MARGIN: Final = 0.4
_HOUR_MS: Final = 3_600_000
# Without a live edge the newest columns are read again so often, with one less often.
_AGAIN_MS: Final = 2_000
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
        if self.pages is not None and market:
            self._requests["recorded"] = self.pages.recorded(market, self._take_recorded)

    def forget(self) -> None:
        """Stop reading."""
        for request in self._requests.values():
            request.cancel()
        self._requests = {}
        self._market, self.recorded, self.wish = "", None, None

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
            if not is_short or newest_ms - self._asked_ms < again:
                return
        before = self._requests.pop("cells", None)
        if before is not None:
            before.cancel()
        self.wish, self._asked_ms = wish, newest_ms
        is_first = True

        def take(part: HeatmapPart) -> None:
            nonlocal is_first
            if part.heatmap is not None or part.problem:
                was_first, is_first = is_first, False
                self._answered(part, was_first)

        self._requests["cells"] = self.pages.cells(wish, take)

    def _take_recorded(self, recorded: RecordedMarket) -> None:
        self.recorded = recorded
        self._known(recorded)


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
