"""The quantities of a chunk: where each one has been seen before, or the number itself.

Much of what happens in a book is an order that moves: its quantity goes from one price and
comes at another in the same event. Other orders come back to a price with the quantity they
had there, and some quantities are simply popular. So the quantity of a change is told by
its *source*, one small number:

    0                the last quantity at this price
    1 … MOVES        the quantity of a level that goes at about the same time: of the
                     removals in order, the one right behind this change, right before
                     it, the second behind it, and so on
    MOVES + 1        none: a literal follows
    MOVES + 2 + n    the n-th most frequent of the chunk's common quantities

In the start book, which has only the last two kinds, sources count from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from orderbook_desktop.core.archive.errors import DamagedChunk
from orderbook_desktop.core.archive.lanes import Lanes, fitting
from orderbook_desktop.core.archive.tokens import (
    BoolArray,
    Column,
    UInt64Array,
    read_unsigned,
    unfold,
    write_unsigned,
)
from orderbook_desktop.core.levels import Int64Array

_SAME: Final = 0
_MOVES: Final = 8
_LITERAL: Final = _MOVES + 1
_OPEN: Final = -1

_UNEVEN_AT_MOST: Final = 1 / 16
_MOST_DIGITS: Final = 18
# Sources lead from entry to entry; looked up so often, they reach over 2^40 entries.
_LOOKUPS: Final = 40


class QuantityColumns(msgspec.Struct, frozen=True, array_like=True):
    """The stored form of all quantities; see the module.

    Common quantities are stored ascending, with how often they occur. Literals and common
    quantities are in quantity steps; a literal that is no whole number of steps is stored
    as 0, its units in `uneven`. `new_sources` are those of prices without a quantity so far.
    """

    common: Column
    common_counts: Column
    start_sources: Column
    new_sources: Column
    sources: Column
    start_literals: Column
    literals: Column
    uneven: Column


class _Candidates(NamedTuple):
    """The removals that the quantities of changes may come from.

    `removals` are their entries, `origins` the entries that the quantities they take away
    were set by. `changes` are the entries to find a source for, `behind` is of each the
    index of the removal that comes next.
    """

    changes: Int64Array
    removals: Int64Array
    origins: Int64Array
    behind: Int64Array


def quantity_step(quantities: Int64Array) -> int:
    """Return the power of ten that nearly all `quantities`, but for 0, are multiples of."""
    nonzero = quantities[quantities != 0]
    step = 1
    for _ in range(_MOST_DIGITS if len(nonzero) else 0):
        if np.count_nonzero(nonzero % (step * 10)) > _UNEVEN_AT_MOST * len(nonzero):
            break
        step *= 10
    return step


def write_quantities(
    lanes: Lanes, quantities: Int64Array, start_count: int, step: int
) -> QuantityColumns:
    """Return the columns of the `quantities` of all entries.

    Entries below `start_count` are those of the start book.
    """
    candidates, last = _candidates(lanes, start_count)
    sources = _sources_seen(candidates, last, lanes.events_by_entry(), quantities)
    start = quantities[:start_count]
    is_open = sources == _OPEN
    rest = quantities[candidates.changes[is_open]]
    values, at, counts = np.unique(
        np.concatenate((start, rest)), return_inverse=True, return_counts=True
    )
    is_common = (counts > 1) & (values % step == 0)
    codes = np.zeros(len(values), dtype=np.int64)
    codes[is_common] = 1 + _ranks(counts[is_common])
    start_codes, rest_codes = np.split(codes[at], [start_count])
    sources[is_open] = _LITERAL + rest_codes
    is_new = last[candidates.changes] < 0
    start_literals, literals = start[start_codes == 0], rest[rest_codes == 0]
    everything = np.concatenate((start_literals, literals))
    return QuantityColumns(
        write_unsigned(np.diff(values[is_common] // step, prepend=0)),
        write_unsigned(counts[is_common] - 2),
        write_unsigned(start_codes),
        write_unsigned(sources[is_new]),
        write_unsigned(sources[~is_new]),
        write_unsigned(_even_steps(start_literals, step)),
        write_unsigned(_even_steps(literals, step)),
        write_unsigned(everything[everything % step != 0]),
    )


def read_quantities(
    columns: QuantityColumns, lanes: Lanes, start_count: int, step: int
) -> Int64Array:
    """Return the quantities of all entries, undoing `write_quantities`.

    Raises `DamagedChunk`.
    """
    candidates, last = _candidates(lanes, start_count)
    start_codes = fitting(read_unsigned(columns.start_sources), start_count)
    sources = _read_sources(columns, last[candidates.changes] < 0)
    codes = np.concatenate((start_codes, sources[sources >= _LITERAL] - _LITERAL))
    told = np.concatenate((np.arange(start_count), candidates.changes[sources >= _LITERAL]))
    quantities = np.zeros(len(lanes.entries), dtype=np.int64)
    quantities[told] = _told_quantities(columns, codes, start_count, step)
    origins = np.arange(len(quantities))
    for changes, found in _origins(candidates, last, sources):
        origins[changes] = found
    pending = candidates.changes[sources < _LITERAL]
    if origins.take(pending).min(initial=0) < 0:
        raise DamagedChunk("a quantity comes from nowhere")
    for _ in range(_LOOKUPS):
        if not len(pending):
            return quantities.take(origins)
        origins[pending] = further = origins.take(origins.take(pending))
        pending = pending[origins.take(further) != further]
    raise DamagedChunk("quantities come from each other")


def _read_sources(columns: QuantityColumns, is_new: BoolArray) -> Int64Array:
    new = is_new.nonzero()[0]
    sources = np.empty(len(is_new), dtype=np.int64)
    sources[new] = fitting(read_unsigned(columns.new_sources), len(new))
    others = (~is_new).nonzero()[0]
    sources[others] = fitting(read_unsigned(columns.sources), len(others))
    return sources


def _origins(
    candidates: _Candidates, last: Int64Array, sources: Int64Array
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Iterate over the two kinds of changes that have a source, and the entries these are.

    A source that does not exist is -1.
    """
    changes, _, origins, _ = candidates
    same = changes[sources == _SAME]
    yield same, last.take(same)
    moved = ((sources > _SAME) & (sources < _LITERAL)).nonzero()[0]
    at, known = _removal_at(candidates, moved, sources.take(moved))
    yield changes.take(moved), np.where(known, np.append(origins, -1).take(at), -1)


def _candidates(lanes: Lanes, start_count: int) -> tuple[_Candidates, Int64Array]:
    last = lanes.last_there()
    there = lanes.there_by_entry()
    changes = there[start_count:].nonzero()[0] + start_count
    removes = lanes.removes_by_entry()
    removals = removes.nonzero()[0]
    return _Candidates(changes, removals, last[removals], removes.cumsum()[changes]), last


def _sources_seen(
    candidates: _Candidates, last: Int64Array, events: Int64Array, quantities: Int64Array
) -> Int64Array:
    """Return the sources of changes whose quantity was seen, and `_OPEN` for the others."""
    changes, removals, origins, _ = candidates
    wanted, when = quantities[changes], events[changes]
    had = last[changes]
    sources = np.where((had >= 0) & (quantities[had] == wanted), _SAME, _OPEN)
    if not len(removals):
        return sources
    # So that sources never lead in circles, they lead to what an earlier event has set.
    offered, gone, set_at = quantities[origins], events[removals], events[origins]
    for source in range(_SAME + 1, _LITERAL):
        pending = (sources == _OPEN).nonzero()[0]
        at, known = _removal_at(candidates, pending, np.full(len(pending), source))
        fits = known & (offered[at] == wanted[pending])
        fits &= (gone[at] <= when[pending]) & (set_at[at] < when[pending])
        sources[pending[fits]] = source
    return sources


def _removal_at(
    candidates: _Candidates, chosen: Int64Array, sources: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """Return the indexes of the removals that `sources` name, and which of them exist."""
    nearness: UInt64Array = (sources - (_SAME + 1)).view(np.uint64)
    at = candidates.behind[chosen] + unfold(nearness)
    known = (at >= 0) & (at < len(candidates.removals))
    return np.where(known, at, 0), known


def _told_quantities(
    columns: QuantityColumns, codes: Int64Array, start_count: int, step: int
) -> Int64Array:
    common = read_unsigned(columns.common).cumsum() * step
    by_rank = np.empty_like(common)
    by_rank[_ranks(fitting(read_unsigned(columns.common_counts), len(common)))] = common
    is_literal = codes == 0
    in_start = int(np.count_nonzero(is_literal[:start_count]))
    literals = np.concatenate(
        (
            fitting(read_unsigned(columns.start_literals), in_start),
            fitting(read_unsigned(columns.literals), int(np.count_nonzero(is_literal)) - in_start),
        )
    )
    uneven = literals == 0
    literals *= step
    literals[uneven] = fitting(read_unsigned(columns.uneven), int(np.count_nonzero(uneven)))
    ranks = codes[~is_literal] - 1
    if len(ranks) and not (ranks.min() >= 0 and ranks.max() < len(by_rank)):
        raise DamagedChunk("a common quantity is missing")
    quantities = np.empty(len(codes), dtype=np.int64)
    quantities[is_literal] = literals
    quantities[~is_literal] = by_rank[ranks]
    return quantities


def _ranks(counts: Int64Array) -> Int64Array:
    """Return the place of each by falling count, equal ones in their order."""
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[(-counts).argsort(kind="stable")] = np.arange(len(counts))
    return ranks


def _even_steps(quantities: Int64Array, step: int) -> Int64Array:
    steps, rest = np.divmod(quantities, step)
    return np.where(rest == 0, steps, 0)
