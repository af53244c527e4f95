"""The library's entries and jobs as a person reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.library_jobs import (
    ALL,
    EntryKey,
    Job,
    JobKind,
    JobState,
    LibraryEntry,
    LibraryFile,
    Span,
    gap_columns,
)
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline

_BEGIN_MS = 1_723_100_000_250


def timeline(*lengths: int) -> Timeline:
    """Covers and gaps of these lengths in turns, a cover first."""
    covers, gaps, at = [], [], _BEGIN_MS
    for number, length in enumerate(lengths):
        if number % 2:
            gaps.append(Gap(at, at + length, number, number, GapCause.CRASH, ""))
        else:
            covers.append(Cover(str(number), number, number, at, at + length))
        at += length
    return Timeline(tuple(covers), tuple(gaps))


def entry(of: Timeline, trade_span_ms: tuple[int, int] | None = None) -> LibraryEntry:
    gaps = RecordedGaps.of(of.gaps, 0)
    key = EntryKey("BTCUSDT")
    return LibraryEntry(key, "BTC/USDT", of, 1, 2, 3, gaps, trade_span_ms=trade_span_ms)


def test_the_covered_share_is_the_whole_only_without_a_gap() -> None:
    told = {
        timeline(1_000): "100 %",
        timeline(0): "100 %",
        timeline(10**9, 1, 10**9): "99.99 %",
        timeline(50, 50): "50.00 %",
        timeline(1, 10**6, 2): "0.00 %",
        timeline(5, 0, 5): "99.99 %",
        Timeline((), ()): "",
    }
    assert {of: entry(of).covered_text for of in told} == told


def test_the_span_is_that_of_the_book_or_else_of_the_trades() -> None:
    trades = _BEGIN_MS - 5, _BEGIN_MS + 5
    assert entry(timeline(9), trades).span_ms == (_BEGIN_MS, _BEGIN_MS + 9)
    assert entry(Timeline((), ()), trades).span_ms == trades
    assert entry(Timeline((), ())).span_ms is None


def test_a_gap_is_in_each_column_that_it_meets() -> None:
    assert gap_columns(timeline(50, 25, 25), 4) == bytes([0, 0, 1, 1])
    assert gap_columns(timeline(500, 1, 499), 4) == bytes([0, 0, 1, 0])
    assert gap_columns(timeline(10, 0, 90), 10) == bytes([0, 1, *[0] * 8])
    assert gap_columns(timeline(100, 30), 2) == bytes([0, 1])
    assert gap_columns(timeline(100), 3) == bytes(3)
    assert gap_columns(Timeline((), ()), 3) == bytes(3)
    assert gap_columns(timeline(1, 1, 1), 0) == b""


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 20))
def test_columns_of_gaps_are_those_of_each_gap_alone(lengths: list[int], columns: int) -> None:
    whole = timeline(*lengths)
    expected = bytearray(columns)
    width = max(1, whole.to_ms - whole.from_ms)
    for gap in whole.gaps:
        first = min(columns - 1, (gap.from_ms - _BEGIN_MS) * columns // width)
        last = min(columns - 1, (gap.to_ms - _BEGIN_MS) * columns // width)
        expected[first : last + 1] = b"\1" * (last + 1 - first)
    assert gap_columns(whole, columns) == bytes(expected)


def test_a_job_says_what_it_does_and_how_it_ended() -> None:
    job = Job(1, JobKind.VERIFY, "BTC/USDT")
    assert job.text == "Verifying BTC/USDT: waiting"
    running = Job(1, JobKind.VERIFY, "BTC/USDT", JobState.RUNNING)
    assert running.text == "Verifying BTC/USDT"
    reading = Job(1, JobKind.IMPORT, "a.gz", JobState.RUNNING, step="reading")
    assert reading.text == "Importing a.gz: reading"
    done = Job(1, JobKind.VERIFY, "BTC/USDT", JobState.DONE, sentence="BTC/USDT holds.")
    assert done.text == "BTC/USDT holds."
    assert [state for state in JobState if state.is_over] == [
        *(JobState.DONE, JobState.FAILED, JobState.STOPPED)
    ]


def test_a_span_without_limits_is_all() -> None:
    assert ALL.is_all
    assert not Span(5).is_all
    assert not Span(to_ms=5).is_all


def test_a_file_has_a_name() -> None:
    assert LibraryFile("/somewhere/week.obd", 5, ()).name == "week.obd"
