"""Values that no scale holds beside the others: where recording ends and begins anew by itself."""

from __future__ import annotations

import json

import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.segment_reader import WideEvents
from orderbook_desktop.storage.recorder.market_sink import MarketSink
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import AT_ONCE, archiver_of, held_in
from tests.storage.recording_fixtures import Tape, running, segments_of, started

FAR, DUST, WIDE = "1.00000000", "0.00000001", "93000000000.00000000"


def setting(tape: Tape, quantity: str, price: str = FAR) -> DepthDiff:
    """The tape's next event, which sets a far bid that its own book doesn't know."""
    first, tape.last_id = tape.last_id + 1, tape.last_id + 1
    tape.now_ms += tape.step_ms
    event = {"e": "depthUpdate", "E": tape.now_ms, "s": tape.market, "U": first, "u": first}
    payload = json.dumps({**event, "b": [[price, quantity]], "a": []}, separators=(",", ":"))
    return decode_diff(payload.encode(), tape.now_ms * 1_000_000 + 1)


class Careless:
    """What an earlier version did: it recorded every event, whether a scale holds it or not."""

    def __init__(self, sink: MarketSink, tape: Tape) -> None:
        self.sink = sink
        self.book = Book()
        self.book.load(tape.snapshot())
        sink.opened(tape.snapshot())

    def diffs(self, *diffs: DepthDiff) -> None:
        for diff in diffs:
            self.sink.received(diff)
            self.book.apply(diff)
            self.sink.applied(diff, self.book)


@pytest.mark.expects_log("a value was too wide to be held")
async def test_a_segment_ends_at_the_value_and_the_next_begins_without_it(
    database: Database,
) -> None:
    tape = Tape(step_ms=10_000)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        before = [*tape.diffs(20), setting(tape, DUST, "2.00000000")]
        amid = [setting(tape, WIDE), *tape.diffs(10), setting(tape, "0.00000000")]
        after = tape.diffs(20)
        feed.diffs(*before, *amid, *after)
        assert recorder.sink("BTCUSDT").counts.gaps == 1
    for _ in range(2):
        verified = await verify(database, "BTCUSDT")
        assert (verified.fault, verified.segments, verified.loose_events) == (None, 2, 12)
        (gap,) = verified.timeline.gaps
        assert (gap.cause, gap.from_ms, gap.to_ms) == (
            GapCause.TOO_WIDE,
            before[-1].event_ms,
            amid[-1].event_ms,
        )
        await archiver_of(database).catch_up()
    held = await held_in(database)
    assert (held.archived, held.loose, held.raw) == ([*before, *after], amid, [])


@pytest.mark.expects_log("a segment ends earlier than stored")
@pytest.mark.parametrize("number", [0, 1, 200])
@pytest.mark.parametrize("goes_back", [False, True])
async def test_what_an_earlier_version_recorded_is_readable_up_to_the_value(
    database: Database, number: int, goes_back: bool
) -> None:
    # No checkpoint is due after the value.
    tape = Tape(step_ms=1_000)
    async with running(Recorder(database)) as recorder:
        feed = Careless(recorder.sink("BTCUSDT"), tape)
        before = [setting(tape, DUST, "2.00000000"), *tape.diffs(number - 1)] if number else []
        if goes_back:
            tape.now_ms -= 25_000
            before += tape.diffs(2)
        both = setting(tape, WIDE if number else "1" * 23)
        rest = tape.diffs(30)
        feed.diffs(*before, both, *rest)
    verified = await verify(database, "BTCUSDT")
    assert "`record` or the window, once started, ends the segment there" in str(verified.fault)
    with pytest.raises(WideEvents):
        await Recording(database, "BTCUSDT").book_at(rest[-1].event_ms)
    archiver = Archiver(database, pace=0.0, times=AT_ONCE)
    for _ in range(3):
        await archiver.catch_up()
    assert archiver.problem == ""
    verified = await verify(database, "BTCUSDT")
    assert (verified.fault, verified.events) == (None, len(before))
    assert verified.loose_events == 31
    (segment,) = await segments_of(database)
    assert (segment["end_cause"], segment["to_archive"]) == ("value too wide", False)
    assert segment["end_detail"].startswith(f"At update id {both.final_id} the value ")
    held = await held_in(database)
    assert (held.archived, held.loose, held.raw) == (before, [both, *rest], [])
    if before:
        (gap,) = verified.timeline.gaps
        assert (gap.cause, gap.to_ms) == (GapCause.TOO_WIDE, rest[-1].event_ms)
        book = await Recording(database, "BTCUSDT").book_at(verified.timeline.covers[0].to_ms)
        assert book.last_update_id == before[-1].final_id
