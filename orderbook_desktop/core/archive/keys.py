"""The prices of a chunk: those of the start book, and those that its events add.

A *key* stands for a side and a price. It is the price of an ask, or the complement (~) of the
price of a bid, in price steps. In ascending order of keys, bids come before asks, and each side
begins with its best price. An event's levels are in this order too, so its keys ascend.
"""

from __future__ import annotations

import msgspec
import numpy as np

from orderbook_desktop.core.archive.lanes import fitting, running_sums
from orderbook_desktop.core.archive.tokens import (
    BoolArray,
    Column,
    fold,
    read_signed,
    read_unsigned,
    unfold,
    write_signed,
    write_unsigned,
)
from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.levels import Int64Array


class KeyColumns(msgspec.Struct, frozen=True, array_like=True):
    """The stored form of all keys.

    `start` has the first key of the start book, then the difference to each next key. `new_bids`
    and `new_asks` count the keys that each event adds. `new_firsts` has the first new key of each
    event and side, as difference from the first new key of the event before, and `new_steps` the
    differences between the others. Both have bids before asks.
    """

    start: Column
    new_bids: Column
    new_asks: Column
    new_firsts: Column
    new_steps: Column


def keys_of(prices: Int64Array, asks: BoolArray, step: int) -> Int64Array:
    """Return the keys of `prices`, all of them multiples of `step`."""
    steps = prices // step
    return np.where(asks, steps, ~steps)


def prices_of(keys: Int64Array, step: int) -> Int64Array:
    """Return the prices of `keys`."""
    return np.where(keys < 0, ~keys, keys) * step


def write_keys(
    start: Int64Array, new: Int64Array, new_events: Int64Array, event_count: int
) -> KeyColumns:
    """Return the columns of the ascending keys `start`, and of `new`, by event, ascending."""
    differences = np.diff(start, prepend=0)
    differences[:1] = fold(differences[:1]).view(np.int64)
    counts, firsts, steps = [], [], []
    for side, best in zip((new < 0, new >= 0), _bests(start), strict=True):
        keys, events = new[side], new_events[side]
        heads = np.diff(events, prepend=-1) != 0
        counts.append(write_unsigned(np.bincount(events, minlength=event_count)))
        firsts.append(np.diff(keys[heads], prepend=best))
        steps.append(np.diff(keys, prepend=0)[~heads] - 1)
    return KeyColumns(
        write_unsigned(differences),
        counts[0],
        counts[1],
        write_signed(np.concatenate(firsts)),
        write_unsigned(np.concatenate(steps)),
    )


def read_start_keys(columns: KeyColumns) -> Int64Array:
    """Return the keys of the start book. Raises `DamagedChunk`."""
    differences = read_unsigned(columns.start)
    differences[:1] = unfold(differences[:1].view(np.uint64))
    return differences.cumsum()


def read_new_keys(
    columns: KeyColumns, start: Int64Array, event_count: int
) -> tuple[Int64Array, Int64Array]:
    """Return the keys that events add, and the event of each. Raises `DamagedChunk`."""
    counts = [
        fitting(read_unsigned(column), event_count)
        for column in (columns.new_bids, columns.new_asks)
    ]
    run_counts = [int(np.count_nonzero(of_event)) for of_event in counts]
    all_firsts = fitting(read_signed(columns.new_firsts), sum(run_counts))
    all_steps = read_unsigned(columns.new_steps)
    if sum(int(of_event.sum()) for of_event in counts) != len(all_firsts) + len(all_steps):
        raise DamagedChunk("new prices do not fit their counts")
    keys, events = [], []
    for of_event, best in zip(counts, _bests(start), strict=True):
        adding = of_event.nonzero()[0]
        lengths = of_event[adding]
        starts = lengths.cumsum() - lengths
        firsts, all_firsts = np.split(all_firsts, [len(adding)])
        steps = np.zeros(int(lengths.sum()), dtype=np.int64)
        inner = np.ones(len(steps), dtype=np.bool_)
        inner[starts] = False
        steps[inner] = all_steps[: len(steps) - len(adding)] + 1
        all_steps = all_steps[len(steps) - len(adding) :]
        keys.append(running_sums(steps, starts, lengths, firsts.cumsum() + best))
        events.append(np.repeat(adding, lengths))
    return np.concatenate(keys), np.concatenate(events)


def _bests(start: Int64Array) -> tuple[int, int]:
    """Return the keys of the best bid and offer of the start book, 0 for a missing one."""
    asks = int(start.searchsorted(0))
    return int(start[0]) if asks else 0, int(start[asks]) if asks < len(start) else 0
