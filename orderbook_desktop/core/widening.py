"""Moving a horizon outward: a second, deeper answer of the exchange is joined to a running book.

The book goes on without a gap and without a new beginning. `join` proves that the answer fits the
book, and brings its levels up to date. `WideningPolicy` decides when an answer is worth its weight.
Neither does I/O or knows a clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.book import BestOffer, Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of, snapshot_of
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, level_texts
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels, rescaled
from orderbook_desktop.core.units import Scale, format_units
from orderbook_desktop.core.wide_levels import WideLevels

# A best price is near its edge within this part of the known range, in percent.
_NEAR_PERCENT: Final = 20
# The answer reaches as far beyond the best price as the one before did, or not much further. So it
# brings little before this part of the way to the edge is used up, in percent.
_USED_PERCENT: Final = 50
_EVERY_S: Final = 300.0
_WINDOW_S: Final = 60.0
# All markets together may take this part of the weight that the exchange grants in a minute.
_SHARE_PERCENT: Final = 5


class Joined(Struct, frozen=True):
    """The book with the answer's levels, as of the same update id, and with the wider horizon.

    `Book.widen` takes the image. The answer lies in the event that ends at `joined_id`, or is as of
    that id: from there on the book is known as deep as this.
    """

    image: BookImage
    joined_id: int


class NotReached(Struct, frozen=True):
    """The answer is as of `answer_id`, which the book has not reached: try again after an event."""

    answer_id: int
    book_id: int

    def __str__(self) -> str:
        return f"an answer as of update id {self.answer_id} is later than the book"


class EventsMissing(Struct, frozen=True):
    """The events from `first_missing` on are not at hand, so the answer is too old to be joined."""

    first_missing: int

    def __str__(self) -> str:
        return f"the event of update id {self.first_missing} is not at hand any more"


class Contradicted(Struct, frozen=True):
    """Where both are known, the answer and the book differ at `price`, in units of `exponent`.

    One of them is wrong, and the answer can't tell which: it is not joined.
    """

    price: int
    exponent: int
    is_ask: bool

    def __str__(self) -> str:
        side, price = "ask" if self.is_ask else "bid", format_units(self.price, self.exponent, 0)
        return f"the book and the exchange's answer differ at the {side} {price}"


class Unproven(Struct, frozen=True):
    """It is not known how deep the book or the answer is known, or no scale holds both."""

    def __str__(self) -> str:
        return "it is not known how deep both are known, or no scale holds both"


JoinOutcome = Joined | NotReached | EventsMissing | Contradicted | Unproven


def join(book: BookImage, events: Iterable[DepthDiff], answer: DepthSnapshot) -> JoinOutcome:
    """Return `book` widened by the levels of `answer`, brought up to the book's update id.

    `events` are the latest events in the book, in order; they have to reach back to the answer.
    Inside either horizon the result is the exchange's book. Beyond both it has the single levels
    that the book has, since it has seen all that the events say. Takes milliseconds for thousands
    of levels.
    """
    if answer.last_update_id > book.last_update_id:
        return NotReached(answer.last_update_id, book.last_update_id)
    rolled, joined_id = Book(), answer.last_update_id
    rolled.load(answer)
    for diff in events:
        if diff.final_id <= rolled.last_update_id:
            continue
        if diff.first_id > rolled.last_update_id + 1 or diff.final_id > book.last_update_id:
            break
        if diff.first_id <= answer.last_update_id:
            joined_id = diff.final_id
        rolled.apply(diff)
    if rolled.last_update_id < book.last_update_id:
        return EventsMissing(rolled.last_update_id + 1)
    try:
        images = _at_one_scale(book, image_of(rolled, book.market))
    except InexactValue:
        return Unproven()
    return _united(*images, joined_id)


def widened(
    book: BookImage, events: Iterable[DepthDiff], answers: Iterable[DepthSnapshot]
) -> BookImage:
    """Return `book` with each of `answers` joined that fits it, as `join` does."""
    latest = tuple(events)
    for answer in answers:
        outcome = join(book, latest, answer)
        if isinstance(outcome, Joined):
            book = outcome.image
    return book


def roll_with_answers(
    snapshot: DepthSnapshot,
    diffs: Iterable[DepthDiff],
    answers: Mapping[int, Sequence[DepthSnapshot]],
) -> DepthSnapshot:
    """Return `snapshot` as `roll_forward` does, with `answers` joined, by the ids of their books.

    An answer is left out if the event in which it lies is not among `diffs`.
    """
    book = Book()
    book.load(snapshot)
    _widen(book, snapshot.market, (), answers.get(book.last_update_id, ()))
    for diff in diffs:
        if diff.first_id > book.last_update_id + 1:
            break
        if diff.final_id > book.last_update_id:
            book.apply(diff)
            _widen(book, snapshot.market, (diff,), answers.get(diff.final_id, ()))
    return snapshot_of(image_of(book, snapshot.market))


def _widen(
    book: Book, market: str, events: Sequence[DepthDiff], answers: Sequence[DepthSnapshot]
) -> None:
    if answers:
        image = widened(image_of(book, market), events, answers)
        book.widen(image.bids, image.asks, image.scale, image.horizon)


def united(book: BookImage, other: BookImage) -> BookImage:
    """Return `book` widened by what `other`, a book of the same update id, knows besides.

    Where they contradict each other, or it is not proven that they fit, it is `book` itself.
    """
    try:
        outcome = _united(*_at_one_scale(book, other), book.last_update_id)
    except InexactValue:
        return book
    return outcome.image if isinstance(outcome, Joined) else book


def _united(book: BookImage, answer: BookImage, joined_id: int) -> JoinOutcome:
    """Join two images of one update id and one scale."""
    if book.horizon is None or answer.horizon is None:
        return Unproven()
    for is_ask in (False, True):
        price = _difference(book, answer, is_ask=is_ask)
        if price is not None:
            return Contradicted(price, book.scale.price, is_ask)
    bids, asks = (_side(book, answer.horizon, answer, is_ask=is_ask) for is_ask in (False, True))
    horizon = book.horizon.joined(answer.horizon)
    return Joined(replace(book, bids=bids, asks=asks, horizon=horizon), joined_id)


def _side(book: BookImage, known: Horizon, answer: BookImage, *, is_ask: bool) -> Levels:
    """Return the answer's levels as far as it is `known`, and the book's levels beyond."""
    theirs, count = _levels(answer, is_ask=is_ask), _count_inside(answer, known, is_ask=is_ask)
    ours, begin = _levels(book, is_ask=is_ask), _count_inside(book, known, is_ask=is_ask)
    levels = Levels(
        np.concatenate((theirs.prices[:count], ours.prices[begin:])),
        np.concatenate((theirs.quantities[:count], ours.quantities[begin:])),
    )
    for array in levels:
        array.setflags(write=False)
    return levels


def _difference(book: BookImage, answer: BookImage, *, is_ask: bool) -> int | None:
    """Return the best price at which the two differ although both know it; None if they agree."""
    known = [image.horizon for image in (book, answer) if image.horizon is not None]
    ends = [horizon.known_to if is_ask else horizon.known_from for horizon in known]
    inner = [end for end in ends if end is not None]
    nearest = (min(inner) if is_ask else max(inner)) if inner else None
    both = Horizon(None, nearest) if is_ask else Horizon(nearest, None)
    counts = [_count_inside(image, both, is_ask=is_ask) for image in (book, answer)]
    sides = [
        Levels(*(values[:count] for values in _levels(image, is_ask=is_ask)))
        for image, count in zip((book, answer), counts, strict=True)
    ]
    if all(np.array_equal(ours, theirs) for ours, theirs in zip(*sides, strict=True)):
        return None
    pairs: list[set[tuple[int, int]]] = [
        set(zip(side.prices.tolist(), side.quantities.tolist(), strict=True)) for side in sides
    ]
    different = [price for price, _ in pairs[0] ^ pairs[1]]
    return min(different) if is_ask else max(different)


def _count_inside(image: BookImage, known: Horizon, *, is_ask: bool) -> int:
    """Return how many of the best levels of a side lie within `known`."""
    prices = _levels(image, is_ask=is_ask).prices
    end = known.known_to if is_ask else known.known_from
    if end is None:
        return len(prices)
    if is_ask:
        return int(prices.searchsorted(end, side="right"))
    return int((-prices).searchsorted(-end, side="right"))


def _levels(image: BookImage, *, is_ask: bool) -> Levels:
    return image.asks if is_ask else image.bids


def _at_one_scale(book: BookImage, answer: BookImage) -> tuple[BookImage, BookImage]:
    """Return both at a scale that holds all their levels. Raises `InexactValue`."""
    if book.scale == answer.scale:
        return book, answer
    # Few markets need another scale than the default one: the way between scales is text.
    bids, asks = (
        [*ours, *theirs]
        for ours, theirs in zip(
            level_texts(encode_image(book)), level_texts(encode_image(answer)), strict=True
        )
    )
    scale = WideLevels(bids, asks).scale
    return rescaled_image(book, scale), rescaled_image(answer, scale)


def rescaled_image(image: BookImage, scale: Scale) -> BookImage:
    """Return the same book at a scale that holds its levels."""
    bids, asks = (
        Levels(
            rescaled(levels.prices, scale.price - image.scale.price),
            rescaled(levels.quantities, scale.quantity - image.scale.quantity),
        )
        for levels in (image.bids, image.asks)
    )
    horizon = None if image.horizon is None else image.horizon.at(scale.price)
    return replace(image, scale=scale, bids=bids, asks=asks, horizon=horizon)


class _Ways(Struct, frozen=True):
    """How far it is from the best price of each side to its edge; None: no edge, or no price."""

    bids: int | None
    asks: int | None
    exponent: int


class WideningPolicy:
    """Decides which market's book is asked for again, with `weight` a request.

    A market is due when the best price of a side is within 20 % of the known range of its edge, and
    has used up half of the way there that it had when the book, or its last answer, came: else a
    book whose sides reach unequally far would be asked for again and again. It is asked for at most
    every five minutes, and all markets together take at most 5 % of `per_minute`, the exchange's
    allowance. Times are seconds of a clock that never goes back.

    Call `known` for each book that is new or has been widened, `wants` to ask, and `asked` for each
    request that goes out, also if it fails.
    """

    def __init__(self, weight: int, per_minute: int) -> None:
        self._weight = weight
        self._allowed = per_minute * _SHARE_PERCENT // 100
        self._whole: dict[str, _Ways] = {}
        self._asked_s: dict[str, float] = {}
        self._spent: deque[float] = deque()

    def known(self, market: str, best: BestOffer, horizon: Horizon | None) -> None:
        """Note how far the book of `market` is known from its best prices on."""
        if horizon is None:
            self._whole.pop(market, None)
        else:
            self._whole[market] = _ways(best, horizon)

    def asked_at(self, market: str) -> float:
        """Return when the book of `market` was asked for last; before all times if never."""
        return self._asked_s.get(market, -math.inf)

    def may_ask(self, market: str, now_s: float) -> bool:
        """Return whether a request for the book of `market` is within the limits now."""
        if now_s - self.asked_at(market) < _EVERY_S:
            return False
        while self._spent and now_s - self._spent[0] >= _WINDOW_S:
            self._spent.popleft()
        return (len(self._spent) + 1) * self._weight <= self._allowed

    def wants(self, market: str, best: BestOffer, horizon: Horizon | None, now_s: float) -> bool:
        """Return whether the book of `market` should be asked for now."""
        whole = self._whole.get(market)
        if whole is None or horizon is None or not self.may_ask(market, now_s):
            return False
        left, known_range = _ways(best, horizon), _known_range(best, horizon)
        finer, theirs = 10**whole.exponent, 10**left.exponent
        return any(
            100 * now <= _NEAR_PERCENT * known_range
            and 100 * now * finer <= (100 - _USED_PERCENT) * before * theirs
            for now, before in ((left.bids, whole.bids), (left.asks, whole.asks))
            if now is not None and before is not None
        )

    def asked(self, market: str, now_s: float) -> None:
        """Note a request that goes out."""
        self._asked_s[market] = now_s
        self._spent.append(now_s)

    def forget(self, market: str) -> None:
        """Forget the book of `market`, which is no longer followed; its last request counts on."""
        self._whole.pop(market, None)


def _ways(best: BestOffer, horizon: Horizon) -> _Ways:
    bid, ask, low, high = best.bid_price, best.ask_price, horizon.known_from, horizon.known_to
    return _Ways(
        None if bid is None or low is None else bid - low,
        None if ask is None or high is None else high - ask,
        horizon.exponent,
    )


def _known_range(best: BestOffer, horizon: Horizon) -> int:
    """Return the width of the known range; a side without an end counts to its best price."""
    low = best.bid_price if horizon.known_from is None else horizon.known_from
    high = best.ask_price if horizon.known_to is None else horizon.known_to
    return 0 if low is None or high is None else high - low
