"""Playing a recording in Python: its events in order, its books, and its pace."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import orderbook_desktop as od
from orderbook_desktop.app.python_api import RecordingReader
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.replay.playback import Playback, PlayedEvent
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.system.pace import Pace
from tests.app.command import run_command
from tests.core.reference_book import Pairs, pairs_of
from tests.core.test_real_capture import CAPTURE
from tests.exchange.local.true_book import capture_messages
from tests.formats.rebuild_tardis import books
from tests.storage.made_trades import asked, received
from tests.storage.recording_fixtures import ServerThread, Tape
from tests.storage.shelf import Shelf, Shelved
from tests.storage.trade_shelf import recorded as record_trades


def _levels(book: BookImage | None) -> tuple[Pairs, Pairs]:
    assert book is not None
    return pairs_of(book.bids), pairs_of(book.asks)


@pytest.fixture
def reader(server: ServerThread, database: Database) -> Iterator[Any]:
    """A function that opens the recording of a database that was filled meanwhile."""
    opened: list[RecordingReader] = []

    def open_it() -> RecordingReader:
        opened.append(od.open_recording("BTC/USDT", dsn=server.dsn, db_name=database.name))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()


async def _with_gap(database: Database) -> tuple[Shelved, Shelved]:
    tape = Tape()
    first = await Shelf(database).put(tape, 30, GapCause.SILENCE, "no word")
    tape.now_ms += 5_000
    tape.diffs(4)
    second = await Shelf(database).put(tape, 25)
    begin = first.events[0].event_ms
    trades = [
        asked(number, T=begin + 210 * number)
        if number % 3 == 0
        else received(number, (begin + 210 * number + 9) * 1_000_000, T=begin + 210 * number)
        for number in range(1, 50)
    ]
    await record_trades(database, trades)
    return first, second


async def test_events_come_in_order_with_their_books(database: Database, reader: Any) -> None:
    first, second = await _with_gap(database)
    events: list[PlayedEvent] = list(reader().play())
    depth = [event for event in events if not event.is_trade]
    known = [*first.events, *second.events]
    assert [event.payload for event in depth] == [event.payload for event in known]
    assert [(event.first_id, event.final_id, event.received_ns) for event in depth] == [
        (event.first_id, event.final_id, event.received_ns) for event in known
    ]
    assert [event.event_us for event in depth] == [event.event_ms * 1_000 for event in known]
    assert all(later.due_ns >= event.due_ns for event, later in pairwise(events))
    trades = [event.trade for event in events if event.is_trade]
    assert [trade.trade_id for trade in trades if trade] == list(range(1, 50))
    assert [trade.is_repaired for trade in trades if trade] == [at % 3 == 0 for at in range(1, 50)]
    assert all(event.trade is None for event in depth)
    # The gap is told, and the book is known on both sides of it only.
    opening = [event for event in depth if event.opens]
    assert [event.final_id for event in opening] == [
        first.events[0].final_id,
        second.events[0].final_id,
    ]
    assert opening[0].gap is None
    assert opening[1].gap == reader().gaps[0]
    assert sum(event.gap is not None for event in events) == 1
    for event in events:
        book = event.book()
        if not event.is_trade:
            assert book is not None
            assert book.last_update_id == event.final_id
        elif book is None:
            assert first.events[-1].event_ms <= event.event_us // 1_000
            assert event.event_us // 1_000 < second.events[0].event_ms
    for shelved in (first, second):
        played = next(event for event in depth if event.final_id == shelved.events[17].final_id)
        assert _levels(played.book()) == _levels(shelved.book_after(17))


async def test_a_part_is_played_in_the_order_of_the_exchange_s_times(
    database: Database, reader: Any
) -> None:
    first, _ = await _with_gap(database)
    begin, end = first.events[5].event_ms, first.events[20].event_ms
    events = list(reader().play(begin, end, order="exchange"))
    assert [event.due_ns for event in events] == [event.event_us * 1_000 for event in events]
    assert [event.final_id for event in events if not event.is_trade] == [
        event.final_id for event in first.events[5:20]
    ]
    assert all(begin * 1_000 <= event.event_us < end * 1_000 for event in events)
    # Its first book is that of before the part, to which the event belongs.
    assert _levels(events[0].book()) in (
        _levels(first.book_after(4)),
        _levels(first.book_after(5)),
    )


class _Clock:
    """A clock that stands still but for waiting."""

    def __init__(self, playback: Playback) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self._closed = playback._closed
        playback._pace = Pace(2.0, lambda: self.now)
        playback._closed = self  # type: ignore[assignment]

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False

    def is_set(self) -> bool:
        return self._closed.is_set()

    def set(self) -> None:
        self._closed.set()


async def test_each_event_comes_when_it_is_due(database: Database, reader: Any) -> None:
    first, _ = await _with_gap(database)
    playback = reader().play(to_ms=first.events[-1].event_ms, speed=2.0)
    clock = _Clock(playback)
    begun, origin = clock.now, next(playback).due_ns
    for event in playback:
        assert clock.now == pytest.approx(begun + (event.due_ns - origin) / 1e9 / 2)
        if event.final_id == first.events[10].final_id:
            # What is late is made up for.
            clock.now += 0.02
    assert len(clock.waits) > 20
    assert max(clock.waits) < 0.06


async def test_a_long_wait_is_several_short_ones(database: Database, reader: Any) -> None:
    first, _ = await _with_gap(database)
    playback = reader().play(first.events[0].event_ms, speed=2.0, order="exchange")
    clock = _Clock(playback)
    playback._pace = Pace(0.01, lambda: clock.now)
    begun, origin = clock.now, next(playback).due_ns
    event = next(one for one in playback if one.due_ns - origin >= 100_000_000)
    assert clock.now == pytest.approx(begun + (event.due_ns - origin) / 1e7)
    assert max(clock.waits) <= 1.0


async def test_a_playback_can_be_closed_while_it_waits(database: Database, reader: Any) -> None:
    await _with_gap(database)
    playback = reader().play(speed=1e-9)
    next(playback)
    ended = threading.Event()

    def follow() -> None:
        # Events that are due at the same time may come before.
        assert len(list(playback)) < 10
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    playback.close()
    thread.join(60)
    assert ended.is_set()
    with reader().play() as another:
        next(another)
    assert next(another, None) is None


async def test_what_is_no_speed_or_order_is_refused(database: Database, reader: Any) -> None:
    await _with_gap(database)
    for speed in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="is not a positive number"):
            reader().play(speed=speed)
    with pytest.raises(ValueError, match="no-order"):
        reader().play(order="no-order")


def _same_everywhere(reader: RecordingReader, exported: Path, sent: list[bytes]) -> int:
    """Texts are those that were sent; books of `play`, `book_at` and the export are equal.

    The books are compared at many moments by chance; returns how many these are.
    """
    depth = [event for event in reader.play() if not event.is_trade]
    assert [event.payload for event in depth] == sent[-len(depth) :]
    assert len(depth) > len(sent) * 0.9
    lasting = [one for one, later in pairwise(depth) if later.event_us > one.event_us]
    chosen = random.Random(5).sample(lasting, min(200, len(lasting)))
    events = {event.event_us: event for event in chosen}
    export = {
        time_us: (sorted(bids.items(), reverse=True), sorted(asks.items()))
        for time_us, bids, asks in books(exported)
        if time_us in events
    }
    for time_us, event in events.items():
        played, at = event.book(), reader.book_at(time_us // 1_000)
        assert played is not None
        assert played.last_update_id == at.last_update_id == event.final_id
        assert _levels(played) == _levels(at) == export[time_us]
    return len(events)


def _sent(path: Path) -> list[bytes]:
    """The texts of the depth events in a capture's lines."""
    texts = (text for _, text in capture_messages(path) if b"@depth" in text[:60])
    return [text.partition(b'"data":')[2][:-1] for text in texts]


@pytest.mark.parametrize(
    "real",
    [False, pytest.param(True, marks=pytest.mark.skipif(not CAPTURE.is_file(), reason="not here"))],
)
def test_books_and_texts_are_the_same_everywhere(
    server: ServerThread, database: Database, tmp_path: Path, real: bool
) -> None:
    path, csv = tmp_path / "capture", tmp_path / "book.csv.gz"
    if real:
        path = CAPTURE
    else:
        write_capture(path, seed=3, seconds=15, activity=0.1, snapshot_levels=100)
    where = ("--db-name", database.name)
    assert run_command(server.folder, "import", str(path), *where).returncode == 0
    form = ("--format", "tardis", "-o", str(csv))
    assert run_command(server.folder, "export", "BTC/USDT", *form, *where).returncode == 0
    with od.open_recording("BTC/USDT", dsn=server.dsn, db_name=database.name) as reader:
        assert _same_everywhere(reader, csv, _sent(path)) > 100
