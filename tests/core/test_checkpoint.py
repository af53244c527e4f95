from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import encode_image, image_of, roll_forward
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from tests.core.reference_book import (
    Change,
    ReferenceBook,
    TruthHistory,
    changes,
    diff_payload,
    shown,
    snapshot_payload,
)


def history_of(batches: list[list[Change]]) -> tuple[TruthHistory, list[DepthDiff]]:
    history, diffs = TruthHistory(), []
    for batch in batches:
        first = history.last_id + 1
        history.changes.extend(batch)
        diffs.append(decode_diff(history.diff(first, history.last_id)))
    return history, diffs


BATCHES = st.lists(st.lists(changes(), min_size=1, max_size=4), min_size=1, max_size=8)


@given(BATCHES, st.data())
def test_a_snapshot_rolled_forward_is_the_true_book(
    batches: list[list[Change]], data: st.DataObject
) -> None:
    history, diffs = history_of(batches)
    at = data.draw(st.integers(1, history.last_id))
    snapshot = decode_snapshot(history.snapshot(at), "BTCUSDT", event_ms=1)
    rolled = roll_forward(snapshot, diffs)
    assert rolled.last_update_id == history.last_id
    assert ReferenceBook().take(rolled.payload).levels == history.book_at(history.last_id).levels
    assert rolled.market == "BTCUSDT"
    assert rolled.event_ms == (1 if at == history.last_id else diffs[-1].event_ms)


def test_rolling_forward_stops_before_a_gap() -> None:
    snapshot = decode_snapshot(snapshot_payload([("1", "1")], [], 9), "X")
    spans = ((10, 11), (13, 14), (12, 15))
    diffs = [decode_diff(diff_payload([("2", str(a))], [], a, b)) for a, b in spans]
    rolled = roll_forward(snapshot, diffs)
    assert rolled.last_update_id == 11
    assert roll_forward(snapshot, diffs[1:]) is snapshot
    assert roll_forward(snapshot, []) is snapshot


def test_rolling_forward_knows_a_price_in_any_spelling() -> None:
    snapshot = decode_snapshot(snapshot_payload([("7.10", "1"), ("8", "1")], [], 9), "X")
    change = diff_payload([("7.1000000000", "0.00000000"), ("8.0", "3")], [], 10, 10)
    rolled = roll_forward(snapshot, [decode_diff(change)])
    assert ReferenceBook().take(rolled.payload).levels == (
        ReferenceBook().take(snapshot_payload([("8", "3")], [])).levels
    )


@given(BATCHES, st.sampled_from(["0.000000000001", "10000000000.5", "1.00000000"]))
def test_an_image_encodes_the_book_exactly(batches: list[list[Change]], odd: str) -> None:
    book, reference = Book(), ReferenceBook()
    for diff in (decode_diff(diff_payload([("0.5", odd)], [])), *history_of(batches)[1]):
        book.apply(diff)
        reference.take(diff.payload)
    image = image_of(book, "X")
    before = encode_image(image)
    book.apply(decode_diff(diff_payload([("3", "3")], [])))
    assert encode_image(image) == before
    again = Book()
    again.load(decode_snapshot(before, "X"))
    assert shown(again) == reference.levels
    assert again.last_update_id == image.last_update_id
