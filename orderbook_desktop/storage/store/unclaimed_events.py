"""Finds the raw events that lie outside all segments, with few queries however many there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final, NamedTuple

from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.raw_events import RawEvent, RawEvents, next_span

_FIRST_SPAN: Final = 20_000
# A query takes as long as reading so many events.
_EVENTS_A_QUERY: Final = 20


class Claim(NamedTuple):
    """The update ids after `after_id` through `last_id`, which a segment claims.

    `events` is how many raw events are known there, at most.
    """

    after_id: int
    last_id: int
    events: int = INT64_MAX

    @property
    def is_short(self) -> bool:
        """Whether reading its events takes no longer than a query."""
        return self.events <= _EVENTS_A_QUERY


async def unclaimed_events(
    raw: RawEvents, claims: Iterable[Claim], known: Sequence[int] = ()
) -> AsyncGenerator[list[RawEvent]]:
    """Iterate over the events that no claim includes.

    They come in parts. `known` are ids that events may have, in order, so that no query asks for
    too many. Raises PyMongo's errors. Close the generator.
    """
    claimed = _disjoint(claims)
    begins = [claim.after_id for claim in claimed]
    at, span = -1, _FIRST_SPAN
    while at < INT64_MAX:
        index = bisect_right(begins, at) - 1
        if index >= 0 and at < claimed[index].last_id:
            at = claimed[index].last_id
            # How dense the events beyond a long segment are is not known.
            span = span if claimed[index].is_short else _FIRST_SPAN
            continue
        end = _end_of_query(claimed, index + 1, min(at + span, INT64_MAX))
        found, reached = await raw.first_between(at, end, known)
        outside = [event for event in found if not _is_claimed(claimed, begins, event.final_id)]
        if outside:
            yield outside
        # An answer that was cut off shows how dense they are.
        span, at = next_span(span if reached == end else reached - at, len(found)), reached


def _disjoint(claims: Iterable[Claim]) -> list[Claim]:
    """Return `claims` in order; those that overlap or touch become one."""
    disjoint: list[Claim] = []
    for claim in sorted(claims):
        if disjoint and claim.after_id <= disjoint[-1].last_id:
            before = disjoint.pop()
            last_id = max(before.last_id, claim.last_id)
            disjoint.append(Claim(before.after_id, last_id, before.events + claim.events))
        else:
            disjoint.append(claim)
    return disjoint


def _end_of_query(claimed: Sequence[Claim], following: int, end: int) -> int:
    """Return where a query that may go to `end` ends: before the first claim that is not short.

    `following` is the index of the first claim after the beginning of the query.
    """
    for index in range(following, len(claimed)):
        claim = claimed[index]
        if claim.after_id >= end:
            break
        if not claim.is_short:
            return claim.after_id
    return end


def _is_claimed(claimed: Sequence[Claim], begins: Sequence[int], update_id: int) -> bool:
    """Whether an id is in one of the disjoint claims, which have these `begins`."""
    index = bisect_left(begins, update_id) - 1
    return index >= 0 and update_id <= claimed[index].last_id
