"""Books frozen at one update id, their text as the exchange's snapshots, and their changes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from msgspec import Struct

from orderbook_desktop.core.book import Book, BookImage
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    TextLevels,
    decode_snapshot,
)
from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.units import Scale, format_units

__all__ = [
    "BookChanges",
    "BookImage",
    "changes_between",
    "encode_image",
    "image_of",
    "is_crossed",
    "merge_changes",
    "roll_forward",
    "snapshot_of",
]


def image_of(book: Book, market: str) -> BookImage:
    """Return `book` as it is now. Raises `InexactValue` as reading it does."""
    bids, asks = book.bids(), book.asks()
    return BookImage(
        market,
        book.last_update_id,
        book.event_ms,
        book.scale,
        bids,
        asks,
        book.horizon,
        book.received_ns,
    )


def is_crossed(image: BookImage) -> bool:
    """Return whether the best bid reaches the best ask."""
    bids, asks = image.bids.prices, image.asks.prices
    return bool(len(bids) and len(asks) and bids[0] >= asks[0])


def text_levels(levels: Levels, scale: Scale) -> TextLevels:
    """Return price and quantity of `levels`, which are in units of `scale`, as decimal text."""
    pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
    return [(format_units(p, scale.price), format_units(q, scale.quantity)) for p, q in pairs]


def encode_image(image: BookImage) -> bytes:
    """Return the image in the form of `GET /api/v3/depth`: a snapshot's `payload`.

    Takes milliseconds for thousands of levels: call it in a thread.
    """
    return msgspec.json.encode(
        {
            "lastUpdateId": image.last_update_id,
            "bids": text_levels(image.bids, image.scale),
            "asks": text_levels(image.asks, image.scale),
        }
    )


def snapshot_of(image: BookImage) -> DepthSnapshot:
    """Return the image as a snapshot. It takes as long as `encode_image`: call it in a thread."""
    payload = encode_image(image)
    snapshot = decode_snapshot(payload, image.market, image.event_ms, image.received_ns)
    return msgspec.structs.replace(snapshot, horizon=image.horizon)


def roll_forward(snapshot: DepthSnapshot, diffs: Iterable[DepthDiff]) -> DepthSnapshot:
    """Return `snapshot` brought up to date by the unbroken run of `diffs` that follows it.

    It stops before the first gap. Raises `InexactValue` as reading a book does. It takes as long
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
    return snapshot_of(image_of(book, snapshot.market))


class BookChanges(Struct, frozen=True):
    """Changed levels of both sides, best price first; a quantity of 0 removes its level.

    Units are those of the images that were compared.
    """

    bids: Levels
    asks: Levels

    def __len__(self) -> int:
        return len(self.bids.prices) + len(self.asks.prices)


def changes_between(old: BookImage, new: BookImage) -> BookChanges:
    """Return what turns `old` into `new`, of the same market and scale (else `ValueError`)."""
    if old.scale != new.scale or old.market != new.market:
        raise ValueError("images of different markets or scales have no changes between them")
    return BookChanges(
        _mirrored(_side_changes(_mirrored(old.bids), _mirrored(new.bids))),
        _side_changes(old.asks, new.asks),
    )


def merge_changes(parts: Iterable[BookChanges]) -> BookChanges:
    """Return the changes that have the effect of all `parts` in turn, which have one scale."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for part in parts:
        for side, levels in ((bids, part.bids), (asks, part.asks)):
            side.update(zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True))
    return BookChanges(_levels(bids, best_is_highest=True), _levels(asks, best_is_highest=False))


def _mirrored(levels: Levels) -> Levels:
    """Return bids so that their prices ascend from the best one outward, as asks' do."""
    return Levels(-levels.prices, levels.quantities)


def _side_changes(old: Levels, new: Levels) -> Levels:
    if not len(old.prices):
        return new
    at = old.prices.searchsorted(new.prices)
    known = old.prices.take(at, mode="clip") == new.prices
    changed = ~known | (old.quantities.take(at, mode="clip") != new.quantities)
    gone = np.ones(len(old.prices), dtype=np.bool_)
    gone[at[known]] = False
    prices: Int64Array = np.concatenate((new.prices[changed], old.prices[gone]))
    quantities: Int64Array = np.zeros(len(prices), dtype=np.int64)
    quantities[: int(changed.sum())] = new.quantities[changed]
    order = prices.argsort()
    return Levels(prices[order], quantities[order])


def _levels(side: dict[int, int], *, best_is_highest: bool) -> Levels:
    prices = sorted(side, reverse=best_is_highest)
    return Levels(
        np.array(prices, dtype=np.int64),
        np.array([side[price] for price in prices], dtype=np.int64),
    )
