"""Events that are not archived yet: read in order, some hundred at a time, and removed."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise, takewhile
from typing import Final, NamedTuple, Protocol, Self, TypeVar

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import (
    checked_event,
    event_key,
    event_of,
)
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, Document
from orderbook_desktop.storage.store.segment_documents import StoredIds, is_whole

# Queries have to be bounded on both sides by ids. How many ids a second uses differs by market, so
# the span adapts. The next event spans no more than the widest event.
_FIRST_SPAN: Final = 20_000
_WIDEST_SPAN: Final = 1_000 * WIDEST_EVENT
# The most ids by which a segment is ahead of its last checkpoint.
_IDS_AHEAD: Final = 50_000_000
# SecantusDB takes a time that grows with the square of the number of ids in a query.
_ASKED_AT_ONCE: Final = 50
_FEW: Final = 300
_MANY: Final = 1_500
_READ_AT_MOST: Final = 2 * _MANY
# A range takes less time per event than ids do, unless most of its events are others.
_OTHERS_AT_MOST: Final = 3
_LISTED_AT_ONCE: Final = 50
# Our SecantusDB removes this many events, named by their ids, in about ten milliseconds, and
# answers no other command meanwhile. For a range with a further condition it reads the whole
# collection.
_REMOVED_AT_ONCE: Final = 200
_PAUSE_S: Final = 0.005


class Ids(Protocol):
    """A value with the update ids of an event."""

    @property
    def first_id(self) -> int:
        """The first update id."""
        ...

    @property
    def final_id(self) -> int:
        """The last update id."""
        ...


class IdRange(NamedTuple):
    """The update ids after `after_id` through `last_id`."""

    after_id: int
    last_id: int


_Event = TypeVar("_Event", bound=Ids)


class RawEvents:
    """The events of `market` that are stored one by one."""

    def __init__(self, database: Database, market: str) -> None:
        self._database = database
        self._market = market
        self._span = _FIRST_SPAN
        self._runs_span = _FIRST_SPAN
        self._near_ids = _FIRST_SPAN

    async def run_after(self, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the next events after `after_id` without a hole, some hundred at a time.

        No event goes beyond `last_id`. Empty if the next event is missing. Raises PyMongo's errors,
        and `MalformedMessage` if the next event is damaged.
        """
        begin, furthest_id = after_id, min(last_id, after_id + 1 + WIDEST_EVENT)
        while begin < furthest_id:
            end = min(begin + self._span, last_id)
            found = await self._between(begin, end, _READ_AT_MOST)
            self._adapt_span(begin, found, is_cut_short=end - begin < self._span)
            if found:
                run = await asyncio.to_thread(_unbroken, after_id, found)
                if not run:
                    run = await self._around(after_id, furthest_id)
                return run or await self._too_wide(after_id, furthest_id, last_id)
            begin = end
        return await self._too_wide(after_id, furthest_id, last_id)

    def _adapt_span(self, begin: int, found: Sequence[Document], *, is_cut_short: bool) -> None:
        """Make the span fit, now that a query for the events after `begin` found these.

        A query that was cut short, since the run ends, shows nothing about how many are few: else
        many short segments would make the span so wide that the server reads all of a long one.
        """
        if len(found) == _READ_AT_MOST and isinstance(found[-1]["u"], int):
            self._span = max((found[-1]["u"] - begin) // 2, 1)
        elif len(found) > _MANY:
            self._span = max(self._span // 2, 1)
        elif len(found) < _FEW and not is_cut_short:
            # If events are as wide as they may be, a span for one of them would need a query each.
            self._span = min(self._span * 4, _WIDEST_SPAN if found else WIDEST_EVENT)

    async def runs(self, ranges: Sequence[IdRange]) -> list[list[DepthDiff]]:
        """Return for the first of `ranges`, at least one, their next events, from one query.

        `ranges` are in order of their beginnings, and have few events. Each answer is that of
        `run_after`, or empty: then `run_after` tells why the next event is missing. Raises
        PyMongo's errors.
        """
        begin, last_id = ranges[0]
        furthest = begin + self._runs_span
        taken = list(takewhile(lambda id_range: id_range.last_id <= furthest, ranges))
        if taken:
            end = max(id_range.last_id for id_range in taken)
        else:
            taken, end = [ranges[0]], min(last_id, begin + max(self._span, self._runs_span))
        found = await self._between(begin, end, _READ_AT_MOST)
        if len(taken) < len(ranges) or len(found) > _MANY:
            self._runs_span = next_span(self._runs_span, len(found))
        if len(found) == _READ_AT_MOST:
            taken = [id_range for id_range in taken if id_range.after_id < found[-1]["u"]]
        return await asyncio.to_thread(_runs_in, found, taken)

    async def with_ids(self, ids: Sequence[int]) -> list[DepthDiff]:
        """Return the stored events with these final ids, in order. Raises what `run_after` does."""
        rest, found = sorted(ids), list[Document]()
        while rest:
            near = bisect_right(rest, rest[0] + self._near_ids, hi=min(_FEW, len(rest)))
            if near >= _ASKED_AT_ONCE:
                some, rest = rest[:near], rest[near:]
                found += await self._among(some)
            else:
                some, rest = rest[:_ASKED_AT_ONCE], rest[_ASKED_AT_ONCE:]
                events = self._database.collection(DEPTH_EVENTS)
                found += await events.find(self._with_ids(some)).to_list(None)
        read = await asyncio.to_thread(_checked, found)
        return sorted(read, key=lambda event: event.final_id)

    async def _among(self, ids: Sequence[int]) -> list[Document]:
        """Return the stored events with these ids, which lie near each other, from one range."""
        found = await self._between(ids[0] - 1, ids[-1])
        if len(found) > _OTHERS_AT_MOST * len(ids):
            self._near_ids = (ids[-1] - ids[0]) // 2
        wanted = frozenset(ids)
        return [document for document in found if document["u"] in wanted]

    async def listed(self, ids: Sequence[int]) -> list[DepthDiff]:
        """Return the stored events with these final ids, in the order in which they came.

        Only their texts and receive times are read, not the copies of fields. Raises PyMongo's
        errors and `MalformedMessage`.
        """
        events = self._database.collection(DEPTH_EVENTS)
        found: list[Document] = []
        for start in range(0, len(ids), _LISTED_AT_ONCE):
            query = self._with_ids(ids[start : start + _LISTED_AT_ONCE])
            found += await events.find(query).to_list(None)
        read = await asyncio.to_thread(lambda: [event_of(document) for document in found])
        return sorted(read, key=lambda event: (event.received_ns, event.final_id))

    async def remove(self, ids: Sequence[int]) -> None:
        """Remove the events with these final ids. Raises PyMongo's errors; then call it again."""
        for start in range(0, len(ids), _REMOVED_AT_ONCE):
            query = self._with_ids(ids[start : start + _REMOVED_AT_ONCE])
            await self._database.collection(DEPTH_EVENTS).delete_many(query)
            await asyncio.sleep(_PAUSE_S)

    async def stored(self, ids: Collection[int]) -> set[int]:
        """Return which of `ids` are final ids of stored events."""
        events, ordered = self._database.collection(DEPTH_EVENTS), sorted(ids)
        found: set[int] = set()
        for start in range(0, len(ordered), _ASKED_AT_ONCE):
            query = self._with_ids(ordered[start : start + _ASKED_AT_ONCE])
            documents = await events.find(query, {"u": 1}).to_list(None)
            found.update(document["u"] for document in documents)
        return found.intersection(ids)

    def _with_ids(self, ids: Sequence[int]) -> Document:
        return {"_id": {"$in": [event_key(self._market, final_id) for final_id in ids]}}

    async def stored_after(self, after_id: int) -> Iterator[DepthDiff]:
        """Return an iterator over the stored events after `after_id`, by their final ids.

        It looks as far ahead as a segment can be ahead of its last checkpoint. Raises PyMongo's
        errors. Iterating raises `MalformedMessage`, and is slow, so do it in a thread.
        """
        found = await self._between(after_id, min(after_id + _IDS_AHEAD, INT64_MAX))
        return map(event_of, found)

    async def ids_after(self, after_id: int, last_id: int) -> list[StoredIds]:
        """Return the ids of the events after `after_id` to `last_id`, up to the first hole.

        Raises PyMongo's errors, and `DamagedDocument`.
        """
        run: list[StoredIds] = []
        begin, furthest_id = after_id, min(last_id, INT64_MAX)
        while begin < furthest_id:
            end = min(begin + self._span, furthest_id)
            found = await self._ids_between(begin, end)
            self._adapt_span(begin, found, is_cut_short=end - begin < self._span)
            for document in found:
                event = _stored_ids(document)
                if event.first_id > (run[-1].final_id if run else after_id) + 1:
                    return run
                run.append(event)
            begin = end
        return run

    async def _ids_between(self, after_id: int, last_id: int) -> list[Document]:
        query = self._query(after_id, last_id)
        fields = {"U": 1, "u": 1, "time": 1}
        found = self._database.collection(DEPTH_EVENTS).find(query, fields).sort("u", 1)
        return await found.to_list(None)

    async def _around(self, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the next event after `after_id`, if its ids include the final ids of others.

        Sorted by final id, these other events come before it. They are from an exchange whose
        update ids contradict each other.
        """
        query = {**self._query(after_id, last_id), "U": {"$lte": after_id + 1}}
        events = self._database.collection(DEPTH_EVENTS)
        found = await events.find(query).sort("u", 1).limit(1).to_list(None)
        return list(map(checked_event, found))

    async def loose(self, ids: Sequence[int]) -> list[StoredIds]:
        """Return what a run without a book says of the stored events with these final ids."""
        events = self._database.collection(DEPTH_EVENTS)
        found: list[StoredIds] = []
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            query = self._with_ids(ids[start : start + _ASKED_AT_ONCE])
            documents = await events.find(query, {"U": 1, "u": 1, "time": 1}).to_list(None)
            found += map(_stored_ids, documents)
        return found

    async def any_between(self, after_id: int, last_id: int) -> bool:
        """Return whether an event after `after_id` to `last_id` is stored."""
        events = self._database.collection(DEPTH_EVENTS)
        return await events.find_one(self._query(after_id, last_id), {"_id": 1}) is not None

    async def between(
        self, after_id: int, last_id: int, known: Sequence[int] = ()
    ) -> list[RawEvent]:
        """Return the events after `after_id` to `last_id`, in order. `known`: see `first_between`.

        They all have to fit into memory.
        """
        events: list[RawEvent] = []
        while after_id < last_id:
            found, after_id = await self.first_between(after_id, last_id, known)
            events += found
        return events

    async def first_between(
        self, after_id: int, last_id: int, known: Sequence[int] = ()
    ) -> tuple[list[RawEvent], int]:
        """Return the first events after `after_id` to `last_id`, in order, and to which id they go.

        `known` are ids that events may have, in order. No query asks for more than some hundred of
        these: until it has read all events that a query asks for, SecantusDB writes none.
        """
        index = bisect_right(known, after_id) + _FEW - 1
        end = known[index] if index < len(known) and known[index] < last_id else last_id
        found = await self._between(after_id, end, _READ_AT_MOST)
        events = list(map(RawEvent.of, found))
        return events, events[-1].final_id if len(found) == _READ_AT_MOST else end

    async def _too_wide(self, after_id: int, beyond_id: int, last_id: int) -> list[DepthDiff]:
        """Raise `MalformedMessage` if the next event spans more ids than is allowed."""
        if beyond_id < last_id:
            query = {**self._query(beyond_id, last_id), "U": {"$lte": after_id + 1}}
            found = await self._database.collection(DEPTH_EVENTS).find_one(query)
            if found is not None:
                checked_event(found)
        return []

    def _query(self, after_id: int, last_id: int) -> Document:
        """Return the query for the events with final ids after `after_id` to `last_id`."""
        return {"market": self._market, "u": {"$gt": after_id, "$lte": last_id}}

    async def _between(self, after_id: int, last_id: int, at_most: int = 0) -> list[Document]:
        """Return stored events in order of their final ids, at most so many (0: all)."""
        query = self._query(after_id, last_id)
        # Else the first answer has 101 documents.
        found = self._database.collection(DEPTH_EVENTS).find(query, batch_size=_READ_AT_MOST)
        return await found.sort("u", 1).limit(at_most).to_list(None)


class RawEvent(NamedTuple):
    """A stored event, not unpacked yet.

    `unpack` returns it, and raises `MalformedMessage` if any field differs from what was written.
    """

    final_id: int
    received_ns: int
    unpack: Callable[[], DepthDiff]

    @classmethod
    def of(cls, document: Document) -> Self:
        """Return the event that `document` stores."""
        unpack = partial(checked_event, document)
        return cls(int(document["u"]), int(document["received_ns"]), unpack)


def _stored_ids(document: Document) -> StoredIds:
    first_id, final_id = document.get("U"), document.get("u")
    event_ms = document.get("time")
    if is_whole(first_id) and is_whole(final_id) and is_whole(event_ms):
        return StoredIds(first_id, final_id, in_ms(event_ms))
    raise DamagedDocument(f"event {document['_id']}: an id or its time is no whole number")


def next_span(span: int, found: int) -> int:
    """Return how many ids the next query may cover, if one of `span` ids has found so many."""
    if found > _MANY:
        return max(span // 2, 1)
    if found >= _FEW:
        return span
    # Beyond the last event there may be 2^63 ids.
    return min(span * (4 if found else 16), INT64_MAX)


def _checked(found: Iterable[Document]) -> list[DepthDiff]:
    return list(map(checked_event, found))


def _unbroken(after_id: int, found: Sequence[Document]) -> list[DepthDiff]:
    """Return the events of `found` before the first hole or the first damaged event."""
    events: list[DepthDiff] = []
    for document in found:
        try:
            events.append(checked_event(document))
        except MalformedMessage:
            # Return the events before the damaged one. The next call starts with it, and raises.
            if not events:
                raise
            break
    ends = [after_id, *(event.final_id for event in events)]
    for index, (before, _) in enumerate(pairwise(ends)):
        if events[index].first_id > before + 1:
            return events[:index]
    return events


def _runs_in(found: Sequence[Document], ranges: Sequence[IdRange]) -> list[list[DepthDiff]]:
    """Return for each range its events before the first hole or the first damaged event."""
    ids = [document["u"] for document in found]
    runs: list[list[DepthDiff]] = []
    for after_id, last_id in ranges:
        inside = found[bisect_right(ids, after_id) : bisect_right(ids, last_id)]
        try:
            runs.append(_unbroken(after_id, inside))
        except MalformedMessage:
            runs.append([])
    return runs


def own_events(after_id: int, found: Sequence[_Event], loose: Collection[int]) -> list[_Event]:
    """Return the events of `found` that belong to the run after `after_id`.

    `found` are in order of their final ids. `loose` are the ids of events listed as loose. These
    are left out, unless the run would break without them: then another recorder listed the event,
    and this run needs it.
    """
    if not loose:
        return list(found)
    # For each event: the first id of the next event that is not listed as loose.
    next_first: list[int | None] = []
    first: int | None = None
    for event in reversed(found):
        next_first.append(first)
        if event.final_id not in loose:
            first = event.first_id
    next_first.reverse()
    own: list[_Event] = []
    last = after_id
    for event, following in zip(found, next_first, strict=True):
        is_needed = following is None or following > last + 1
        if event.final_id not in loose or is_needed:
            own.append(event)
            last = event.final_id
    return own
