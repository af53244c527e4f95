"""Where trades belong among the levels of hftbacktest's event array.

Its exchange takes the rows that are flagged for it in their order, and so does its local side. A
trade stands before the first depth event that the exchange dates no earlier, and so before the one
that it caused. On the local side it stands where it was received, which often is behind that event.
Such a trade is two rows, one for each side, as hftbacktest's own `correct_event_order` makes them.
Rows of levels keep their order. A repaired trade was never received: on the local side, too, it has
its place before the depth event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.levels import Int64Array

FOR_EXCHANGE: Final = 1 << 31
FOR_LOCAL: Final = 1 << 30
_NEVER: Final = 2**63 - 1


class TradeColumns(NamedTuple):
    """Trades as columns, in the order of their ids.

    `exchange_ns` and `local_ns` are when they were traded and received; a repaired one was not.
    `sold` is whether the taker sold. `prices` and `quantities` are doubles.
    """

    exchange_ns: Int64Array
    local_ns: Int64Array
    sold: BoolArray
    repaired: BoolArray
    prices: npt.NDArray[np.float64]
    quantities: npt.NDArray[np.float64]

    def chosen(self, at: Int64Array | BoolArray) -> TradeColumns:
        """Return those at the places `at`, or those of which `at` is true."""
        return TradeColumns._make(column[at] for column in self)


class PlacedTrades(NamedTuple):
    """Rows of trades, in the order of the array, with the times that count there.

    `places` are the indexes of the rows of levels before which they stand. `flags` say for which
    sides they are.
    """

    places: Int64Array
    flags: npt.NDArray[np.uint64]
    trades: TradeColumns


class TradePlaces:
    """Finds the places of trades among levels, block by block.

    Add trades in the order of their ids, and those of a block before the block.
    """

    def __init__(self) -> None:
        self._waiting: TradeColumns | None = None
        # Whether each waiting trade has its row for the exchange, and for the local side.
        self._traded, self._heard = np.zeros((2, 0), dtype=np.bool_)
        self._latest_ns = 0
        # The times of the last row of levels.
        self._exchange_ns = 0
        self._local_ns = 0

    def add(self, trades: TradeColumns) -> None:
        """Let `trades` wait for their places."""
        if not len(trades.sold):
            return
        # Ids say what was first, also where the exchange's clock stepped back.
        times = np.maximum(np.maximum.accumulate(trades.exchange_ns), self._latest_ns)
        self._latest_ns = int(times[-1])
        trades = trades._replace(exchange_ns=times)
        none: BoolArray = np.zeros(len(times), dtype=np.bool_)
        self._traded = np.concatenate((self._traded, none))
        self._heard = np.concatenate((self._heard, none))
        if self._waiting is not None:
            pairs = zip(self._waiting, trades, strict=True)
            trades = TradeColumns._make(np.concatenate(pair) for pair in pairs)
        self._waiting = trades

    def among(
        self, exchange_ns: Int64Array, local_ns: Int64Array, *, is_last: bool = False
    ) -> PlacedTrades | None:
        """Return the rows of trades that belong among levels of these times, which never go back.

        None if there are none. Trades that belong behind the levels wait on, unless `is_last`.
        """
        waiting = self._waiting
        if waiting is None:
            self._end_block(exchange_ns, local_ns)
            return None
        end = len(exchange_ns) + is_last
        before = exchange_ns.searchsorted(waiting.exchange_ns)
        places = local_ns.searchsorted(waiting.local_ns)
        places = np.where(waiting.repaired, before, places)
        trading, hearing = ~self._traded & (before < end), ~self._heard & (places < end)
        whole = trading & hearing & (before == places)
        times, is_late = self._local_times(waiting, before, local_ns, whole)
        whole &= ~is_late
        least_ns = np.where(trading, self._exchange_ns, 0)
        exchange_times = np.maximum(waiting.exchange_ns, least_ns)
        placed = _in_order(
            waiting._replace(exchange_ns=exchange_times, local_ns=times),
            whole,
            (trading & ~whole, before),
            (hearing & ~whole, places),
        )
        self._traded |= trading
        self._heard |= hearing
        rest = ~(self._traded & self._heard)
        self._waiting = waiting.chosen(rest) if rest.any() else None
        self._traded, self._heard = self._traded[rest], self._heard[rest]
        self._end_block(exchange_ns, local_ns)
        return placed

    def _local_times(
        self, trades: TradeColumns, places: Int64Array, local_ns: Int64Array, whole: BoolArray
    ) -> tuple[Int64Array, BoolArray]:
        """Return when each trade counts as received, and whether a later one was received before.

        `places` are those for the exchange, and `whole` the trades that have the same place on the
        local side. A repaired one counts as received when it was traded, but no earlier than what
        stands before it, and no later than what stands behind it.
        """
        known_ns = np.concatenate(([self._local_ns], local_ns))[places]
        heard_ns = np.maximum(trades.local_ns, np.where(self._heard, 0, self._local_ns))
        times = np.where(trades.repaired, known_ns, heard_ns)
        latest = np.maximum.accumulate(np.where(whole, times, 0))
        next_ns = np.concatenate((local_ns, [_NEVER]))[places]
        asked_ns = np.minimum(np.maximum(latest, trades.exchange_ns), next_ns)
        return np.where(trades.repaired, asked_ns, heard_ns), ~trades.repaired & (times < latest)

    def _end_block(self, exchange_ns: Int64Array, local_ns: Int64Array) -> None:
        if len(exchange_ns):
            self._exchange_ns, self._local_ns = int(exchange_ns[-1]), int(local_ns[-1])


def _in_order(
    trades: TradeColumns,
    whole: BoolArray,
    traded: tuple[BoolArray, Int64Array],
    heard: tuple[BoolArray, Int64Array],
) -> PlacedTrades | None:
    """Return the rows of `trades`: `whole` ones for both sides, and others for either side.

    `traded` and `heard` are which ones are for one side only, and the places of all on that side.
    At one place whole rows are in the order of ids and of times. Those for the exchange stand among
    them by their ids, those for the local side by their times.
    """
    at_whole, at_traded, at_heard = (chosen.nonzero()[0] for chosen in (whole, traded[0], heard[0]))
    at = np.concatenate((at_whole, at_traded, at_heard))
    if not len(at):
        return None
    counts = (len(at_whole), len(at_traded), len(at_heard))
    among_whole = np.concatenate(
        (
            np.arange(len(at_whole)),
            whole.cumsum()[at_traded],
            trades.local_ns[at_whole].searchsorted(trades.local_ns[at_heard], side="right"),
        )
    )
    places = np.concatenate((traded[1][at_whole], traded[1][at_traded], heard[1][at_heard]))
    kinds = np.repeat((1, 0, 0), counts)
    within = np.concatenate((at_whole, at_traded, trades.local_ns[at_heard]))
    order = np.lexsort((within, np.repeat((0, 1, 2), counts), kinds, among_whole, places))
    flags = np.repeat((FOR_EXCHANGE | FOR_LOCAL, FOR_EXCHANGE, FOR_LOCAL), counts)
    return PlacedTrades(places[order], flags.astype(np.uint64)[order], trades.chosen(at[order]))
