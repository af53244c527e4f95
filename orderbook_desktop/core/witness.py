"""Comparing a recorded book with the exchange's own book of the same update id.

A snapshot shows the best levels of each side. The recorded book has to have the same levels there.
There is one exception: a book does not know a level beyond its horizon (`core.horizon`) until that
level changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Self

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthSnapshot, TextLevels, level_texts
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels, units_from_doubles
from orderbook_desktop.core.units import Scale, format_units

Sides = dict[Decimal, Decimal]


class Witness(Struct, frozen=True):
    """The exchange's book as of `snapshot.last_update_id`, its best `depth` levels a side.

    It was taken at `taken_ms` (our time) while the segment `segment_id` was recorded. The book of
    that segment had this `horizon`, None where it was not known. If `joined_id` is not None, the
    snapshot was joined to the book, which is known deeper from that update id on
    (`core.widening`).
    """

    snapshot: DepthSnapshot
    depth: int
    taken_ms: int
    segment_id: str
    horizon: Horizon | None
    joined_id: int | None = None

    @classmethod
    def of_answer(
        cls,
        answer: DepthSnapshot,
        taken_ms: int,
        segment_id: str,
        horizon: Horizon | None,
        joined_id: int | None = None,
    ) -> Self:
        """Return the witness of an answer that says by its horizon how deep it is known."""
        depth = max(1, len(answer.bids), len(answer.asks))
        return cls(answer, depth, taken_ms, segment_id, horizon, joined_id)

    def end(self, texts: TextLevels, *, is_ask: bool) -> Decimal | None:
        """Return the last price that the snapshot tells of on a side with these levels.

        None if it tells of all. Where its own horizon is not known, its `depth` counts.
        """
        known = self.snapshot.horizon
        if known is not None:
            end = known.known_to if is_ask else known.known_from
            return None if end is None else _decimal(end, known.exponent)
        return Decimal(texts[-1][0]) if len(texts) >= self.depth else None


def contradictions(
    witness: Witness,
    book: BookImage,
    touched_bids: Collection[int] = (),
    touched_asks: Collection[int] = (),
) -> Iterator[str]:
    """Iterate over what differs within the witness's depth, a sentence for each level.

    `book` is that of the witness's update id. Where this id lies inside an event, it is the book
    before the event. Then `touched_…` are the prices that the event sets, in units of the book's
    scale: these can't be compared.
    """
    if _agrees(witness, book):
        return
    bid_texts, ask_texts = level_texts(witness.snapshot.payload)
    sides = (
        (False, bid_texts, book.bids, touched_bids),
        (True, ask_texts, book.asks, touched_asks),
    )
    for is_ask, texts, levels, touched in sides:
        end = witness.end(texts, is_ask=is_ask)
        pairs = ((Decimal(price), Decimal(quantity)) for price, quantity in texts)
        listed = {price: size for price, size in pairs if _is_before(price, end, is_ask=is_ask)}
        known = dict(_until(levels, book, end, is_ask=is_ask))
        unknown = {_decimal(price, book.scale.price) for price in touched}
        yield from _differences(listed, known, unknown, witness.horizon, is_ask=is_ask)


def _agrees(witness: Witness, book: BookImage) -> bool:
    """Whether the two are the same within the witness's depth, as they nearly always are.

    False also where only comparing them level by level can tell.
    """
    snapshot = witness.snapshot
    if not snapshot.plain or book.scale != Scale():
        return False
    for is_ask, levels, side in (
        (False, snapshot.bids, book.bids),
        (True, snapshot.asks, book.asks),
    ):
        units = units_from_doubles(value for level in levels for value in level)
        if units is None:
            return False
        prices, count = units[::2], len(side.prices)
        if len(levels) >= witness.depth:
            ordered, end = (side.prices, prices[-1]) if is_ask else (-side.prices, -prices[-1])
            count = int(ordered.searchsorted(end, side="right"))
        is_same = np.array_equal(side.prices[:count], prices)
        if not is_same or not np.array_equal(side.quantities[:count], units[1::2]):
            return False
    return True


def _differences(
    listed: Sides,
    known: Sides,
    unknown: Collection[Decimal],
    horizon: Horizon | None,
    *,
    is_ask: bool,
) -> Iterator[str]:
    name = "ask" if is_ask else "bid"
    for price in sorted(listed.keys() | known.keys(), reverse=not is_ask):
        theirs, ours = listed.get(price), known.get(price)
        if theirs == ours or price in unknown:
            continue
        if ours is None and not _is_inside(horizon, price, is_ask=is_ask):
            continue
        yield (
            f"the {name} at {price.normalize():f} is {_quantity_text(ours)} "
            f"where the exchange had {_quantity_text(theirs)}"
        )


def _is_inside(horizon: Horizon | None, price: Decimal, *, is_ask: bool) -> bool:
    if horizon is None:
        return False
    end = horizon.known_to if is_ask else horizon.known_from
    if end is None:
        return True
    exact = _decimal(end, horizon.exponent)
    return price <= exact if is_ask else price >= exact


def _until(
    levels: Levels, book: BookImage, end: Decimal | None, *, is_ask: bool
) -> Iterator[tuple[Decimal, Decimal]]:
    """Iterate over the levels from the best to the one at `end`, or to the last."""
    for price, quantity in zip(levels.prices, levels.quantities, strict=True):
        exact = _decimal(int(price), book.scale.price)
        if not _is_before(exact, end, is_ask=is_ask):
            return
        yield exact, _decimal(int(quantity), book.scale.quantity)


def _is_before(price: Decimal, end: Decimal | None, *, is_ask: bool) -> bool:
    """Whether `price` is not beyond `end`."""
    return end is None or (price <= end if is_ask else price >= end)


def _decimal(units: int, exponent: int) -> Decimal:
    return Decimal(format_units(units, exponent))


def _quantity_text(quantity: Decimal | None) -> str:
    return "not there" if quantity is None else f"{quantity.normalize():f}"
