"""Books frozen at one update id, and their text in the form of the exchange's snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_snapshot
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale, format_units


@dataclass(frozen=True, slots=True)
class BookImage:
    """A book at one instant; cheap to take, and never changes afterwards."""

    market: str
    last_update_id: int
    event_ms: int
    scale: Scale
    bids: Levels
    asks: Levels


def image_of(book: Book, market: str) -> BookImage:
    """Return `book` as it is now. Raises `InexactValue` as reading it does."""
    bids, asks = book.bids(), book.asks()
    return BookImage(market, book.last_update_id, book.event_ms, book.scale, bids, asks)


def is_crossed(image: BookImage) -> bool:
    """Return whether the best bid reaches the best ask."""
    bids, asks = image.bids.prices, image.asks.prices
    return bool(len(bids) and len(asks) and bids[0] >= asks[0])


def encode_image(image: BookImage) -> bytes:
    """Return the image in the form of `GET /api/v3/depth`: a snapshot's `payload`.

    Takes milliseconds for thousands of levels: call it in a thread.
    """

    def texts(levels: Levels) -> list[tuple[str, str]]:
        pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
        price, quantity = image.scale.price, image.scale.quantity
        return [(format_units(p, price), format_units(q, quantity)) for p, q in pairs]

    return msgspec.json.encode(
        {
            "lastUpdateId": image.last_update_id,
            "bids": texts(image.bids),
            "asks": texts(image.asks),
        }
    )


def roll_forward(snapshot: DepthSnapshot, diffs: Iterable[DepthDiff]) -> DepthSnapshot:
    """Return `snapshot` brought up to date by the unbroken run of `diffs` that follows it.

    Stops before the first gap. Raises `InexactValue` as reading a book does. Takes as long
    as `encode_image`: call it in a thread.
    """
    book = Book()
    book.load(snapshot)
    for diff in diffs:
        if diff.first_id > book.last_update_id + 1:
            break
        if diff.final_id > book.last_update_id:
            book.apply(diff)
    if book.last_update_id == snapshot.last_update_id:
        return snapshot
    payload = encode_image(image_of(book, snapshot.market))
    return decode_snapshot(payload, snapshot.market, book.event_ms)
