from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.book import BestOffer, Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    decode_diff,
    decode_snapshot,
    decode_spot_snapshot,
)
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.horizon import Horizon, is_deeper
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.widening import (
    Contradicted,
    EventsMissing,
    Joined,
    NotReached,
    Unproven,
    WideningPolicy,
    join,
    roll_with_answers,
    united,
)
from tests.core.deep_exchange import Answer, DeepExchange
from tests.core.reference_book import ReferenceBook, diff_payload, snapshot_payload
from tests.core.test_real_capture import CAPTURE, capture_lines

BIDS = [("9.5", "1"), ("9.4", "2"), ("9.3", "3"), ("9.2", "4")]
ASKS = [("9.6", "1"), ("9.7", "2"), ("9.8", "3"), ("9.9", "4")]


def known(levels: Levels) -> dict[int, int]:
    return dict(zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 80), *[st.integers(0, 60)] * 3)
def test_the_joined_book_is_the_true_one_at_every_known_price(
    seed: int, depth: int, deeper: int, before: int, after: int, lag: int
) -> None:
    exchange = DeepExchange(random.Random(seed))
    first = exchange.answer(depth)
    book = Book()
    book.load(decode_spot_snapshot(first, "BTCUSDT", depth))
    events: list[DepthDiff] = []

    def play(number: int) -> None:
        for _ in range(number):
            events.append(decode_diff(exchange.event()))
            book.apply(events[-1])

    play(before)
    second = exchange.answer(deeper)
    answer = decode_spot_snapshot(second, "BTCUSDT", deeper)
    play(after)
    # The events may reach back further than the answer.
    outcome = join(image_of(book, "BTCUSDT"), events[max(0, before - lag) :], answer)
    assert isinstance(outcome, Joined)
    joined = outcome.image
    assert joined.last_update_id == book.last_update_id == exchange.update_id
    assert joined.horizon is not None
    answers = Answer(first, depth), Answer(second, deeper)
    for levels, truth, single, is_ask in (
        (joined.bids, exchange.bids, known(book.bids()), False),
        (joined.asks, exchange.asks, known(book.asks()), True),
    ):
        ours = known(levels)
        ascending = levels.prices if is_ask else -levels.prices
        assert (np.diff(ascending) > 0).all()
        for price in exchange.prices:
            is_known = any(one.tells_of(price, is_ask=is_ask) for one in answers)
            assert joined.horizon.knows(price, is_ask=is_ask) == is_known
            if is_known:
                assert ours.get(price, 0) == truth.get(price, 0)
            else:
                assert ours.get(price, 0) == single.get(price, 0)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30))
def test_a_widened_book_goes_on_as_if_it_had_begun_with_the_answer(
    seed: int, depth: int, number: int
) -> None:
    exchange = DeepExchange(random.Random(seed))
    book, fresh = Book(), Book()
    book.load(decode_spot_snapshot(exchange.answer(depth), "BTCUSDT", depth))
    for _ in range(number):
        book.apply(decode_diff(exchange.event()))
    full = exchange.answer(1_000)
    outcome = join(image_of(book, "BTCUSDT"), [], decode_spot_snapshot(full, "BTCUSDT", 1_000))
    assert isinstance(outcome, Joined)
    revision, update_id, event_ms = book.revision, book.last_update_id, book.event_ms
    image = outcome.image
    assert image.horizon is not None
    assert outcome.joined_id == update_id
    book.widen(image.bids, image.asks, image.scale, image.horizon)
    assert book.revision > revision
    assert (book.last_update_id, book.event_ms) == (update_id, event_ms)
    fresh.load(decode_spot_snapshot(full, "BTCUSDT", 1_000))
    for _ in range(number):
        assert (known(book.bids()), known(book.asks())) == (exchange.bids, exchange.asks)
        assert book.best() == fresh.best()
        assert book.crossing() is None
        assert book.horizon == Horizon()
        diff = decode_diff(exchange.event())
        book.apply(diff)
        fresh.apply(diff)
    # A bid at the best ask is found, as in any book.
    ask = min(exchange.asks, default=0)
    if ask:
        price = f"{ask // 10**8}.{ask % 10**8:08d}"
        book.apply(decode_diff(diff_payload([(price, "1")], [], 10**6, 10**6)))
        assert book.crossing() is not None


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 80), *[st.integers(0, 20)] * 2)
def test_it_does_not_matter_after_how_many_events_an_answer_is_joined(
    seed: int, depth: int, deeper: int, after: int, inside: int
) -> None:
    """A reader joins a stored answer at the event in which it lies, and then takes the events."""
    exchange = DeepExchange(random.Random(seed))
    late, early = Book(), Book()
    for book in (late, early):
        book.load(decode_spot_snapshot(exchange.answer(depth), "BTCUSDT", depth))
    events = [decode_diff(exchange.event())]
    payload = exchange.answer(deeper)
    answer = decode_spot_snapshot(payload, "BTCUSDT", deeper)
    # The answer may be as of an id inside the event.
    within = max(events[0].first_id, exchange.update_id - inside)
    answer = replace(answer, last_update_id=within)
    for diff in events:
        early.apply(diff)
    first = join(image_of(early, "BTCUSDT"), events, answer)
    assert isinstance(first, Joined)
    assert first.joined_id == events[0].final_id
    image = first.image
    early.widen(image.bids, image.asks, image.scale, image.horizon)
    for _ in range(after):
        events.append(decode_diff(exchange.event()))
        early.apply(events[-1])
    for diff in events:
        late.apply(diff)
    second = join(image_of(late, "BTCUSDT"), events, answer)
    assert isinstance(second, Joined)
    assert second.joined_id == events[0].final_id
    assert known(second.image.bids) == known(early.bids())
    assert known(second.image.asks) == known(early.asks())
    assert second.image.horizon == early.horizon


def test_a_checkpoint_is_rolled_forward_with_the_answers_that_were_joined_since() -> None:
    exchange = DeepExchange(random.Random(5))
    base = decode_spot_snapshot(exchange.answer(5), "BTCUSDT", 5)
    at_once = decode_spot_snapshot(exchange.answer(9), "BTCUSDT", 9)
    events = [decode_diff(exchange.event()) for _ in range(4)]
    amid = exchange.update_id
    later = decode_spot_snapshot(exchange.answer(40), "BTCUSDT", 40)
    events += [decode_diff(exchange.event()) for _ in range(4)]
    answers = {base.last_update_id: [at_once], amid: [later]}
    for begin in (0, 2):
        rolled = roll_with_answers(base, [*events[:begin], *events], answers)
        assert rolled.last_update_id == exchange.update_id
        assert rolled.horizon is not None
        assert not is_deeper(later.horizon, rolled.horizon)
        assert is_deeper(rolled.horizon, at_once.horizon)
    # Up to the first gap.
    rolled = roll_with_answers(base, [*events[:2], *events[3:]], answers)
    assert rolled.last_update_id == events[1].final_id
    assert rolled.horizon == at_once.horizon
    # An answer that doesn't fit is left out.
    unproven = {base.last_update_id: [replace(at_once, horizon=None)]}
    assert roll_with_answers(base, events, unproven).horizon == base.horizon


def test_books_of_one_update_id_are_united_where_they_agree() -> None:
    near, deep = running(), running(4)
    both = united(near, deep)
    assert (known(both.bids), both.horizon) == (known(deep.bids), deep.horizon)
    assert united(deep, near).horizon == deep.horizon
    assert united(near, replace(deep, horizon=None)) is near
    other = running_of([*BIDS[:1], ("9.4", "7"), *BIDS[2:]], 4)
    assert united(near, other) is near
    wide = running_of([*BIDS[:3], ("9.05", "93000000000")], 4)
    dust = running_of([*BIDS[:2], ("9.1", "0.00000001")], 2)
    assert united(dust, wide) is dust


def running(depth: int = 2) -> BookImage:
    """A book as of update id 10, known to `depth` levels a side."""
    return running_of(BIDS[:depth], depth)


def running_of(bids: list[tuple[str, str]], depth: int) -> BookImage:
    """A book with these bids."""
    book = Book()
    payload = snapshot_payload(bids, ASKS[:depth], 10)
    book.load(decode_spot_snapshot(payload, "X", depth))
    return image_of(book, "X")


def answer_at(update_id: int, *, bids: list[tuple[str, str]] = BIDS) -> DepthSnapshot:
    return decode_spot_snapshot(snapshot_payload(bids, ASKS, update_id), "X", 4)


def test_an_answer_of_the_same_update_id_needs_no_event() -> None:
    outcome = join(running(), [], answer_at(10))
    assert isinstance(outcome, Joined)
    assert outcome.image.horizon == Horizon(920_000_000, 990_000_000)
    assert len(outcome.image.bids.prices) == len(outcome.image.asks.prices) == 4


def test_an_answer_that_the_book_has_not_reached_waits() -> None:
    assert join(running(), [], answer_at(11)) == NotReached(11, 10)


def test_ids_have_to_reach_from_the_answer_to_the_book() -> None:
    assert join(running(), [], answer_at(7)) == EventsMissing(8)
    to_ten = decode_diff(diff_payload([], [], 9, 10))
    assert join(running(), [to_ten], answer_at(7)) == EventsMissing(8)
    to_eight = decode_diff(diff_payload([], [], 8, 8))
    assert join(running(), [to_eight], answer_at(7)) == EventsMissing(9)
    assert isinstance(join(running(), [to_eight, to_ten], answer_at(7)), Joined)
    # The answer may lie inside an event, which then counts as a whole.
    assert isinstance(join(running(), [to_ten], answer_at(9)), Joined)
    # Events that the book does not have yet are of no use.
    later = decode_diff(diff_payload([("9.45", "1")], [], 8, 11))
    assert join(running(), [later], answer_at(7)) == EventsMissing(8)


def test_an_answer_that_contradicts_the_book_is_not_joined() -> None:
    wrong = [BIDS[0], ("9.4", "7"), *BIDS[2:]]
    assert join(running(), [], answer_at(10, bids=wrong)) == Contradicted(940_000_000, 8, False)
    missing = [BIDS[0], *BIDS[2:]]
    assert join(running(), [], answer_at(10, bids=missing)) == Contradicted(940_000_000, 8, False)
    # Beyond the old horizon the answer is the only one that knows.
    more = [*BIDS[:2], ("9.35", "9"), *BIDS[2:]]
    assert isinstance(join(running(), [], answer_at(10, bids=more)), Joined)


def test_outcomes_say_what_happened() -> None:
    assert str(NotReached(11, 10)) == "an answer as of update id 11 is later than the book"
    assert str(EventsMissing(8)) == "the event of update id 8 is not at hand any more"
    assert str(Contradicted(940_000_000, 8, is_ask=False)) == (
        "the book and the exchange's answer differ at the bid 9.4"
    )
    assert "at the ask 9.4" in str(Contradicted(940_000_000, 8, is_ask=True))
    assert "not known how deep" in str(Unproven())


def test_nothing_is_joined_where_it_is_not_known_how_deep() -> None:
    unknown = decode_snapshot(snapshot_payload(BIDS, ASKS, 10), "X")
    assert join(running(), [], unknown) == Unproven()
    assert join(replace(running(), horizon=None), [], answer_at(10)) == Unproven()


def test_a_nearer_answer_takes_nothing_away() -> None:
    near = decode_spot_snapshot(snapshot_payload(BIDS[:1], ASKS[:1], 10), "X", 1)
    outcome = join(running(4), [], near)
    assert isinstance(outcome, Joined)
    assert known(outcome.image.bids) == known(running(4).bids)
    assert outcome.image.horizon == running(4).horizon


def test_scales_are_joined_exactly() -> None:
    finer = [*BIDS[:3], ("0.000000000001", "4")]
    outcome = join(running(), [], answer_at(10, bids=finer))
    assert isinstance(outcome, Joined)
    assert outcome.image.scale.price == 12
    assert outcome.image.bids.prices.tolist()[-1] == 1
    assert outcome.image.horizon == Horizon(1, 9_900_000_000_000, 12)
    # A quantity that fits no scale together with dust.
    dust = running_of([*BIDS[:2], ("9.1", "0.00000001")], 2)
    wide = answer_at(10, bids=[*BIDS[:3], ("9.05", "93000000000")])
    assert join(dust, [], wide) == Unproven()


@pytest.mark.parametrize(("bid", "ask"), [(99, 101), (41, 43), (157, 159)])
def test_a_best_price_far_from_its_edge_asks_for_nothing(bid: int, ask: int) -> None:
    policy, horizon = WideningPolicy(250, 6_000), Horizon(0, 200)
    policy.known("X", best(100, 100), horizon)
    assert not policy.wants("X", best(bid, ask), horizon, 0.0)


def best(bid: int | None, ask: int | None) -> BestOffer:
    return BestOffer(bid, None, ask, None)


@pytest.mark.parametrize(("bid", "ask"), [(40, 42), (-5, 3), (158, 160), (300, 305)])
def test_a_best_price_near_its_edge_asks(bid: int, ask: int) -> None:
    policy, horizon = WideningPolicy(250, 6_000), Horizon(0, 200)
    assert not policy.wants("X", best(bid, ask), horizon, 0.0)
    policy.known("X", best(100, 100), horizon)
    assert policy.wants("X", best(bid, ask), horizon, 0.0)
    # The scale of the book may change meanwhile.
    finer = best(bid * 10, ask * 10)
    assert policy.wants("X", finer, Horizon(0, 2_000, 9), 0.0)
    policy.forget("X")
    assert not policy.wants("X", best(bid, ask), horizon, 0.0)


def test_a_side_without_an_end_or_without_levels_asks_for_nothing() -> None:
    policy = WideningPolicy(250, 6_000)
    policy.known("X", best(100, 100), Horizon(None, 200))
    assert not policy.wants("X", best(1, 3), Horizon(None, 200), 0.0)
    assert not policy.wants("X", best(None, None), Horizon(None, 200), 0.0)
    assert not policy.wants("X", best(1, 199), None, 0.0)
    assert policy.wants("X", best(1, 199), Horizon(None, 200), 0.0)
    assert not policy.wants("X", best(None, 199), Horizon(None, 200), 0.0)
    policy.known("X", best(100, 100), None)
    assert not policy.wants("X", best(1, 199), Horizon(None, 200), 0.0)


def test_a_book_whose_sides_reach_unequally_far_is_asked_for_when_half_is_used_up() -> None:
    """The near edge is within a fifth of the range from the start: an answer brings no more."""
    policy, horizon = WideningPolicy(250, 6_000), Horizon(90, 200)
    policy.known("X", best(100, 100), horizon)
    assert not policy.wants("X", best(96, 97), horizon, 0.0)
    assert policy.wants("X", best(95, 97), horizon, 0.0)


def test_a_market_is_asked_for_at_most_every_five_minutes() -> None:
    policy, horizon = WideningPolicy(250, 6_000), Horizon(0, 200)
    policy.known("X", best(100, 100), horizon)
    assert policy.asked_at("X") < 0
    policy.asked("X", 1_000.0)
    assert policy.asked_at("X") == 1_000.0
    assert not policy.wants("X", best(1, 3), horizon, 1_299.9)
    assert policy.wants("X", best(1, 3), horizon, 1_300.0)
    # After an answer that brought nothing, the way that is left counts anew.
    policy.known("X", best(1, 3), horizon)
    assert not policy.wants("X", best(1, 3), horizon, 2_000.0)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200), st.sampled_from([25, 50, 250, 301]))
def test_all_markets_together_take_a_twentieth_of_the_weight(
    pauses: list[float], weight: int
) -> None:
    policy, horizon = WideningPolicy(weight, 6_000), Horizon(0, 200)
    now, asked = 0.0, list[float]()
    for number, pause in enumerate(pauses):
        now += pause
        market = f"M{number}"
        policy.known(market, best(100, 100), horizon)
        if policy.wants(market, best(1, 3), horizon, now):
            policy.asked(market, now)
            asked.append(now)
    for end in asked:
        assert weight * sum(end - 60 < at <= end for at in asked) <= 300
    assert bool(asked) == (weight <= 300)


@pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")
def test_joined_answers_in_the_real_capture_at_hundreds_of_moments() -> None:
    """The true book is the capture's snapshot of 1,000 levels; ours begins with 60 of them."""
    dice, sync, truth = random.Random(11), DepthSync(), ReferenceBook()
    answers: list[Answer] = []
    events: list[DepthDiff] = []
    waiting: tuple[DepthSnapshot, Answer, int] | None = None
    moments = joins = 0
    for line in capture_lines():
        if line.startswith(b'{"lastUpdateId"'):
            truth.take(line)
            first = best_of(truth, 60, json.loads(line)["lastUpdateId"])
            outcomes = list[object](
                sync.receive_snapshot(decode_spot_snapshot(first, "BTCUSDT", 60))
            )
            answers.append(Answer(first, 60))
        elif isinstance(message := decode_frame(line), DepthDiff):
            outcomes = list[object](sync.receive_diff(message))
        else:
            continue
        applied = [outcome.diff for outcome in outcomes if isinstance(outcome, Applied)]
        events += applied
        for diff in applied:
            truth.take(diff.payload)
        if not applied:
            continue
        if waiting is None and dice.random() < 0.02:
            depth = dice.randint(40, 600)
            payload = best_of(truth, depth, events[-1].final_id)
            snapshot = decode_spot_snapshot(payload, "BTCUSDT", depth)
            waiting = snapshot, Answer(payload, depth), dice.randint(0, 5)
        elif waiting is not None and not waiting[2]:
            outcome = join(image_of(sync.book, "BTCUSDT"), events, waiting[0])
            assert isinstance(outcome, Joined)
            image = outcome.image
            sync.book.widen(image.bids, image.asks, image.scale, image.horizon)
            answers.append(waiting[1])
            waiting, joins = None, joins + 1
        elif waiting is not None:
            waiting = *waiting[:2], waiting[2] - 1
        if dice.random() < 0.15:
            moments += 1
            check_known(sync.book, truth, answers, dice)
    assert joins > 20
    assert moments > 300


def check_known(
    book: Book, truth: ReferenceBook, answers: list[Answer], dice: random.Random
) -> None:
    """A price is inside if and only if an answer tells of it; there the book is the true one."""
    horizon = book.horizon
    assert horizon is not None
    for levels, side, is_ask in (
        (book.bids(), truth.bids, False),
        (book.asks(), truth.asks, True),
    ):
        ours = known(levels)
        true = {int(price * 10**8): int(size * 10**8) for price, size in side.items()}
        prices = true.keys() | ours.keys()
        for price in dice.sample(sorted(prices), 60):
            is_known = any(answer.tells_of(price, is_ask=is_ask) for answer in answers)
            assert horizon.knows(price, is_ask=is_ask) == is_known, price
        inside = [price for price in prices if horizon.knows(price, is_ask=is_ask)]
        assert {p: ours.get(p) for p in inside} == {p: true.get(p) for p in inside}


def best_of(truth: ReferenceBook, depth: int, update_id: int) -> bytes:
    """The exchange's answer with the best `depth` levels a side."""
    sides = [
        [(f"{price:.8f}", f"{size:.8f}") for price, size in side[:depth]] for side in truth.levels
    ]
    return snapshot_payload(sides[0], sides[1], update_id)
