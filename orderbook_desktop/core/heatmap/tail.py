"""The newest minutes of a book that is followed live: the live edge of its heatmap.

The tail holds each event of the last minutes in exact units, as spans of levels like those that are
read from the archive. A *stretch* is an unbroken run of update ids; between two of them is a gap
with its cause. A stretch is kept in pieces: the first of them opens it, and the others begin with
the book that the one before has at its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, level_texts
from orderbook_desktop.core.heatmap.spans import (
    BoolArray,
    LevelSpan,
    changes_of,
    span_of_changes,
)
from orderbook_desktop.core.levels import EMPTY, Int64Array, Levels, units_from_doubles
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import Scale, parse_units

LONGEST_MS: Final = 15 * 60_000
"""What is older is dropped."""
MOST_BYTES: Final = 48_000_000
"""What takes more memory is dropped, the oldest first."""

_PIECE_MS: Final = 60_000
_CHANGES_IN_PIECE: Final = 20_000
_END_OF_TIME: Final = 1 << 60
# Two numbers of a change, and of an entry in the span: its lane and event, too.
_BYTES_A_CHANGE: Final = 48
_BYTES_A_LEVEL: Final = 64
_BYTES_AN_EVENT: Final = 400


class TailEvent(Struct, frozen=True, eq=False):
    """One depth event, at the scale of the book before it.

    Of each change: `keys` is its price, for a bid the complement of it, and `quantities` what
    stands there from then on. `event_ms` is not before that of the event before.
    """

    final_id: int
    event_ms: int
    keys: Int64Array
    quantities: Int64Array


class TailBook(Struct, frozen=True, eq=False):
    """The book stands from `from_ms` on.

    If it `opens` a stretch, nothing is known of the time since the one before. Otherwise the book
    goes on; it `is_new` if it is known deeper now, or has another scale.
    """

    image: BookImage
    from_ms: int
    opens: bool
    is_new: bool


class TailBreak(Struct, frozen=True):
    """The stretch ended with its last event."""


TailNews = TailEvent | TailBook | TailBreak


class TailGap(Struct, frozen=True):
    """From `from_ms` to `to_ms` the book was not known, for `cause`; None: it is not known yet."""

    from_ms: int
    to_ms: int | None
    cause: GapCause
    detail: str


class _Piece(Struct, eq=False):
    """A part of a stretch: a book and the events after it.

    `span` is there once the piece is closed. The newest two pieces have their `events`, too.
    """

    begin: TailBook
    revision: int
    """That of the book; each event, and a break, is one more."""
    events: list[TailEvent]
    changes: int = 0
    broken: tuple[GapCause, str] | None = None
    span: LevelSpan | None = None

    @property
    def to_ms(self) -> int:
        if self.span is not None:
            return self.span.until_ms
        return self.events[-1].event_ms if self.events else self.begin.from_ms

    @property
    def bytes(self) -> int:
        levels = len(self.begin.image.bids.prices) + len(self.begin.image.asks.prices)
        events = len(self.events) if self.span is None else len(self.span.final_ids)
        sizes = (levels, _BYTES_A_LEVEL), (self.changes, _BYTES_A_CHANGE), (events, _BYTES_AN_EVENT)
        return sum(count * size for count, size in sizes)

    def news(self) -> list[TailNews]:
        broken = [] if self.broken is None else [TailBreak()]
        return [self.begin, *self.events, *broken]

    def close(self) -> LevelSpan:
        if self.span is None:
            self.span = _span_of(self.begin, self.events)
        return self.span

    def book_after(self) -> BookImage:
        return book_after(self.begin.image, self.close())


class TailPart(Struct, frozen=True, eq=False):
    """What a tail held from `from_ms` to `to_ms` at its `revision`; a part never changes.

    `reached_ms` is how far the tail went then, and `is_broken` whether the book was not known at
    that moment. `spans` may take milliseconds, and may be called in a thread.
    """

    market: str
    revision: int
    from_ms: int
    to_ms: int
    reached_ms: int
    is_broken: bool
    pieces: tuple[tuple[TailBook, LevelSpan | tuple[TailEvent, ...]], ...]

    def spans(self) -> list[tuple[LevelSpan, bool]]:
        """Return spans in the order of time, and of each whether it opens a stretch."""
        return [
            (self._span(begin, known).within(self.from_ms, self.to_ms), begin.opens)
            for begin, known in self.pieces
        ]

    @staticmethod
    def _span(begin: TailBook, known: LevelSpan | tuple[TailEvent, ...]) -> LevelSpan:
        return known if isinstance(known, LevelSpan) else _span_of(begin, known)


class DepthTail:
    """The newest minutes of the depth events of `market`.

    `revision` grows with all that comes. The tail holds `longest_ms` and `most_bytes` at most, and
    drops what is older in pieces of `piece_ms`. Feed it what the market's feed takes: `opened`,
    `applied`, `deepened` and `broken`. None of these raises: a stretch whose values no scale holds
    ends there.
    """

    def __init__(
        self,
        market: str,
        longest_ms: int = LONGEST_MS,
        most_bytes: int = MOST_BYTES,
        piece_ms: int = _PIECE_MS,
    ) -> None:
        self.market = market
        self.revision = 0
        self._longest_ms, self._most_bytes = longest_ms, most_bytes
        self._piece_ms = piece_ms
        self._pieces: deque[_Piece] = deque()
        # A book whose time is known when its first event comes.
        self._opening: BookImage | None = None
        self._to_ms = 0

    @property
    def from_ms(self) -> int:
        """The first moment that the tail holds, ms since the epoch; 0 while there is none."""
        return self._pieces[0].begin.from_ms if self._pieces else 0

    @property
    def to_ms(self) -> int:
        """The last moment of which the book is known; 0 while there is none."""
        return self._to_ms

    @property
    def is_broken(self) -> bool:
        """Whether the book is not known now."""
        return not self._pieces or self._pieces[-1].broken is not None

    @property
    def gaps(self) -> tuple[TailGap, ...]:
        """The times in between of which the book is not known, the oldest first."""
        following = [*self._pieces, None]
        return tuple(
            TailGap(piece.to_ms, None if after is None else after.begin.from_ms, *piece.broken)
            for piece, after in pairwise(following)
            if piece is not None and piece.broken is not None
        )

    @property
    def bytes(self) -> int:
        """About how much memory the tail takes."""
        return sum(piece.bytes for piece in self._pieces)

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        """A stretch begins with `base`; if its time is not known, with the first event after it."""
        self.broken(GapCause.FEED_GAP, "")
        try:
            image = base if isinstance(base, BookImage) else _image_of_snapshot(base)
        except InexactValue:
            return
        if image.event_ms:
            self._open(image, image.event_ms)
        else:
            self._opening = image

    def applied(self, diff: DepthDiff) -> None:
        """The event follows the last one."""
        if self._opening is not None:
            self._open(self._opening, diff.event_ms)
        if self.is_broken:
            return
        try:
            event = self._event_of(diff)
        except InexactValue as error:
            self.broken(GapCause.TOO_WIDE, str(error))
            return
        piece = self._pieces[-1]
        piece.events.append(event)
        piece.changes += len(event.keys)
        self.revision += 1
        self._to_ms = event.event_ms
        age_ms = event.event_ms - piece.begin.from_ms
        if piece.changes >= _CHANGES_IN_PIECE or age_ms >= self._piece_ms:
            self._go_on(piece.book_after(), is_new=False)

    def deepened(self, image: BookImage) -> None:
        """The book, as of the last event, is known as deep as `image` from here on."""
        if self._opening is not None:
            self._opening = image
        elif not self.is_broken:
            self._go_on(image, is_new=True)

    def broken(self, cause: GapCause, detail: str) -> None:
        """The stretch, if one is open, ended with its last event."""
        self._opening = None
        if not self.is_broken:
            self._pieces[-1].broken = cause, detail
            self._pieces[-1].close()
            self.revision += 1

    def part(self, from_ms: int = 0, to_ms: int = _END_OF_TIME) -> TailPart:
        """Return what is held from one time to another; an event at `to_ms` is not in it."""
        pieces = tuple(
            (piece.begin, tuple(piece.events) if piece.span is None else piece.span)
            for piece in self._pieces
            if piece.to_ms >= from_ms and piece.begin.from_ms < to_ms
        )
        return TailPart(
            self.market, self.revision, from_ms, to_ms, self._to_ms, self.is_broken, pieces
        )

    def spans(self, from_ms: int, to_ms: int) -> list[tuple[LevelSpan, bool]]:
        """Return the spans of a time, as `TailPart.spans`."""
        return self.part(from_ms, to_ms).spans()

    def news(self, after: int) -> list[TailNews] | None:
        """Return what came after the revision `after`; None if that is too long ago."""
        found: list[list[TailNews]] = []
        for piece in reversed(self._pieces):
            missing = after + 1 - piece.revision
            has_events = piece.span is None or len(piece.events) == len(piece.span.final_ids)
            if missing > 0:
                if not has_events:
                    return None
                found.append(piece.news()[missing:])
                return list(chain.from_iterable(reversed(found)))
            if not has_events:
                return None
            found.append(piece.news())
        first = self._pieces[0].revision if self._pieces else self.revision + 1
        return list(chain.from_iterable(reversed(found))) if after + 1 >= first else None

    def _open(self, image: BookImage, at_ms: int) -> None:
        self._opening = None
        self._add(TailBook(image, max(at_ms, self._to_ms), opens=True, is_new=True))

    def _go_on(self, image: BookImage, *, is_new: bool) -> None:
        self._pieces[-1].close()
        self._add(TailBook(image, self._to_ms, opens=False, is_new=is_new))

    def _add(self, begin: TailBook) -> None:
        self.revision += 1
        self._pieces.append(_Piece(begin, self.revision, []))
        self._to_ms = begin.from_ms
        if len(self._pieces) > 2:
            self._pieces[-3].events = []
        self._drop_old()

    def _drop_old(self) -> None:
        while len(self._pieces) > 1 and (
            self._pieces[0].to_ms < self._to_ms - self._longest_ms or self.bytes > self._most_bytes
        ):
            self._pieces.popleft()

    def _event_of(self, diff: DepthDiff) -> TailEvent:
        """Return the event; the scale becomes another one where its values need that."""
        found = _units(diff, self._pieces[-1].begin.image.scale)
        if found is None:
            image, *units = changes_of(self._pieces[-1].book_after(), [diff])
            self._go_on(image, is_new=True)
            found = units[0], units[1]
        prices, quantities = found
        prices[: len(diff.bids)] = ~prices[: len(diff.bids)]
        return TailEvent(diff.final_id, max(diff.event_ms, self._to_ms), prices, quantities)


def _units(diff: DepthDiff, scale: Scale) -> tuple[Int64Array, Int64Array] | None:
    """Return the prices and quantities of an event at `scale`; None if it does not hold them."""
    if scale == Scale() and diff.plain:
        units = units_from_doubles(chain.from_iterable(chain(diff.bids, diff.asks)))
        if units is not None:
            return units[::2].copy(), units[1::2].copy()
    bids, asks = level_texts(diff.payload)
    try:
        return (
            np.array([parse_units(p, scale.price) for p, _ in (*bids, *asks)], dtype=np.int64),
            np.array([parse_units(q, scale.quantity) for _, q in (*bids, *asks)], dtype=np.int64),
        )
    except InexactValue:
        return None


def _image_of_snapshot(snapshot: DepthSnapshot) -> BookImage:
    book = Book()
    book.load(snapshot)
    return image_of(book, snapshot.market)


def _span_of(begin: TailBook, events: Sequence[TailEvent]) -> LevelSpan:
    return span_of_changes(
        begin.image,
        np.concatenate([EMPTY, *(event.keys for event in events)]),
        np.concatenate([EMPTY, *(event.quantities for event in events)]),
        np.repeat(np.arange(len(events)), [len(event.keys) for event in events]),
        np.array([event.final_id for event in events], dtype=np.int64),
        np.array([event.event_ms for event in events], dtype=np.int64),
        begin.from_ms,
        begin.from_ms,
    )


def book_after(image: BookImage, span: LevelSpan) -> BookImage:
    """Return the book at the end of a span, which begins with `image`."""
    is_last: BoolArray = np.ones(len(span.lanes), dtype=np.bool_)
    is_last[:-1] = span.lanes[1:] != span.lanes[:-1]
    stands = is_last & (span.quantities != 0)
    lanes, quantities = span.lanes[stands], span.quantities[stands]
    prices, count = span.prices[lanes], int(np.count_nonzero(~span.asks[lanes]))
    return replace(
        image,
        last_update_id=int(span.final_ids[-1]) if len(span.final_ids) else span.start_id,
        event_ms=span.until_ms,
        bids=Levels(prices[:count], quantities[:count]),
        asks=Levels(prices[count:], quantities[count:]),
    )
