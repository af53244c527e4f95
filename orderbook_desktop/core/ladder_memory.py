"""What a ladder remembers: usual sizes, the units of its columns, moves of the best prices.

Bars, marks and units depend on it, so that they say the same from one moment to the next. Window
and page have the same rules; `ladder_memory.js` follows them in a page that merges changes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.ladder import Ladder, Side, near_sizes
from orderbook_desktop.core.number_format import ColumnFormat, MarketFormat
from orderbook_desktop.core.units import Scale

_EVERY_MS: Final = 1_000
_KEPT_MS: Final = 300_000
_NEAR_ROWS: Final = 50
# Nineteen of twenty sizes fit on the scale of the bars.
_SCALE_PERCENT: Final = 95


class SteadyValue:
    """The median of a value's samples of the last five minutes; one sample a second is enough."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()
        self.median = 0

    def take(self, now_ms: int, value: int) -> None:
        """Add a sample, and forget old ones."""
        samples = self._samples
        samples.append((now_ms, value))
        while samples[0][0] <= now_ms - _KEPT_MS:
            samples.popleft()
        values = sorted(value for _, value in samples)
        self.median = values[len(values) // 2]


class ColumnFormats(Struct, frozen=True):
    """How the sizes and the totals of a ladder are written."""

    size: ColumnFormat
    total: ColumnFormat


class LadderMemory:
    """The sizes of the rows near the spread in the last five minutes, of one market and grouping.

    `scale` is the size that fills a bar, the same on both sides: the 95th percentile, not the
    largest. `usual` is the median size. Both are medians over time, so neither one order nor one
    moment sets them; they are 0 until a ladder with rows was taken.
    `bid_move` and `ask_move` are 1 where that best price rose last, -1 where it fell, else 0.
    """

    def __init__(self) -> None:
        self._units = Scale()
        self._scale, self._usual = SteadyValue(), SteadyValue()
        self._sampled_ms: int | None = None
        self._formats: ColumnFormats | None = None
        self._best: tuple[int | None, int | None] = (None, None)
        self.bid_move = self.ask_move = 0

    def take(self, ladder: Ladder, now_ms: int) -> None:
        """Take in `ladder` as it is at `now_ms`, milliseconds of any clock that goes on."""
        bid, ask = (
            int(side.prices[0]) if len(side.prices) else None for side in (ladder.bids, ladder.asks)
        )
        self.bid_move = _move(self._best[0], bid) or self.bid_move
        self.ask_move = _move(self._best[1], ask) or self.ask_move
        self._best = bid, ask
        since = None if self._sampled_ms is None else now_ms - self._sampled_ms
        if ladder.scale != self._units or (since is not None and since < 0):
            # Sizes of another scale don't compare, and what is later in a replay is not the past.
            self._units, since = ladder.scale, None
            self._scale, self._usual = SteadyValue(), SteadyValue()
        if since is not None and since < _EVERY_MS:
            return
        sizes = sorted(near_sizes(ladder, _NEAR_ROWS))
        if sizes:
            self._sampled_ms = now_ms
            self._scale.take(now_ms, sizes[(len(sizes) - 1) * _SCALE_PERCENT // 100])
            self._usual.take(now_ms, sizes[(len(sizes) - 1) // 2])

    def formats(
        self, ladder: Ladder, market: MarketFormat, *, in_quote: bool = False
    ) -> ColumnFormats:
        """Return how to write the numbers of `ladder`; those of before stay while they fit."""
        size, total, before = ladder.typical_size, ladder.typical_total, self._formats
        held = (before.size, before.total) if before is not None else (None, None)
        if in_quote:
            price = ladder.typical_price
            formats = ColumnFormats(
                market.cost_column(size * price, held[0]),
                market.cost_column(total * price, held[1]),
            )
        else:
            formats = ColumnFormats(market.column(size, held[0]), market.column(total, held[1]))
        self._formats = formats
        return formats

    @property
    def scale(self) -> int:
        """The size that fills a bar."""
        return self._scale.median

    @property
    def usual(self) -> int:
        """The median size of a row."""
        return self._usual.median

    def large_from(self, times: int) -> int | None:
        """Return the size from which on a row is large: `times` the usual one; None for 0."""
        return times * self.usual or None

    def move_of(self, side: Side | None) -> int:
        """Return where the best price of `side` moved last; None has no best price."""
        return {Side.BID: self.bid_move, Side.ASK: self.ask_move, None: 0}[side]


def _move(before: int | None, now: int | None) -> int:
    if before is None or now is None or before == now:
        return 0
    return 1 if now > before else -1
