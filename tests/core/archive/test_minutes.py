"""Runs are cut into minutes that follow each other."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.archive import (
    closed_span,
    decode_chunk,
    encode_minutes,
    fitting_count,
    minute_of,
    same_book,
    verify_chunk,
)
from orderbook_desktop.core.archive import minutes as minutes_module
from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.events import DepthDiff, decode_diff
from tests.core.archive.runs import Run, run_of, spelt
from tests.core.reference_book import snapshot_payload

# A multiple of ten minutes.
BEGIN_MS = 1_700_000_400_000


def a_run(*after_ms: int) -> Run:
    """Return a run of events that happened so many ms after `BEGIN_MS`."""
    payloads = [
        spelt(n, n, BEGIN_MS + ms, [("1.00000000", f"{n}.00000000")], [])
        for n, ms in enumerate(after_ms, start=2)
    ]
    return run_of(snapshot_payload([], [], 1), [decode_diff(payload, 1) for payload in payloads])


def test_every_minute_is_a_chunk_that_begins_where_the_last_one_ended() -> None:
    run = a_run(0, 59_999, 60_000, 59_000, 119_999, 300_000)
    book = run.start
    events: list[DepthDiff] = []
    counts = []
    for chunk, after in encode_minutes(run.start, run.events):
        decoded = decode_chunk(chunk)
        assert not list(verify_chunk(decoded, book))
        assert same_book(decoded.final_book(), after)
        book = after
        events.extend(decoded.diffs())
        counts.append(chunk.header.event_count)
    assert events == run.events
    # The event whose time goes back stays behind the one before it.
    assert counts == [2, 3, 1]


def test_a_chunk_may_cover_several_minutes() -> None:
    run = a_run(0, 60_000, 299_999, 300_000)
    chunks = [chunk for chunk, _ in encode_minutes(run.start, run.events, minutes=5)]
    assert [chunk.header.event_count for chunk in chunks] == [3, 1]


def test_no_events_make_no_chunks() -> None:
    assert not list(encode_minutes(a_run().start, []))


def test_a_chunk_that_lost_something_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes_module, "reproduces", lambda *_: False)
    run = a_run(0)
    with pytest.raises(BugError, match="update id 2"):
        list(encode_minutes(run.start, run.events))


def test_minutes_are_those_of_the_epoch() -> None:
    assert [minute_of(ms) for ms in (0, 59_999, 60_000)] == [0, 0, 1]


def test_the_next_chunk_ends_with_its_minute() -> None:
    run = a_run(0, 59_999, 58_000, 60_000, 120_000)
    assert closed_span(run.events, levels=1) == 3
    assert closed_span(run.events[3:], levels=1) == 1
    # More of this minute may come.
    assert closed_span(run.events[4:], levels=1) == 0
    assert closed_span(run.events[4:], levels=1, is_all=True) == 1
    assert closed_span([], levels=1) == closed_span([], levels=1, is_all=True) == 0


def test_calm_minutes_share_a_chunk_until_the_clock_reaches_a_multiple_of_ten() -> None:
    run = a_run(*range(8 * 60_000, 12 * 60_000, 30_000))
    assert closed_span(run.events, levels=100) == 4
    assert closed_span(run.events[4:], levels=100) == 0
    # As soon as there are as many changes as levels, the minute is the last one.
    assert closed_span(run.events[4:], levels=3) == 0
    assert closed_span(run.events[4:], levels=2) == 2


@pytest.mark.parametrize("jump_ms", [10**13, -100_000, 0])
def test_a_clock_that_jumps_or_stands_still_does_not_keep_a_chunk_open(jump_ms: int) -> None:
    begin = 10**6
    run = a_run(begin, begin + jump_ms, *[begin + 1] * 20_010)
    count = closed_span(run.events, levels=1)
    assert count in (1, 10_000)
    assert closed_span(run.events[count:], levels=1) == 10_000


# Each of these may be in a book, and in a chunk, but not both.
WIDE, DUST = "93000000000.00000000", "0.00000001"


def changing(*quantities: str) -> Run:
    """Return a run in one minute whose events set the only bid to these quantities."""
    payloads = [
        spelt(n, n, BEGIN_MS + n, [("1.00000000", quantity)], [])
        for n, quantity in enumerate(quantities, start=2)
    ]
    run = run_of(snapshot_payload([], [], 1), [decode_diff(payload, 1) for payload in payloads])
    assert not all(event.plain for event in run.events)
    return run


def test_a_minute_that_no_scale_holds_is_several_chunks() -> None:
    run = changing(WIDE, "1.00000000", DUST, "0.00000000", WIDE, "3.00000000")
    chunks = [chunk for chunk, _ in encode_minutes(run.start, run.events)]
    assert [chunk.header.event_count for chunk in chunks] == [2, 2, 2]
    events: list[DepthDiff] = []
    book = run.start
    for chunk in chunks:
        decoded = decode_chunk(chunk)
        assert not list(verify_chunk(decoded, book))
        book = decoded.final_book()
        events.extend(decoded.diffs())
    assert events == run.events


def test_how_many_events_fit_into_a_chunk() -> None:
    run = changing(*[WIDE] * 50, *["1.00000000"] * 50, *[DUST] * 50)
    assert fitting_count(run.start, run.events) == 100
    assert fitting_count(run.start, run.events[:100]) == 100
    assert fitting_count(run.start, run.events[100:]) == 50
    impossible = changing("1" * 23 + ".00000000")
    assert fitting_count(impossible.start, impossible.events) == 0
    with pytest.raises(InexactValue):
        list(encode_minutes(impossible.start, impossible.events))
