"""A recorded market whose book begins shallow, and to which deeper answers are joined."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal

from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, answered, decode_snapshot
from orderbook_desktop.core.sources import RecordingSink
from orderbook_desktop.core.widening import Joined, join
from tests.core.deep_exchange import Answer
from tests.core.reference_book import Pairs, pairs_of
from tests.storage.recording_fixtures import HandFeed, Tape

_TICK = Decimal("0.01")


def shallow(snapshot: DepthSnapshot, depth: int | None) -> DepthSnapshot:
    """The answer to a request for at most `depth` levels a side; None: for all."""
    if depth is None:
        return snapshot
    answer = json.loads(snapshot.payload)
    answer |= {side: answer[side][:depth] for side in ("bids", "asks")}
    payload = json.dumps(answer).encode()
    return answered(decode_snapshot(payload, snapshot.market, 0, snapshot.received_ns), depth)


@dataclass
class Truth:
    """The true book after each event, and what each answer lets its readers know.

    An answer counts from the update id of the book on that it was joined to.
    """

    books: dict[int, tuple[Pairs, Pairs]] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    answers: list[tuple[int, Answer]] = field(default_factory=list)

    def _knows(self, before_id: int, price: Decimal, *, is_ask: bool) -> bool:
        units = int(price * 10**8)
        return any(
            answer.tells_of(units, is_ask=is_ask)
            for since, answer in self.answers
            if since < before_id
        )

    def check(self, image: BookImage, step: int = 1, *, is_before_answer: bool = False) -> int:
        """Check a book at each price, or at some; return how many prices are inside.

        If `is_before_answer`, an answer that was joined at its update id does not count yet.
        """
        update_id, inside = image.last_update_id, 0
        assert image.horizon is not None
        scale, before_id = image.scale, update_id + (not is_before_answer)
        sides = zip((image.bids, image.asks), self.books[update_id], (False, True), strict=True)
        for levels, true, is_ask in sides:
            shown = dict(pairs_of(levels, scale.price, scale.quantity))
            truth = dict(true)
            for tick in range(59_500 if not is_ask else 60_001, 60_000 if not is_ask else 60_500):
                price = tick * _TICK
                if tick % step and price not in shown:
                    continue
                is_known = image.horizon.knows(int(price * 10**scale.price), is_ask=is_ask)
                assert is_known == self._knows(before_id, price, is_ask=is_ask), (update_id, price)
                inside += is_known
                if is_known or price in shown:
                    assert shown.get(price) == truth.get(price), (update_id, price)
        return inside


class DeepenedFeed:
    """Records `tape` with a book that begins with `depth` levels a side."""

    def __init__(self, sink: RecordingSink, tape: Tape, depth: int, truth: Truth | None = None):
        self.tape = tape
        self.truth = truth or Truth()
        self.feed = HandFeed(sink)
        self.events: list[DepthDiff] = []
        base = shallow(tape.snapshot(), depth)
        self._note()
        self.truth.answers.append((base.last_update_id, Answer(base.payload, depth)))
        self.feed.snapshot(base)

    @property
    def image(self) -> BookImage:
        return image_of(self.feed.sync.book, self.tape.market)

    def play(self, number: int) -> None:
        for _ in range(number):
            self.take(self.tape.diff())

    def take(self, event: DepthDiff) -> None:
        self.events.append(event)
        self._note()
        self.feed.diffs(event)

    def answer(self, depth: int | None) -> DepthSnapshot:
        """The exchange's answer now."""
        return shallow(self.tape.snapshot(), depth)

    def join(self, answer: DepthSnapshot, depth: int) -> Joined:
        """Join an answer, as `BookFeed` does."""
        book, known = self.feed.sync.book, self.feed.sync.book.horizon
        outcome = join(self.image, self.events, answer)
        assert isinstance(outcome, Joined)
        image = outcome.image
        book.widen(image.bids, image.asks, image.scale, image.horizon)
        self.truth.answers.append((outcome.joined_id, Answer(answer.payload, depth)))
        self.feed.sink.answered(answer, outcome.joined_id, known, book)
        return outcome

    def _note(self) -> None:
        self.truth.books[self.tape.last_id] = self.tape.book.levels
        self.truth.times[self.tape.last_id] = self.tape.now_ms
