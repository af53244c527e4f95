"""Lanes: the levels of a chunk, price by price, each with its changes in the order of time.

An *entry* is a level of the start book or one change of an event. Entries are numbered: the
start book's in the order of their keys, then the changes, event by event, in the order of
their keys. The entries of one key (`archive.keys`) make a *lane*. A level is *there* from an
entry with a quantity on, until one without.

A book is more predictable by lane than by event: a new order is soon removed, and a change usually
affects a level that is there. So a lane stores the number of its changes, whether each of them
made the level appear or disappear (`toggles`), and how many events lie between them.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.archive.tokens import (
    BoolArray,
    Column,
    read_unsigned,
    write_unsigned,
)
from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.levels import Int64Array

_Scalar = TypeVar("_Scalar", bound=np.generic)

# The event index of the start book's entries.
BEFORE_ALL: Final = -1

# Most lanes have fewer changes, so four counts share one byte.
_MANY: Final = 3
_FOURTHS: Final = np.array([0, 2, 4, 6], dtype=np.uint8)


class LaneColumns(msgspec.Struct, frozen=True, array_like=True):
    """The stored form of lanes whose keys are known; see the module."""

    few_changes: Column
    more_changes: Column
    toggles: Column
    gaps_from_start: Column
    gaps_while_there: Column
    gaps_while_gone: Column


class Lanes(Struct, frozen=True):
    """All lanes, one behind the other, ascending by key; a *place* is an index into that row.

    `keys` is the key of each lane, `starts` the place at which it begins and `lengths` how
    many entries it has. Of each place, `entries` is the entry, `events` its event's index
    (`BEFORE_ALL` in the start book) and `there` whether the level is there from it on.
    """

    keys: Int64Array
    starts: Int64Array
    lengths: Int64Array
    entries: Int64Array
    events: Int64Array
    there: BoolArray

    def last_there(self) -> Int64Array:
        """Return for each entry the last earlier one in its lane that has a quantity, or -1."""
        there = self.there.nonzero()[0]
        # The last such entry before each place; -1 if it is in an earlier lane.
        counts = _shifted(self.there.cumsum(), 0)
        entries = np.concatenate(([-1], self.entries.take(there)))
        found = counts > np.repeat(counts.take(self.starts), self.lengths)
        by_entry = np.empty_like(self.entries)
        by_entry[self.entries] = entries.take(counts * found)
        return by_entry

    def new_entries(self) -> Int64Array:
        """Return the first entries of the lanes that are not in the start book, ascending."""
        first = self.starts[self.events[self.starts] != BEFORE_ALL]
        return np.sort(self.entries[first])

    def events_by_entry(self) -> Int64Array:
        """Return for each entry the index of its event."""
        by_entry = np.empty_like(self.events)
        by_entry[self.entries] = self.events
        return by_entry

    def there_by_entry(self) -> BoolArray:
        """Return for each entry whether its level is there from this entry on."""
        by_entry = np.empty_like(self.there)
        by_entry[self.entries] = self.there
        return by_entry

    def removes_by_entry(self) -> BoolArray:
        """Return for each entry whether it removes a level that was there."""
        was_there = _shifted(self.there, fill=False)
        was_there[self.starts] = False
        by_entry = np.empty_like(self.there)
        by_entry[self.entries] = was_there & ~self.there
        return by_entry


def lanes_of(
    start_keys: Int64Array, keys: Int64Array, events: Int64Array, there: BoolArray
) -> Lanes:
    """Return the lanes of a start book and of changes; `there` is of all entries.

    The changes are in the order of their entries (see the module).
    """
    all_keys = np.concatenate((start_keys, keys))
    all_events = np.concatenate((np.full(len(start_keys), BEFORE_ALL), events))
    entries = all_keys.argsort(kind="stable")
    ordered = all_keys[entries]
    heads = np.ones(len(ordered), dtype=np.bool_)
    heads[1:] = ordered[1:] != ordered[:-1]
    starts = heads.nonzero()[0]
    lengths = np.diff(starts, append=len(ordered))
    return Lanes(ordered[starts], starts, lengths, entries, all_events[entries], there[entries])


def write_lanes(lanes: Lanes) -> LaneColumns:
    """Return `lanes` without their keys and the events of their first changes."""
    new = lanes.events[lanes.starts] != BEFORE_ALL
    # A lane of the start book may have no change; every other lane has at least one.
    counts = np.concatenate((lanes.lengths[~new] - 1, lanes.lengths[new] - 1))
    is_start = lanes.events == BEFORE_ALL
    heads = _marked(lanes.starts, len(is_start))
    was_there = _shifted(lanes.there, fill=False)
    was_there[heads] = False
    toggled = (lanes.there != was_there).take(_changes_by_length(is_start, lanes.lengths))
    gaps = np.diff(lanes.events, prepend=0)
    from_start, while_there, while_gone = _kinds_of_gaps(heads, is_start, lanes.there)
    return LaneColumns(
        _pack_fourths(np.minimum(counts, _MANY)),
        write_unsigned(counts[counts >= _MANY] - _MANY),
        Column(np.packbits(toggled).tobytes()),
        write_unsigned(gaps[from_start] - 1),
        write_unsigned(gaps[while_there]),
        write_unsigned(gaps[while_gone]),
    )


def read_lanes(
    columns: LaneColumns,
    start_keys: Int64Array,
    new_keys: Int64Array,
    new_events: Int64Array,
    event_count: int,
    change_count: int,
) -> Lanes:
    """Return the lanes that `write_lanes` wrote; events `new_events` added the keys `new_keys`.

    Raises `DamagedChunk`, also where there are not `change_count` changes in `event_count` events.
    """
    keys = np.concatenate((start_keys, new_keys))
    order = keys.argsort()
    first_events = np.concatenate((np.full(len(start_keys), BEFORE_ALL), new_events))[order]
    new = first_events != BEFORE_ALL
    lengths = _read_lengths(columns, new)
    starts = lengths.cumsum() - lengths
    total = int(lengths.sum())
    if lengths.min(initial=1) < 1 or total != len(start_keys) + change_count:
        raise DamagedChunk("changes are missing")
    heads, is_start = _marked(starts, total), _marked(starts[~new], total)
    there = _read_there(columns.toggles, is_start, starts, lengths)
    steps = np.zeros(total, dtype=np.int64)
    kinds = _kinds_of_gaps(heads, is_start, there)
    gaps = (columns.gaps_from_start, columns.gaps_while_there, columns.gaps_while_gone)
    for kind, column, least in zip(kinds, gaps, (1, 0, 0), strict=True):
        steps[kind] = fitting(read_unsigned(column), len(kind)) + least
    events = running_sums(steps, starts, lengths, first_events)
    if total and not (events.min() >= BEFORE_ALL and events.max() < event_count):
        raise DamagedChunk("changes lie outside the events")
    return Lanes(
        keys[order], starts, lengths, _numbered(events, is_start, event_count), events, there
    )


def running_sums(
    steps: Int64Array, starts: Int64Array, lengths: Int64Array, firsts: Int64Array
) -> Int64Array:
    """Return the running sums of `steps` within each run; the runs begin with `firsts`.

    Runs begin at `starts`, follow each other without a hole, and are not empty. The steps at
    `starts` are 0.
    """
    sums = steps.cumsum()
    sums += np.repeat(firsts - sums[starts], lengths)
    return sums


def fitting(values: Int64Array, count: int) -> Int64Array:
    """Return `values`; raise `DamagedChunk` unless there are `count` of them."""
    if len(values) != count:
        raise DamagedChunk(f"a column has {len(values)} numbers instead of {count}")
    return values


def _numbered(events: Int64Array, is_start: BoolArray, event_count: int) -> Int64Array:
    """Return the entry at each place; lanes are in the order of their keys."""
    starts = is_start.nonzero()[0]
    start_count = len(starts)
    entries = np.empty(len(events), dtype=np.int64)
    entries[starts] = np.arange(start_count)
    places = (~is_start).nonzero()[0]
    # Sorting 16 bits is many times faster than sorting 64.
    kind = np.uint16 if event_count < 1 << 16 else np.int64
    order = events[places].astype(kind).argsort(kind="stable")
    entries[places[order]] = np.arange(start_count, len(events))
    return entries


def _read_there(
    toggles: Column, is_start: BoolArray, starts: Int64Array, lengths: Int64Array
) -> BoolArray:
    changes = _changes_by_length(is_start, lengths)
    packed = np.frombuffer(toggles.tokens, dtype=np.uint8)
    if len(packed) != (len(changes) + 7) // 8:
        raise DamagedChunk("toggles do not fit the changes")
    toggled = np.ones(len(is_start), dtype=np.uint8)
    toggled[changes] = np.unpackbits(packed, count=len(changes))
    # Only whether they are odd matters, so the sums may wrap around.
    sums = toggled.cumsum(dtype=np.uint8)
    toggles_in_lane = sums - np.repeat(sums[starts] - toggled[starts], lengths)
    return (toggles_in_lane & 1).astype(np.bool_)


def _changes_by_length(is_start: BoolArray, lengths: Int64Array) -> Int64Array:
    """Return the places of changes, those in short lanes first, as short lanes are alike."""
    changes = (~is_start).nonzero()[0]
    # Sorting 8 bits is many times faster than sorting 64.
    capped = np.minimum(lengths, np.iinfo(np.uint8).max).astype(np.uint8)
    return changes[np.repeat(capped, lengths)[changes].argsort(kind="stable")]


def _kinds_of_gaps(
    heads: BoolArray, is_start: BoolArray, there: BoolArray
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return the places with a gap from the start book, while there, and while gone."""
    follows = ~heads
    after_start = _shifted(is_start, fill=False)
    was_there = _shifted(there, fill=False)
    later = follows & ~after_start
    return (
        (follows & after_start).nonzero()[0],
        (later & was_there).nonzero()[0],
        (later & ~was_there).nonzero()[0],
    )


def _read_lengths(columns: LaneColumns, new: BoolArray) -> Int64Array:
    """Return how many entries each lane has; `new` are those without one in the start book."""
    packed = np.frombuffer(columns.few_changes.tokens, dtype=np.uint8)
    if len(packed) != (len(new) + 3) // 4:
        raise DamagedChunk("counts of changes do not fit the prices")
    counts = (packed[:, None] >> _FOURTHS & _MANY).ravel()[: len(new)].astype(np.int64)
    many = (counts == _MANY).nonzero()[0]
    counts[many] += fitting(read_unsigned(columns.more_changes), len(many))
    lengths = np.empty(len(new), dtype=np.int64)
    start_count = len(new) - int(np.count_nonzero(new))
    lengths[~new], lengths[new] = np.split(counts + 1, [start_count])
    return lengths


def _pack_fourths(values: Int64Array) -> Column:
    padded = np.zeros((len(values) + 3) // 4 * 4, dtype=np.uint8)
    padded[: len(values)] = values
    return Column((padded.reshape(-1, 4) << _FOURTHS).sum(axis=1, dtype=np.uint8).tobytes())


def _marked(places: Int64Array, count: int) -> BoolArray:
    marks = np.zeros(count, dtype=np.bool_)
    marks[places] = True
    return marks


def _shifted(values: npt.NDArray[_Scalar], fill: int) -> npt.NDArray[_Scalar]:
    """Return at each place what stands one before it."""
    shifted = np.empty_like(values)
    shifted[:1] = fill
    shifted[1:] = values[:-1]
    return shifted
