"""A run of events cut into minutes, each a chunk that has been proven by decoding it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from orderbook_desktop.core.archive.chunk import ArchiveChunk
from orderbook_desktop.core.archive.decoded import decode_chunk
from orderbook_desktop.core.archive.encode import encode_chunk, fitting_count
from orderbook_desktop.core.archive.verify import reproduces
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.events import DepthDiff

MINUTE_MS: Final = 60_000
# Calm minutes share a chunk until the clock reaches a multiple of so many minutes.
_MINUTES_TOGETHER: Final = 10
# A clock that stands still, or was far ahead, never ends a minute. So many events end it, too.
_EVENTS_AT_MOST: Final = 10_000


def minute_of(event_ms: int) -> int:
    """Return the minute of `event_ms`, counted since the epoch."""
    return event_ms // MINUTE_MS


def closed_span(events: Sequence[DepthDiff], levels: int, *, is_all: bool = False) -> int:
    """Return how many of `events`, from the first on, make up the next chunk of a run.

    0 means that further events are needed; with `is_all` there are none. A chunk is a minute of
    the events' time, or up to ten minutes where fewer levels change than the `levels` of the book
    before it. An event whose time goes back stays with the event before it.
    """
    minute = minute_of(events[0].event_ms) if events else 0
    together = minute // _MINUTES_TOGETHER
    changes = 0
    for index, event in enumerate(events):
        later = minute_of(event.event_ms)
        if later > minute:
            minute = later
            if changes >= levels or minute // _MINUTES_TOGETHER > together:
                return index
        if index >= _EVENTS_AT_MOST:
            return index
        changes += len(event.bids) + len(event.asks)
    return len(events) if is_all else 0


def encode_minutes(
    start: BookImage, events: Iterable[DepthDiff], minutes: int = 1
) -> Iterator[tuple[ArchiveChunk, BookImage]]:
    """Iterate over the chunks of the unbroken run `events`, each with the book after it.

    A chunk covers `minutes` of the clock, counted from midnight, unless no scale holds all values
    of that time; then there are several. Where a market is calm and its
    book deep, the start books of many short chunks take more room than their events. The last
    chunk counts as complete. An event whose time goes back stays with the event before it, so that
    chunks follow each other by ids and by time. Raises as `encode_chunk`.
    """
    for span in _spans(events, minutes):
        rest = span
        while rest:
            # If the first event fits no scale, encoding it says so.
            count = max(1, fitting_count(start, rest))
            part, rest = rest[:count], rest[count:]
            chunk = encode_chunk(start, part)
            decoded = decode_chunk(chunk)
            if not reproduces(decoded, part):
                raise BugError(f"the chunk from update id {part[0].first_id} lost something")
            start = decoded.final_book()
            yield chunk, start


def _spans(events: Iterable[DepthDiff], minutes: int) -> Iterator[list[DepthDiff]]:
    collected: list[DepthDiff] = []
    current = 0
    for event in events:
        number = minute_of(event.event_ms) // minutes
        if collected and number > current:
            yield collected
            collected = []
        current = max(current, number)
        collected.append(event)
    if collected:
        yield collected
