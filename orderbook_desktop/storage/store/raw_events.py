"""Events that are not archived yet, read in their order and no more at a time than fit well."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol, TypeVar

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, Document, event_of

# Ranges have to be bounded on both sides, by ids, of which a market may use few or many. The
# event that follows spans no more than the longest one.
_FIRST_SPAN: Final = 20_000
_LONGEST_SPAN: Final = WIDEST_EVENT
# No segment is ahead of its last checkpoint by more ids.
_IDS_AHEAD: Final = 50_000_000
_FEW: Final = 300
_MANY: Final = 1_500

_COPIES: Final = (
    ("market", "market"),
    ("U", "first_id"),
    ("u", "final_id"),
    ("event_ms", "event_ms"),
)
_FIELDS: Final = frozenset({"_id", "received_ns", "payload", "sum", *(name for name, _ in _COPIES)})


class Ids(Protocol):
    """What has the update ids of an event."""

    @property
    def first_id(self) -> int:
        """The first of them."""
        ...

    @property
    def final_id(self) -> int:
        """The last of them."""
        ...


_Event = TypeVar("_Event", bound=Ids)


class RawEvents:
    """Reads unbroken runs of the events of `market`."""

    def __init__(self, database: Database, market: str) -> None:
        self._database = database
        self._market = market
        self._span = _FIRST_SPAN

    async def run_after(self, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the events that follow `after_id` without a hole, some hundred at a time.

        None goes beyond `last_id`. Empty where the next one is missing. Raises PyMongo's
        errors, and `MalformedMessage` where the next one is not as it was stored.
        """
        begin, furthest_id = after_id, min(last_id, after_id + 1 + _LONGEST_SPAN)
        while begin < furthest_id:
            end = min(begin + self._span, furthest_id)
            found = await self._between(begin, end)
            if len(found) < _FEW:
                self._span = min(self._span * 4, _LONGEST_SPAN)
            elif len(found) > _MANY:
                self._span = max(self._span // 2, 1)
            if found:
                run = await asyncio.to_thread(_unbroken, after_id, found)
                return run or await self._around(after_id, furthest_id)
            begin = end
        return await self._too_wide(after_id, furthest_id, last_id)

    async def those(self, ids: Sequence[int]) -> list[DepthDiff]:
        """Return those of the events of these final ids that are there; raises as `run_after`."""
        events = self._database.collection(DEPTH_EVENTS)
        found: list[Document] = []
        for start in range(0, len(ids), _MANY):
            query = {"market": self._market, "u": {"$in": list(ids[start : start + _MANY])}}
            found += await events.find(query).sort("u", 1).to_list(None)
        return [checked_event(one) for one in found]

    async def stored_after(self, after_id: int) -> list[Document]:
        """Return what is stored of the events after `after_id`, for `event_of` to read.

        None is further ahead than any segment is of its last checkpoint. Raises PyMongo's errors.
        """
        return await self._between(after_id, min(after_id + _IDS_AHEAD, INT64_MAX))

    async def _around(self, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the event that follows, where others end within its ids and are found before it.

        They were sent after it by an exchange whose update ids contradict each other.
        """
        query = {
            "market": self._market,
            "u": {"$gt": after_id, "$lte": last_id},
            "U": {"$lte": after_id + 1},
        }
        events = self._database.collection(DEPTH_EVENTS)
        found = await events.find(query).sort("u", 1).limit(1).to_list(None)
        return [checked_event(one) for one in found]

    async def between(self, after_id: int, last_id: int) -> dict[int, int]:
        """Return final ids and times of receipt of the events after one id through another."""
        query = {"market": self._market, "u": {"$gt": after_id, "$lte": last_id}}
        fields = {"u": 1, "received_ns": 1}
        found = self._database.collection(DEPTH_EVENTS).find(query, fields)
        return {int(one["u"]): int(one["received_ns"]) for one in await found.to_list(None)}

    async def outside(self, ranges: Iterable[tuple[int, int]]) -> dict[int, int]:
        """Return `between` of all that lies in none of `ranges`, each after one id through another.

        Raises PyMongo's errors.
        """
        found: dict[int, int] = {}
        for after_id, last_id in _holes_between(ranges):
            found |= await self.between(after_id, last_id)
        return found

    async def _too_wide(self, after_id: int, beyond_id: int, last_id: int) -> list[DepthDiff]:
        """Raise `MalformedMessage` if an event that follows spans more ids than any may."""
        if beyond_id < last_id:
            beyond = {"$gt": beyond_id, "$lte": last_id}
            query = {"market": self._market, "u": beyond, "U": {"$lte": after_id + 1}}
            found = await self._database.collection(DEPTH_EVENTS).find_one(query)
            if found is not None:
                checked_event(found)
        return []

    async def _between(self, after_id: int, last_id: int) -> list[Document]:
        query = {"market": self._market, "u": {"$gt": after_id, "$lte": last_id}}
        return await self._database.collection(DEPTH_EVENTS).find(query).sort("u", 1).to_list(None)


def _holes_between(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Iterate over what is between `ranges` of ids, each after one id through another."""
    reached = -1
    for after, last in sorted(ranges):
        if after > reached:
            yield reached, after
        reached = max(reached, last)
    if reached < INT64_MAX:
        yield reached, INT64_MAX


def checked_event(document: Document) -> DepthDiff:
    """Return the event that `document` stores; raises `MalformedMessage` if it contradicts it."""
    event = event_of(document)
    for name in document.keys() - _FIELDS:
        raise MalformedMessage("recorded event", f"it has a field {name}", event.payload)
    for name, field in _COPIES:
        if not _is_told(document.get(name), getattr(event, field), field):
            reason = f"its {name} is not that of its text"
            raise MalformedMessage("recorded event", reason, event.payload)
    return event


def _is_told(stored: object, found: int | str, field: str) -> bool:
    if isinstance(found, str):
        return stored == found
    if not isinstance(stored, int) or isinstance(stored, bool):
        return False
    # An earlier version stored what was sent, in whatever unit.
    return (in_ms(stored) if field == "event_ms" else stored) == found


def _unbroken(after_id: int, found: Sequence[Document]) -> list[DepthDiff]:
    """Return the events of `found` up to the first hole, or to the first that is damaged."""
    events: list[DepthDiff] = []
    for one in found:
        try:
            events.append(checked_event(one))
        except MalformedMessage:
            # Whoever reads on finds it, and has come as far as can be until then.
            if not events:
                raise
            break
    ends = [after_id, *(event.final_id for event in events)]
    for index, (before, _) in enumerate(pairwise(ends)):
        if events[index].first_id > before + 1:
            return events[:index]
    return events


def own_events(after_id: int, found: Sequence[_Event], loose: Collection[int]) -> list[_Event]:
    """Return the unbroken run among `found`, without `loose` ones that lie among its events.

    `found` are in the order of their final ids. An event that is listed as loose, but without
    which the run would break, belongs to it: it was another recorder that had no use for it.
    """
    if not loose:
        return list(found)
    # Of each event, where the next one begins that is certainly the run's.
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
