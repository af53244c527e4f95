"""Books frozen at one update id, and their text in the form of the exchange's snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_snapshot, level_texts
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale, canonical_decimal, format_units


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


def encode_image(image: BookImage) -> bytes:
    """Return the image in the form of `GET /api/v3/depth`: a snapshot's `payload`.

    Takes milliseconds for thousands of levels: call it in a thread.
    """

    def texts(levels: Levels) -> list[tuple[str, str]]:
        pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
        price, quantity = image.scale.price, image.scale.quantity
        return [(format_units(p, price), format_units(q, quantity)) for p, q in pairs]

    return _encode(image.last_update_id, texts(image.bids), texts(image.asks))


def roll_forward(snapshot: DepthSnapshot, diffs: Iterable[DepthDiff]) -> DepthSnapshot:
    """Return `snapshot` brought up to date by the unbroken run of `diffs` that follows it.

    Stops before the first gap. Works on the text, so that nothing is converted.
    """
    sync = DepthSync()
    sync.receive_snapshot(snapshot)
    bids, asks = (
        {canonical_decimal(price): (price, quantity) for price, quantity in side}
        for side in level_texts(snapshot.payload)
    )
    last = None
    for diff in diffs:
        outcomes = sync.receive_diff(diff)
        if not sync.synced:
            break
        if not isinstance(outcomes[0], Applied):
            continue
        last = diff
        for side, changes in zip((bids, asks), level_texts(diff.payload), strict=True):
            _set_texts(side, changes)
    if last is None:
        return snapshot
    payload = _encode(last.final_id, list(bids.values()), list(asks.values()))
    return decode_snapshot(payload, snapshot.market, last.event_ms)


def _set_texts(side: dict[str, tuple[str, str]], changes: list[tuple[str, str]]) -> None:
    for price, quantity in changes:
        key = canonical_decimal(price)
        if quantity.strip("0.") == "":
            side.pop(key, None)
        else:
            side[key] = (price, quantity)


def _encode(update_id: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> bytes:
    return msgspec.json.encode({"lastUpdateId": update_id, "bids": bids, "asks": asks})
