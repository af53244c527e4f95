"""Merging what several files hold, and the sentence on a file that can't be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.received import (
    FileNotes,
    LeftOut,
    UnusableFile,
    in_order_of_time,
)


@given(st.lists(st.lists(st.integers(0, 20)), max_size=4))
def test_every_source_keeps_its_order(sources: list[list[int]]) -> None:
    timed = [[((time,), (at, n)) for n, time in enumerate(one)] for at, one in enumerate(sources)]
    merged = list(in_order_of_time(timed))
    for at, one in enumerate(sources):
        assert [item for item in merged if item[0] == at] == [(at, n) for n in range(len(one))]


@given(st.lists(st.lists(st.integers(0, 20)).map(sorted), max_size=4))
def test_sorted_sources_are_merged_by_time(sources: list[list[int]]) -> None:
    merged = list(in_order_of_time([((time,), time) for time in one] for one in sources))
    assert merged == sorted(time for one in sources for time in one)


def test_what_ties_is_ordered_by_more() -> None:
    one = [((5, 2), "b"), ((5, 4), "d")]
    other = [((5, 1), "a"), ((5, 3), "c")]
    assert "".join(in_order_of_time([one, other])) == "abcd"


def test_no_source_is_read_ahead() -> None:
    read = 0

    def endless() -> Iterator[tuple[tuple[int], int]]:
        nonlocal read
        while True:
            read += 1
            yield (read,), read

    merged = in_order_of_time([endless()])
    assert [next(merged) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert read <= 6


def test_the_sentence_names_file_and_line() -> None:
    path = Path("a.csv")
    assert str(UnusableFile(path, "is empty")) == "Nothing was imported: a.csv is empty."
    assert str(UnusableFile(path, "is wrong", 7)) == (
        "Nothing was imported: line 7 of a.csv is wrong."
    )


def test_what_is_broken_and_left_out_is_noted_by_file() -> None:
    notes, path = FileNotes(), Path("a.gz")
    told = [notes.note_break(path, line, "it ends") for line in range(1, 40)]
    assert told[1] == "a.gz is broken in line 2: it ends."
    assert notes.breaks == {path: told[:20]}
    for line in (7, 8):
        notes.leave_out(path, line, "a trade")
    assert notes.left_out == {path: LeftOut(2, 7, "a trade")}


def test_lines_of_streams_are_counted() -> None:
    notes, path = FileNotes(), Path("capture")
    for stream in ("bookTicker", "kline_1m", "bookTicker"):
        notes.leave_out_of_stream(path, stream)
    assert notes.streams == {path: {"bookTicker": 2, "kline_1m": 1}}
