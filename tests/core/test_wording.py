"""Words of sentences."""

from __future__ import annotations

from orderbook_desktop.core.wording import counted, listed


def test_counts_in_words() -> None:
    assert [counted(count, "event") for count in (0, 1, 2_000)] == [
        "0 events",
        "1 event",
        "2,000 events",
    ]
    belonging = [counted(count, "event belongs", "events belong") for count in (1, 2)]
    assert belonging == ["1 event belongs", "2 events belong"]


def test_texts_are_listed_as_in_a_sentence() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], ", and ")] == [
        *("a", "a and b", "a, b, and c")
    ]
