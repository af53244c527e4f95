"""A made-up market that knows what it added, traded and pulled, and what its streams say of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.heatmap.flows import FlowTrades
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale
from tests.core.archive.runs import spelt
from tests.core.heatmap.live import MARKET, T0, TICK, text

LOT = 10**5
Key = tuple[bool, int]
"""Whether it is an ask, and the tick."""


@dataclass
class Truth:
    added: int = 0
    traded: int = 0
    pulled: int = 0


@dataclass
class MadeMarket:
    """Takes actions, and tells what is true of each event's levels, in lots.

    A trade is told with a time by another clock: not later than the event in which it is, and later
    than the second event before that.
    """

    levels: dict[Key, int]
    horizon: Horizon | None = field(default_factory=Horizon)
    events: list[DepthDiff] = field(default_factory=list)
    truths: list[dict[Key, Truth]] = field(default_factory=list)
    trades: list[tuple[int, int, int, bool]] = field(default_factory=list)
    _truth: dict[Key, Truth] = field(default_factory=dict)
    _new_trades: list[tuple[Key, int, float]] = field(default_factory=list)
    start: BookImage | None = None

    def __post_init__(self) -> None:
        sides = []
        for is_ask in (False, True):
            ticks = sorted(tick for ask, tick in self.levels if ask is is_ask)
            ticks = ticks if is_ask else ticks[::-1]
            sizes = [self.levels[is_ask, tick] * LOT for tick in ticks]
            sides.append(
                Levels(np.array(ticks, dtype=np.int64) * TICK, np.array(sizes, dtype=np.int64))
            )
        self.start = BookImage(MARKET, 10, T0, Scale(), sides[0], sides[1], self.horizon)

    def of(self, key: Key) -> Truth:
        return self._truth.setdefault(key, Truth())

    def add(self, key: Key, lots: int) -> None:
        self.levels[key] = self.levels.get(key, 0) + lots
        self.of(key).added += lots

    def pull(self, key: Key, lots: int) -> None:
        lots = min(lots, self.levels.get(key, 0))
        self.levels[key] = self.levels.get(key, 0) - lots
        self.of(key).pulled += lots

    def trade(self, key: Key, lots: int, lateness: float) -> None:
        lots = min(lots, self.levels.get(key, 0))
        if lots:
            self.levels[key] -= lots
            self.of(key).traded += lots
            self._new_trades.append((key, lots, lateness))

    def event(self, time_ms: int) -> None:
        """All that happened since the last event becomes known."""
        number, changed = len(self.events), self._truth
        earliest = self.events[number - 2].event_ms + 1 if number > 1 else time_ms
        for (is_ask, tick), lots, lateness in self._new_trades:
            at = earliest + round((time_ms - earliest) * lateness)
            at = max(at, self.trades[-1][0] if self.trades else 0)
            self.trades.append((at, tick * TICK, lots * LOT, not is_ask))
        bids, asks = (
            [
                (text(tick * TICK), text(self.levels[is_ask, tick] * LOT))
                for ask, tick in sorted(changed)
                if ask is is_ask
            ]
            for is_ask in (False, True)
        )
        self.events.append(decode_diff(spelt(11 + number, 11 + number, time_ms, bids, asks)))
        self.truths.append(changed)
        self._truth, self._new_trades = {}, []

    def flow_trades(self, gaps: tuple[tuple[int, int], ...] = ()) -> FlowTrades:
        times, prices, sizes = (
            np.array([trade[place] for trade in self.trades], dtype=np.int64) for place in range(3)
        )
        sold = np.array([trade[3] for trade in self.trades], dtype=np.bool_)
        return FlowTrades(Scale(), times, prices, sizes, sold, gaps)


@st.composite
def made_markets(draw: st.DrawFn) -> MadeMarket:
    """Markets of few levels and a dozen events, with several trades between two of them."""
    keys = [(False, 1), (False, 2), (True, 3), (True, 4)]
    market = MadeMarket({key: draw(st.integers(0, 5)) for key in keys if draw(st.booleans())})
    time_ms = T0
    for _ in range(draw(st.integers(3, 9))):
        time_ms += draw(st.sampled_from([1, 100, 100, 250]))
        for _ in range(draw(st.integers(0, 5))):
            key, lots = draw(st.sampled_from(keys)), draw(st.integers(1, 4))
            kind = draw(st.sampled_from(["add", "trade", "trade", "pull"]))
            if kind == "trade":
                market.trade(key, lots, draw(st.sampled_from([0.0, 0.3, 0.6, 1.0])))
            else:
                getattr(market, kind)(key, lots)
        market.event(time_ms)
    return market
