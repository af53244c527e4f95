"""The quantities of a chunk: each one is a reference to an earlier quantity, or a number.

Three things make quantities repeat. An order moves: its quantity leaves one price and appears
at another in the same event. An order returns to a price with the quantity that it had there.
Some quantities are popular. So each change of a level has a *source*, a small number that says
where its quantity comes from:

    0                the last quantity at this price
    1 … MOVES        the quantity of a level that is removed near this change. 1 is the next
                     removal after the change, 2 the last one before it, 3 the second after
                     it, 4 the second before it, and so on
    MOVES + 1        nowhere: the quantity is stored as a literal
    MOVES + 2 + n    the common quantity that is n-th by frequency

A level of the start book can only have a literal or a common quantity. Its sources count from
0: 0 is a literal, and 1 + n the n-th common quantity. The package's docstring has an example.

Words: an *entry* is a level of the start book or a change of an event (`archive.lanes`). A
*removal* is an entry that removes a level. The *origin* of an entry is the entry that its
quantity was first stored with, which may be the entry itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from orderbook_desktop.core.archive.lanes import Lanes, fitting
from orderbook_desktop.core.archive.tokens import (
    BoolArray,
    Column,
    UInt64Array,
    read_unsigned,
    unfold,
    write_unsigned,
)
from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.levels import Int64Array

_SAME: Final = 0
_MOVES: Final = 8
_LITERAL: Final = _MOVES + 1
# While encoding: no source has been found yet.
_OPEN: Final = -1

# At most this share of the quantities may be no multiple of the quantity step.
_UNEVEN_AT_MOST: Final = 1 / 16
_MOST_DIGITS: Final = 18
# Each lookup doubles how many references it follows, so 40 of them follow 2^40 references.
_LOOKUPS: Final = 40


class QuantityColumns(msgspec.Struct, frozen=True, array_like=True):
    """The stored form of all quantities; see the module.

    `common` has the common quantities in ascending order, as differences, and `common_counts`
    how often each occurs, less two. Common quantities and literals are in quantity steps. A
    literal that is no whole number of steps is stored as 0, and its units are in `uneven`.
    `new_sources` are the sources of changes at prices that had no quantity before, `sources`
    those of all other changes.
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
    """The changes that need a source, and the removals that can be one.

    `changes` are the entries of the changes. `removals` are the entries of the removals in
    order, and `origins` the entries that set the quantities which they remove. `behind` has for
    each change the index, within `removals`, of the first removal after it.
    """

    changes: Int64Array
    removals: Int64Array
    origins: Int64Array
    behind: Int64Array


def quantity_step(quantities: Int64Array) -> int:
    """Return the largest power of ten that nearly all `quantities` other than 0 are multiples of.

    "Nearly all" allows for one in 16.
    """
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
    """Return the columns that store the `quantities` of all entries.

    The first `start_count` entries are those of the start book.
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
    """Return the quantities of all entries: the inverse of `write_quantities`.

    Raises `DamagedChunk`.
    """
    candidates, last = _candidates(lanes, start_count)
    start_codes = fitting(read_unsigned(columns.start_sources), start_count)
    sources = _read_sources(columns, last[candidates.changes] < 0)
    codes = np.concatenate((start_codes, sources[sources >= _LITERAL] - _LITERAL))
    stored = np.concatenate((np.arange(start_count), candidates.changes[sources >= _LITERAL]))
    quantities = np.zeros(len(lanes.entries), dtype=np.int64)
    quantities[stored] = _stored_quantities(columns, codes, start_count, step)
    origins = np.arange(len(quantities))
    for changes, found in _origins(candidates, last, sources):
        origins[changes] = found
    pending = candidates.changes[sources < _LITERAL]
    if origins.take(pending).min(initial=0) < 0:
        raise DamagedChunk("a quantity comes from nowhere")
    # Follow the references until each leads to an entry that is its own origin.
    for _ in range(_LOOKUPS):
        if not len(pending):
            return quantities.take(origins)
        origins[pending] = further = origins.take(origins.take(pending))
        pending = pending[origins.take(further) != further]
    raise DamagedChunk("quantities come from each other")


def _read_sources(columns: QuantityColumns, is_new: BoolArray) -> Int64Array:
    """Return the source of each change; `is_new` marks those at prices without a quantity."""
    new = is_new.nonzero()[0]
    sources = np.empty(len(is_new), dtype=np.int64)
    sources[new] = fitting(read_unsigned(columns.new_sources), len(new))
    others = (~is_new).nonzero()[0]
    sources[others] = fitting(read_unsigned(columns.sources), len(others))
    return sources


def _origins(
    candidates: _Candidates, last: Int64Array, sources: Int64Array
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Iterate over the changes that refer to another entry, with the entries they refer to.

    There are two kinds: the same price, and a removal. A missing entry is -1.
    """
    changes, _, origins, _ = candidates
    same = changes[sources == _SAME]
    yield same, last.take(same)
    moved = ((sources > _SAME) & (sources < _LITERAL)).nonzero()[0]
    at, known = _removal_at(candidates, moved, sources.take(moved))
    yield changes.take(moved), np.where(known, np.append(origins, -1).take(at), -1)


def _candidates(lanes: Lanes, start_count: int) -> tuple[_Candidates, Int64Array]:
    """Return the candidates, and of each entry the last one with a quantity at its price, or -1."""
    last = lanes.last_there()
    there = lanes.there_by_entry()
    changes = there[start_count:].nonzero()[0] + start_count
    removes = lanes.removes_by_entry()
    removals = removes.nonzero()[0]
    return _Candidates(changes, removals, last[removals], removes.cumsum()[changes]), last


def _sources_seen(
    candidates: _Candidates, last: Int64Array, events: Int64Array, quantities: Int64Array
) -> Int64Array:
    """Return the source of each change whose quantity occurs earlier, and `_OPEN` for the others.

    `last` has of each entry the last one with a quantity at its price, `events` its event.
    """
    changes, removals, origins, _ = candidates
    wanted, changed_in = quantities[changes], events[changes]
    before = last[changes]
    sources = np.where((before >= 0) & (quantities[before] == wanted), _SAME, _OPEN)
    if not len(removals):
        return sources
    # References never form a circle, as each leads to a quantity that an earlier event has set.
    offered, removed_in, set_in = quantities[origins], events[removals], events[origins]
    for source in range(_SAME + 1, _LITERAL):
        pending = (sources == _OPEN).nonzero()[0]
        at, known = _removal_at(candidates, pending, np.full(len(pending), source))
        fits = known & (offered[at] == wanted[pending])
        fits &= (removed_in[at] <= changed_in[pending]) & (set_in[at] < changed_in[pending])
        sources[pending[fits]] = source
    return sources


def _removal_at(
    candidates: _Candidates, chosen: Int64Array, sources: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """Return the index of the removal that each of `sources` names, and whether it exists."""
    # `unfold` gives 0, -1, 1, -2 for the sources 1, 2, 3, 4: after, before, second after.
    distances: UInt64Array = (sources - (_SAME + 1)).view(np.uint64)
    at = candidates.behind[chosen] + unfold(distances)
    known = (at >= 0) & (at < len(candidates.removals))
    return np.where(known, at, 0), known


def _stored_quantities(
    columns: QuantityColumns, codes: Int64Array, start_count: int, step: int
) -> Int64Array:
    """Return the quantities that are literals (code 0) or common (code 1 + rank)."""
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
    """Return the rank of each count, the largest first; equal counts keep their order."""
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[(-counts).argsort(kind="stable")] = np.arange(len(counts))
    return ranks


def _even_steps(quantities: Int64Array, step: int) -> Int64Array:
    """Return the quantities in steps, and 0 for those that are no whole number of steps."""
    steps, rest = np.divmod(quantities, step)
    return np.where(rest == 0, steps, 0)
