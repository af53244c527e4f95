"""A synthetic market: a moving book, as a pure function of its seed.

Limit orders come and go, most of them near the spread, and the number of levels reverts to its
mean. Market orders, now and then a large one, take levels as far as a cautious taker goes. Makers
close the spread again a little higher or lower, so that the price walks, and fill the holes behind
it. There is no clock and no I/O: the same seed and the same calls give the same bytes.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from orderbook_desktop.exchange.local.source import LocalBook, TextLevel
from orderbook_desktop.exchange.local.synthetic_listing import MarketSpec
from orderbook_desktop.formats.single_trades import AGGREGATED, TRADE, AggregatedTrade

STEP_MS: Final = 100
_STEPS_PER_SECOND: Final = 1000 // STEP_MS
_OLDER_BY_STEPS: Final = 50
_LIVED_UNSEEN_STEPS: Final = 30
_IDS_PER_MS: Final = 100
_FEWEST_LEVELS: Final = 20
_UNITS: Final = 10**8
# A market order stops at this distance from the best price (as a share of it), but takes at least
# one tick.
_REACH: Final = 1 / 50_000
# So many levels from the spread on are checked for holes.
_WATCHED_LEVELS: Final = 150
_FILLED_AT_ONCE: Final = 4

# Of trades at one price, so many are with a single maker.
_ONE_MAKER: Final = 0.6
# More than any market has, so that no run's ids reach those of the next one.
_TRADE_IDS_PER_MS: Final = 10
_TRADE: Final = b'{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%s","q":"%s","T":%d,"m":%s,"M":true}'

_BID, _ASK = 0, 1
_SIGNS: Final = (-1, 1)


class _RestingSide:
    """Levels in the order of their keys: the price of an ask, minus the price of a bid."""

    __slots__ = ("keys", "lots")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.lots: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def best(self) -> int:
        """The key of the best level; a side is never empty."""
        return self.keys[0]

    def append(self, key: int, lots: int) -> None:
        """Add a level behind all others."""
        self.keys.append(key)
        self.lots[key] = lots

    def put(self, key: int, lots: int) -> None:
        """Set the quantity of a level; 0 removes it."""
        if lots == 0:
            del self.lots[key]
            del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.lots:
            insort(self.keys, key)
        self.lots[key] = lots

    def copy(self) -> _RestingSide:
        """Return the side as it is now."""
        other = _RestingSide()
        other.keys, other.lots = self.keys.copy(), self.lots.copy()
        return other


_Sides = tuple[_RestingSide, _RestingSide]


class MadeUpEvent(Struct, frozen=True):
    """One event: `kind` is the stream's name behind the symbol (`depth@100ms`, `trade`, …).

    `id` is an update id, or the id of a trade or an aggregated one.
    """

    kind: str
    time_ms: int
    payload: bytes
    id: int


class _Changes:
    """The changes since the last diff: new lots by price, for bids and asks."""

    def __init__(self, first_id: int) -> None:
        self.first_id = first_id
        self.lots: tuple[dict[int, int], dict[int, int]] = ({}, {})


class SyntheticMarket:
    """One market, begun at `start_ms` (ms since the epoch) and driven by `advance`."""

    def __init__(self, spec: MarketSpec, seed: int, start_ms: int) -> None:
        self.spec = spec
        self.now_ms = start_ms - start_ms % STEP_MS
        self._random = random.Random(f"{seed}/{spec.market}")
        # Ahead of every id that an earlier run of this market can have reached. So a recording of
        # both runs has a gap between them, and no id twice.
        self.last_update_id = self.now_ms * _IDS_PER_MS + self._random.randrange(10**6)
        # A generator of its own: the book is the same however the trades are divided.
        self._parts = random.Random(f"{seed}/{spec.market}/parts")
        self._trade_id = self.now_ms * _TRADE_IDS_PER_MS + self._parts.randrange(10**5)
        self._aggregated_id = self._trade_id - self._parts.randrange(10**5)
        # Mean gap of neighbouring levels: 5,000 of them reach about 2 % from the price.
        self._gap = max(1.0, spec.price_ticks / 1_500_000)
        self._round = max(10, 10 ** (len(str(spec.price_ticks)) - 3))
        # Where a tick is a large share of the price, more rests at each level, and moves need
        # more.
        self._thickness = min(30.0, max(1.0, math.sqrt(150_000 / spec.price_ticks)))
        self._widest_gaps = [int(2 + 4 * self._mean_gap(r)) for r in range(_WATCHED_LEVELS)]
        self._reach = max(1, int(spec.price_ticks * _REACH))
        self._momentum = 0.0
        self._sides: _Sides = (self._first_side(_BID), self._first_side(_ASK))
        self._targets = (len(self._sides[_BID]), len(self._sides[_ASK]))
        self._older = self._newer = self._copy()
        self._steps = 0
        self._step_changes = _Changes(self.last_update_id + 1)
        self._second_changes = _Changes(self.last_update_id + 1)
        self._events: list[MadeUpEvent] = []

    def advance(self, now_ms: int) -> list[MadeUpEvent]:
        """Let the market live until `now_ms`; return what happened, in order.

        Time passes in steps of 100 ms; the rest of `now_ms` waits for the next call.
        """
        self._events = []
        while self.now_ms + STEP_MS <= now_ms:
            self._step()
            self.now_ms += STEP_MS
            self._end_step()
        events, self._events = self._events, []
        return events

    def skip_to(self, now_ms: int) -> None:
        """Move the clock to `now_ms` without anything happening in between."""
        self.now_ms = max(self.now_ms, now_ms - now_ms % STEP_MS)

    def move_on(self, now_ms: int) -> None:
        """Let the time until `now_ms` pass without events.

        The last seconds are simulated. For the time before, only the ids advance, as far as they
        would have.
        """
        unlived = (now_ms - self.now_ms) // STEP_MS - _LIVED_UNSEEN_STEPS
        if unlived > 0:
            self.last_update_id += max(1, self._poisson(self.spec.changes * unlived))
            unseen = max(1, self._poisson(self._market_orders_a_step() * unlived))
            self._trade_id += 2 * unseen
            self._aggregated_id += unseen
            self.skip_to(self.now_ms + unlived * STEP_MS)
        self.advance(now_ms)
        # Changes without an event are part of no later diff.
        self._step_changes = _Changes(self.last_update_id + 1)
        self._second_changes = _Changes(self.last_update_id + 1)

    def book(self) -> LocalBook:
        """Return the whole book."""
        return self._view(self.last_update_id, self._sides)

    def older_book(self) -> LocalBook:
        """Return the book of five to ten seconds ago, or the first one."""
        return self._view(*self._older)

    # -- the flow of orders

    def _step(self) -> None:
        for _ in range(self._poisson(self.spec.changes)):
            self._limit_order()
        self._momentum = 0.97 * self._momentum + self._random.gauss(0, 0.12)
        for _ in range(self._poisson(self._market_orders_a_step())):
            self._market_order(self._random.lognormvariate(-1.0, 1.5))
        if self._random.random() < 0.01 * self._market_orders_a_step():
            self._market_order(self._random.uniform(10, 50))
        for side_index in (_BID, _ASK):
            self._fill_holes(side_index)
        if self._random.random() < 0.92 or self._spread() > 2 * self._reach:
            self._close_spread()

    def _market_orders_a_step(self) -> float:
        return 1.2 * min(1.0, self.spec.changes / 20)

    def _limit_order(self) -> None:
        """Let an order come, change or go: mostly near the spread, sometimes far away."""
        rng = self._random
        side_index = _BID if rng.random() < 0.5 else _ASK
        side = self._sides[side_index]
        draw = rng.random()
        if draw < 0.4:
            rank = int(rng.expovariate(0.3))
        elif draw < 0.85:
            rank = int(rng.expovariate(0.02))
        else:
            rank = rng.randrange(len(side))
        rank = min(rank, len(side) - 1)
        key = side.keys[rank]
        crowding = len(side) / self._targets[side_index]
        action = rng.random()
        stays = rank == 0 and rng.random() * self._thickness > 1
        if action < 0.35 * crowding**4 and not stays and len(side) > _FEWEST_LEVELS:
            self._set(side_index, key, 0)
            return
        if action > 0.65:
            key += 1 + int(rng.expovariate(1 / self._mean_gap(rank)))
            if side_index == _BID and key >= 0:
                return
        self._set(side_index, key, self._lots_at(key, rank))

    def _market_order(self, size: float) -> None:
        """Take up to `size` typical quantities from the side in the direction of the momentum."""
        up = self._random.random() < 0.5 + 0.35 * math.tanh(self._pull())
        side_index = _ASK if up else _BID
        side = self._sides[side_index]
        wanted = max(1, int(size * self.spec.typical_lots))
        limit = side.best + self._reach
        # All trades of an order are of the same time.
        time_ms = self._time_of_next()
        while wanted and side.best <= limit and len(side) > _FEWEST_LEVELS:
            key = side.best
            taken = min(wanted, side.lots[key])
            wanted -= taken
            self._trade(time_ms, key * _SIGNS[side_index], taken, maker_bought=not up)
            self._set(side_index, key, side.lots[key] - taken)

    def _close_spread(self) -> None:
        """Let makers meet somewhere in the spread, one tick apart."""
        bid, ask = -self._sides[_BID].best, self._sides[_ASK].best
        if self._spread() == 1:
            return
        where = 0.5 + 0.3 * math.tanh(self._pull()) + self._random.uniform(-0.3, 0.3)
        # Rounded at random: a spread of two ticks closes upwards as often as downwards.
        new_bid = bid + int((ask - bid - 1) * min(1.0, max(0.0, where)) + self._random.random())
        if new_bid > bid:
            self._set(_BID, -new_bid, self._lots_at(-new_bid, 0))
        if new_bid + 1 < ask:
            self._set(_ASK, new_bid + 1, self._lots_at(new_bid + 1, 0))

    def _fill_holes(self, side_index: int) -> None:
        """Put orders into the holes behind the price, the nearest first."""
        keys = self._sides[side_index].keys
        holes = [
            (rank, near)
            for rank, (near, far, widest) in enumerate(
                zip(keys, keys[1 : _WATCHED_LEVELS + 1], self._widest_gaps, strict=False)
            )
            if far - near > widest
        ]
        for rank, near in holes[:_FILLED_AT_ONCE]:
            key = near + 1 + self._random.randrange(self._widest_gaps[rank])
            self._set(side_index, key, self._lots_at(key, rank))

    def _spread(self) -> int:
        return self._sides[_ASK].best + self._sides[_BID].best

    def _pull(self) -> float:
        """Return the momentum; far from the first price it points back."""
        start = self.spec.price_ticks
        return self._momentum + 100 * (start - self._sides[_ASK].best) / start

    # -- quantities and gaps

    def _first_side(self, side_index: int) -> _RestingSide:
        side = _RestingSide()
        sign, start = _SIGNS[side_index], self.spec.price_ticks
        key = sign * start + (1 if side_index == _ASK else 0)
        for rank in range(self.spec.levels):
            if not 0.3 * start < key * sign < 3 * start:
                break
            side.append(key, self._lots_at(key, rank))
            key += 1 + int(self._random.expovariate(1 / self._mean_gap(rank)))
        return side

    def _mean_gap(self, rank: int) -> float:
        return max(0.05, self._gap * (1 + rank / 500) - 1)

    def _lots_at(self, key: int, rank: int) -> int:
        """Draw a quantity: larger away from the spread, with walls at round prices."""
        factor = self._thickness * (0.4 + min(rank, 200) / 80)
        price = abs(key)
        if price % self._round == 0:
            factor *= 25
        elif price * 10 % self._round == 0:
            factor *= 4
        draw = self._random.lognormvariate(0.0, 1.2) * factor
        return max(1, int(self.spec.typical_lots * draw))

    def _poisson(self, mean: float) -> int:
        """Draw a Poisson number; a normal one stands in where `mean` is large."""
        if mean > 30:
            return max(0, round(self._random.gauss(mean, math.sqrt(mean))))
        threshold, count, product = math.exp(-mean), 0, self._random.random()
        while product > threshold:
            count += 1
            product *= self._random.random()
        return count

    # -- taking note of what changed

    def _set(self, side_index: int, key: int, lots: int) -> None:
        side = self._sides[side_index]
        at_the_touch = key <= side.best
        side.put(key, lots)
        self.last_update_id += 1
        price = abs(key)
        self._step_changes.lots[side_index][price] = lots
        if at_the_touch:
            ticker = self._ticker()
            event_ms = self._time_of_next()
            self._events.append(MadeUpEvent("bookTicker", event_ms, ticker, self.last_update_id))

    def _trade(self, time_ms: int, price: int, lots: int, *, maker_bought: bool) -> None:
        """Trade `lots` at one price, with one maker or with several."""
        first_id = self._trade_id + 1
        market, text = self.spec.market, self._price(price)
        left = lots
        while left:
            is_last = left == 1 or self._parts.random() < _ONE_MAKER
            part = left if is_last else self._parts.randint(1, left - 1)
            left -= part
            self._trade_id += 1
            event_ms = self._time_of_next()
            payload = _TRADE % (
                *(event_ms, market.encode(), self._trade_id, text.encode()),
                *(self._quantity(part).encode(), time_ms, b"true" if maker_bought else b"false"),
            )
            self._events.append(MadeUpEvent(TRADE, event_ms, payload, self._trade_id))
        self._aggregated_id += 1
        whole = AggregatedTrade(
            *(self._aggregated_id, text, self._quantity(lots), first_id, self._trade_id),
            *(time_ms, maker_bought),
        )
        event_ms = self._time_of_next()
        payload = whole.event(market, event_ms)
        self._events.append(MadeUpEvent(AGGREGATED, event_ms, payload, whole.id))

    def _ticker(self) -> bytes:
        bids, asks = self._sides
        return b'{"u":%d,"s":"%s","b":"%s","B":"%s","a":"%s","A":"%s"}' % (
            self.last_update_id,
            self.spec.market.encode(),
            self._price(-bids.best).encode(),
            self._quantity(bids.lots[bids.best]).encode(),
            self._price(asks.best).encode(),
            self._quantity(asks.lots[asks.best]).encode(),
        )

    def _time_of_next(self) -> int:
        """Return the time of an event within the step: behind the ones before it."""
        earlier = self._events[-1].time_ms if self._events else 0
        if earlier <= self.now_ms:
            return self.now_ms + 1
        return min(self.now_ms + STEP_MS - 1, earlier + 3)

    def _end_step(self) -> None:
        self._steps += 1
        changes = self._step_changes
        if self.last_update_id >= changes.first_id:
            self._note_diff("depth@100ms", changes)
            for collected, new in zip(self._second_changes.lots, changes.lots, strict=True):
                collected.update(new)
            self._step_changes = _Changes(self.last_update_id + 1)
        second = self._second_changes
        if self._steps % _STEPS_PER_SECOND == 0 and self.last_update_id >= second.first_id:
            self._note_diff("depth", second)
            self._second_changes = _Changes(self.last_update_id + 1)
        if self._steps % _OLDER_BY_STEPS == 0:
            self._older, self._newer = self._newer, self._copy()

    def _note_diff(self, kind: str, changes: _Changes) -> None:
        bids, asks = changes.lots
        payload = b'{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,"b":[%s],"a":[%s]}' % (
            self.now_ms,
            self.spec.market.encode(),
            changes.first_id,
            self.last_update_id,
            self._levels(sorted(bids.items(), reverse=True)),
            self._levels(sorted(asks.items())),
        )
        self._events.append(MadeUpEvent(kind, self.now_ms, payload, self.last_update_id))

    # -- exact decimal text

    def _levels(self, levels: Iterable[tuple[int, int]]) -> bytes:
        return ",".join(
            f'["{self._price(price)}","{self._quantity(lots)}"]' for price, lots in levels
        ).encode()

    def _price(self, ticks: int) -> str:
        whole, rest = divmod(ticks * self.spec.tick, _UNITS)
        return f"{whole}.{rest:08d}"

    def _quantity(self, lots: int) -> str:
        whole, rest = divmod(lots * self.spec.step, _UNITS)
        return f"{whole}.{rest:08d}"

    def _copy(self) -> tuple[int, _Sides]:
        return self.last_update_id, (self._sides[_BID].copy(), self._sides[_ASK].copy())

    def _view(self, last_update_id: int, sides: _Sides) -> LocalBook:
        return LocalBook(last_update_id, self._texts(sides[_BID]), self._texts(sides[_ASK]))

    def _texts(self, side: _RestingSide) -> list[TextLevel]:
        return [(self._price(abs(key)), self._quantity(side.lots[key])) for key in side.keys]
