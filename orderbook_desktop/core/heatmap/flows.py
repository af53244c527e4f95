"""How much was added, traded and pulled at each price in a span of time, as far as that is known.

What is known. A depth event says what stands at a level after it, so it shows the *net* change
only: added minus pulled minus traded. A trade says what was traded at a level, and when, by another
clock: it changed the book in the first or in the second depth event that is not earlier than it
(measured: `DESIGN`, section 7). Trades and events are each in the order in which they happened, so
a later trade is never in an earlier event. So each trade has one or two events in which it may be.

What follows, over all ways to assign the trades to the events:

- *traded*: between a lowest and a highest amount. They differ by the trades at the edges only.
- *added* and *pulled*: in each event at least its net change without what was traded in it. What
  was added and pulled again between two events is seen by no one, so the truth may be more: the
  lowest sum is a lower bound. The highest sum is the most that the events can show.
- In each way, what stands at the end is exactly what stood at the beginning, plus added, minus
  pulled, minus traded.

What is not computed: the time in which the book or the trades are not known, the first two events
after such a time (a trade in them may have happened before), and a level beyond the known depth
until an event names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.builder import PriceSteps, finer_prices, row_numbers
from orderbook_desktop.core.heatmap.cells import known_range
from orderbook_desktop.core.heatmap.choices import Side
from orderbook_desktop.core.heatmap.exact import ROOM, ExactArray, as_integers, largest, product
from orderbook_desktop.core.heatmap.spans import AT_START, BoolArray, LevelSpan
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.units import Scale

CONTEXT_MS: Final = 3_000
"""Spans that begin so much earlier have the two events before that the first trades need."""
EVENTS_OF_A_TRADE: Final = 2
"""A trade changed the book in one of so many events that are not earlier than it."""

# Arrays are faster where there are more.
_FEW_WAYS: Final = 24
_NO_TRADES: Final = np.empty(0, dtype=np.bool_)


class FlowTrades(Struct, frozen=True, eq=False):
    """Trades in the order of their ids: arrays of one length, in units of `scale`.

    `sold` is whether the taker sold, to a bid. Trades with times from one end of a gap to the other
    may be missing; `gaps` ascend (ms), and times before and after what was read are gaps, too.
    """

    scale: Scale = Scale()
    times_ms: Int64Array = EMPTY
    prices: Int64Array = EMPTY
    quantities: Int64Array = EMPTY
    sold: npt.NDArray[np.bool_] = _NO_TRADES
    gaps: tuple[tuple[int, int], ...] = ()


class Flow(NamedTuple):
    """The bounds of what was added, traded and pulled, in units of quantity; see above."""

    added_low: int = 0
    added_high: int = 0
    traded_low: int = 0
    traded_high: int = 0
    pulled_low: int = 0
    pulled_high: int = 0

    def plus(self, other: Flow) -> Flow:
        """Return both together."""
        return Flow(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def times(self, factor: int) -> Flow:
        """Return it in a unit that is finer by `factor`."""
        return Flow(*(one * factor for one in self))


class PriceFlow(Struct, frozen=True):
    """The flow at a price step that begins at `price`.

    `change` is what stands at the end minus what stood at the beginning, in the time that is
    computed. If it is not `is_whole`, some of its levels were unknown for some of the time.
    """

    price: int
    flow: Flow = Flow()
    change: int = 0
    is_whole: bool = True

    def plus(self, other: PriceFlow) -> PriceFlow:
        """Return both together, of one price."""
        return PriceFlow(
            self.price,
            self.flow.plus(other.flow),
            self.change + other.change,
            self.is_whole and other.is_whole,
        )


class Flows(Struct, frozen=True):
    """The flows of a market from `from_ms` to `to_ms`, at the prices at which something happened.

    `prices` ascend; they and `step` are units of 10^-`scale.price`, quantities of
    10^-`scale.quantity`. `covered_ms` is how much of the time is computed.
    """

    scale: Scale
    step: int
    from_ms: int
    to_ms: int
    covered_ms: int
    prices: tuple[PriceFlow, ...]

    @property
    def total(self) -> PriceFlow:
        """The sums of all prices."""
        total = PriceFlow(0)
        for one in self.prices:
            total = total.plus(one)
        return total

    @property
    def is_covered(self) -> bool:
        """Whether the whole time is computed."""
        return self.covered_ms == self.to_ms - self.from_ms


def flows_of(
    spans: Iterable[tuple[LevelSpan, bool]],
    trades: FlowTrades,
    from_ms: int,
    to_ms: int,
    steps: PriceSteps,
    side: Side = Side.BOTH,
) -> Flows:
    """Return the flows from one time to another at the prices of `steps`, or at all without rows.

    Spans, each with whether it opens a stretch, should begin `CONTEXT_MS` earlier. An event at
    `to_ms` does not count. Raises `WidePrices`.
    """
    stretches = _stretches(spans)
    scales = [trades.scale, *(span.scale for stretch in stretches for span in stretch)]
    exponent = max(steps.exponent, *(scale.price for scale in scales))
    scale = Scale(exponent, max(scale.quantity for scale in scales))
    step = steps.step * 10 ** (exponent - steps.exponent)
    low, high = 0, None
    if steps.rows is not None:
        low, high = steps.rows[0] * step, sum(steps.rows) * step
    wanted = _Wanted(scale, low, high, side)
    keyed = _KeyedTrades.of(trades, wanted)
    found: dict[int, PriceFlow] = {}
    covered_ms = 0
    for stretch in stretches:
        levels = _Levels.of(stretch, wanted)
        until_ms = min(to_ms, stretch[-1].until_ms)
        for begin, end, run_ms in _countable(levels.times, trades.gaps, from_ms, until_ms, to_ms):
            covered_ms += run_ms
            for key, flow in _counted(levels, begin, end, keyed):
                price = (~key if key < 0 else key) // step * step
                one = PriceFlow(price, *flow)
                found[price] = found[price].plus(one) if price in found else one
    prices = tuple(found[price] for price in sorted(found))
    return Flows(scale, step, from_ms, to_ms, covered_ms, prices)


def of_rows(span: LevelSpan, steps: PriceSteps) -> LevelSpan:
    """Return `span` with the entries in the rows of `steps` only; without rows it is `span`."""
    if steps.rows is None:
        return span
    first, count = steps.rows
    rows = row_numbers(span.prices, span.scale.price, steps)[span.lanes]
    kept = (rows >= first) & (rows < first + count)
    return replace(
        span, lanes=span.lanes[kept], events=span.events[kept], quantities=span.quantities[kept]
    )


class _Wanted(NamedTuple):
    """Which levels count, at which scale: prices from `low` to before `high`; None: to the end."""

    scale: Scale
    low: int
    high: int | None
    side: Side

    def keys(self, prices: Int64Array, asks: BoolArray, exponent: int) -> Int64Array:
        """Return prices of 10^-`exponent` as keys: those of bids are complements."""
        prices = finer_prices(prices, 10 ** (self.scale.price - exponent))
        return np.where(asks, prices, ~prices)

    def counts(self, keys: Int64Array) -> BoolArray:
        """Return which of these levels count."""
        prices = np.where(keys < 0, ~keys, keys)
        counts: BoolArray = prices >= self.low
        if self.high is not None:
            counts &= prices < self.high
        if self.side is not Side.BOTH:
            counts &= (keys >= 0) == (self.side is Side.ASKS)
        return counts


class _KeyedTrades(NamedTuple):
    """The trades of each level: the index of each, in order; and all their times and quantities."""

    times: Int64Array
    quantities: list[int]
    by_key: dict[int, list[int]]

    @classmethod
    def of(cls, trades: FlowTrades, wanted: _Wanted) -> Self:
        # What a taker sells is traded at a bid.
        keys = wanted.keys(trades.prices, ~trades.sold, trades.scale.price)
        by_key: dict[int, list[int]] = {}
        for index in wanted.counts(keys).nonzero()[0].tolist():
            by_key.setdefault(int(keys[index]), []).append(index)
        factor = 10 ** (wanted.scale.quantity - trades.scale.quantity)
        quantities = product(trades.quantities, factor).tolist()
        return cls(np.maximum.accumulate(trades.times_ms), quantities, by_key)


class _Levels(NamedTuple):
    """The levels of a stretch: all event times, and of the levels that count each entry.

    Entries are in the order of `keys`, then of `events`, one at most of each event; those of the
    book at the beginning have the event -1. `deltas` are the changes from the entry before.
    An entry that `names` a level says what stood there, and nothing of how that came about. `known`
    are the prices between which the book is known from the beginning of the stretch.
    """

    times: Int64Array
    keys: Int64Array
    events: Int64Array
    deltas: ExactArray
    names: BoolArray
    known: tuple[int, int]

    @classmethod
    def of(cls, spans: Sequence[LevelSpan], wanted: _Wanted) -> Self:
        parts, base = [], 0
        for span in spans:
            parts.append(_entries(span, wanted, base))
            base += len(span.event_ms)
        keys, events, quantities, starts = (
            np.concatenate([part[place] for part in parts]) for place in range(4)
        )
        order = keys.argsort(kind="stable")
        keys, events, quantities, starts = (
            values[order] for values in (keys, events, quantities, starts)
        )
        # Of an event that names a level twice, the last word counts. A later span begins with a
        # book of which most is known already.
        is_last = np.ones(len(keys), dtype=np.bool_)
        is_last[:-1] = (keys[1:] != keys[:-1]) | (events[1:] != events[:-1]) | starts[1:]
        kept = is_last & (~starts | _begins(keys))
        keys, events, quantities = keys[kept], events[kept], quantities[kept]
        known = known_range(spans[0].horizon, wanted.scale.price)
        prices, is_first = np.where(keys < 0, ~keys, keys), _begins(keys)
        names = is_first & (starts[kept] | (prices < known[0]) | (prices > known[1]))
        before = np.zeros_like(quantities)
        before[1:] = quantities[:-1]
        before[is_first] = 0
        deltas = quantities - before
        deltas[names] = 0
        times = np.concatenate([EMPTY, *(span.event_ms for span in spans)])
        return cls(times, keys, events, deltas, names, known)

    def knows(self, key: int) -> bool:
        """Return whether a level without an entry is known to have had nothing."""
        return self.known[0] <= (~key if key < 0 else key) <= self.known[1]

    def of_key(self, key: int) -> slice:
        """Return where the entries of a level are."""
        begin, end = self.keys.searchsorted((key, key + 1)).tolist()
        return slice(begin, end)


def _begins(keys: Int64Array) -> BoolArray:
    """Return which of these keys, in order, is the first one of its level."""
    is_first = np.ones(len(keys), dtype=np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return is_first


def _entries(
    span: LevelSpan, wanted: _Wanted, base: int
) -> tuple[Int64Array, Int64Array, ExactArray, BoolArray]:
    """Return of each entry that counts: key, event, quantity, and whether it is of the first book.

    Events count from `base`; the first book is that of the event before.
    """
    keys = wanted.keys(span.prices, span.asks, span.scale.price)
    kept = wanted.counts(keys)[span.lanes].nonzero()[0]
    events, factor = span.events[kept], 10 ** (wanted.scale.quantity - span.scale.quantity)
    return (
        keys[span.lanes[kept]],
        np.where(events == AT_START, base - 1, events + base),
        product(span.quantities[kept], factor),
        events == AT_START,
    )


def _stretches(spans: Iterable[tuple[LevelSpan, bool]]) -> list[list[LevelSpan]]:
    found: list[list[LevelSpan]] = []
    for span, opens in spans:
        if opens or not found:
            found.append([])
        found[-1].append(span)
    return found


def _countable(
    times: Int64Array, gaps: Sequence[tuple[int, int]], from_ms: int, until_ms: int, to_ms: int
) -> Iterator[tuple[int, int, int]]:
    """Return runs of events (begin, end) all trades of which are known, and how many ms each is.

    The book is known until `until_ms`; events before `to_ms` count.
    """
    begin = max(int(times.searchsorted(from_ms)), EVENTS_OF_A_TRADE)
    for gap_from, gap_to in (*gaps, (to_ms, to_ms)):
        end = int(times.searchsorted(min(gap_from, to_ms)))
        if begin <= end:
            run_ms = min(gap_from, until_ms) - max(from_ms, int(times[begin - 1]))
            yield begin, end, max(0, run_ms)
        begin = max(begin, int(times.searchsorted(gap_to)) + EVENTS_OF_A_TRADE)


def _counted(
    levels: _Levels, begin: int, end: int, trades: _KeyedTrades
) -> Iterator[tuple[int, tuple[Flow, int, bool]]]:
    """Return for each level what flowed in the events from `begin` to before `end`."""
    firsts = levels.times.searchsorted(trades.times)
    edges = firsts.searchsorted((begin - 1, end)).tolist()
    traded = {
        key: inside
        for key, indices in trades.by_key.items()
        if (inside := [index for index in indices if edges[0] <= index < edges[1]])
    }
    yield from _untraded(levels, begin, end, traded)
    for key, indices in traded.items():
        part, counts_from = levels.of_key(key), begin
        events, deltas = levels.events[part].tolist(), levels.deltas[part].tolist()
        if not events and not levels.knows(key):
            counts_from = end
        elif events and levels.names[part][0]:
            counts_from = min(max(begin, events[0] + 1), end)
        changes = {
            event: delta
            for event, delta in zip(events, deltas, strict=True)
            if counts_from <= event < end
        }
        sizes = [(int(firsts[index]), trades.quantities[index]) for index in indices]
        flow, is_whole = bounds(changes, sizes, counts_from, end), counts_from == begin
        if any(flow) or not is_whole:
            yield key, (flow, sum(changes.values()), is_whole)


def _untraded(
    levels: _Levels, begin: int, end: int, traded: dict[int, list[int]]
) -> Iterator[tuple[int, tuple[Flow, int, bool]]]:
    """Return what was added and pulled at levels without trades."""
    inside = (levels.events >= begin) & (levels.events < end)
    keys, deltas, names = levels.keys[inside], levels.deltas[inside], levels.names[inside]
    if not len(keys):
        return
    heads = np.flatnonzero(_begins(keys))
    if deltas.dtype != object and largest(np.abs(deltas)) * len(deltas) >= ROOM:
        deltas = as_integers(deltas)
    added = np.add.reduceat(np.maximum(deltas, 0), heads).tolist()
    pulled = np.add.reduceat(np.maximum(-deltas, 0), heads).tolist()
    unnamed = (~np.logical_or.reduceat(names, heads)).tolist()
    for key, more, less, is_whole in zip(keys[heads].tolist(), added, pulled, unnamed, strict=True):
        if key not in traded and (more or less or not is_whole):
            yield key, (Flow(more, more, 0, 0, less, less), more - less, is_whole)


def bounds(deltas: dict[int, int], trades: Sequence[tuple[int, int]], begin: int, end: int) -> Flow:
    """Return the flow of one level in the events from `begin` to before `end`.

    `deltas` are its net changes by event. Each of `trades`, in order, has the first event that is
    not earlier than it, and a quantity; it happened in that event, or in the next one.
    """
    groups: dict[int, list[int]] = {}
    for event, quantity in trades:
        groups.setdefault(event, []).append(quantity)
    touched = {event + late for event in groups for late in range(EVENTS_OF_A_TRADE)}
    # By what is left for the next event: the best sums of all ways up to here.
    ways: dict[int, _Sums] = {0: (0, 0, 0, 0)}
    for event in sorted(one for one in touched | set(deltas) if begin - 1 <= one < end):
        group = groups.get(event, ())
        later, left = {0}, 0
        for quantity in reversed(group):
            left += quantity
            later.add(left)
        if event < begin:
            ways = dict.fromkeys(later, ways[0])
        else:
            ways = _and_event(ways, later, deltas.get(event, 0) + left)
    added_low, added_high, pulled_low, pulled_high = zip(*ways.values(), strict=True)
    # Trades of the event before the first one, and of the last one, may be outside.
    inner, outer = (
        sum(quantity for event, quantity in trades if first <= event < last and begin < end)
        for first, last in ((begin, end - 1), (begin - 1, end))
    )
    return Flow(*(min(added_low), max(added_high), inner, outer, min(pulled_low), max(pulled_high)))


_Sums = tuple[int, int, int, int]
"""The least and the most that was added, and that was pulled."""


def _and_event(ways: dict[int, _Sums], later: set[int], most: int) -> dict[int, _Sums]:
    """Return the ways with one event more; `most` is its net change if no trade of it is later."""
    largest_sum = max(max(sums) for sums in ways.values()) + abs(most) + max(ways) + max(later)
    if len(ways) * len(later) > _FEW_WAYS and largest_sum < ROOM:
        return _and_event_of_many(ways, later, most)
    after: dict[int, _Sums] = {}
    for rest in later:
        for carried, (added_low, added_high, pulled_low, pulled_high) in ways.items():
            net = most - rest + carried
            if net > 0:
                added_low, added_high = added_low + net, added_high + net  # noqa: PLW2901
            else:
                pulled_low, pulled_high = pulled_low - net, pulled_high - net  # noqa: PLW2901
            found = after.get(rest)
            if found is None:
                after[rest] = added_low, added_high, pulled_low, pulled_high
            else:
                after[rest] = (
                    min(found[0], added_low),
                    max(found[1], added_high),
                    min(found[2], pulled_low),
                    max(found[3], pulled_high),
                )
    return after


def _and_event_of_many(ways: dict[int, _Sums], later: set[int], most: int) -> dict[int, _Sums]:
    """Do the same by arrays: a burst has hundreds of trades in one event."""
    rests = list(later)
    sums = np.array(list(ways.values()), dtype=np.int64).T
    nets = most - np.array(rests, dtype=np.int64)[:, None] + np.array(list(ways), dtype=np.int64)
    added, pulled = np.maximum(nets, 0), np.maximum(-nets, 0)
    columns = (
        (sums[0] + added).min(axis=1).tolist(),
        (sums[1] + added).max(axis=1).tolist(),
        (sums[2] + pulled).min(axis=1).tolist(),
        (sums[3] + pulled).max(axis=1).tolist(),
    )
    return dict(zip(rests, zip(*columns, strict=True), strict=True))
