"""The same book everywhere: live, as replayed, in `/api/book`, in Python, and in an export."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import arro3.io
import httpx
import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop import open_recording
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.tape import TapeTrade
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.storage.exports.recording_export import RecordingExport, export_recording
from orderbook_desktop.web.options import WebOptions
from tests.core.reference_book import Pairs, ReferenceBook, pairs_of, shown
from tests.desk.one_desk import one_desk, played, running
from tests.gui.pane_of import ladder_of
from tests.storage.processes import eventually
from tests.web.conftest import asking

_EVENTS = 25
_MOMENTS = 25
_Levels = tuple[Pairs, Pairs]

pytestmark = [
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: no snapshot: Nothing records"),
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: Update ids \d+ to \d+ are missing"),
]


class _Seen:
    """What the live window showed: the book after each update id."""

    def __init__(self, desk: LiveDesk) -> None:
        self._desk = desk
        self.books: dict[int, BookImage] = {}
        desk.call_on_change(self._note)

    def _note(self) -> None:
        look = self._desk.source.look()
        if look.replay is None and look.status.state is FeedState.SYNCED:
            self.books[look.book.last_update_id] = image_of(look.book, "BTCUSDT")


def _levels(image: BookImage) -> _Levels:
    scale = image.scale
    bids, asks = (pairs_of(s, scale.price, scale.quantity) for s in (image.bids, image.asks))
    return bids, asks


def _in_python(
    settings: Settings, dsn: str, ids: Collection[int]
) -> tuple[dict[int, _Levels], list[tuple[int, Trade]]]:
    """The books that a program reads, and the trades, each with when it is due."""
    found: dict[int, _Levels] = {}
    trades: list[tuple[int, Trade]] = []
    with open_recording("BTC/USDT", dsn=dsn, db_name=settings.db_name) as recording:
        for event in recording.play():
            if event.trade is not None:
                trades.append((event.due_ns, event.trade))
            elif event.final_id in ids:
                book = event.book()
                assert book is not None
                found[event.final_id] = _levels(book)
    return found, trades


def _in_file(path: Path, ids: Collection[int]) -> dict[int, _Levels]:
    """The books that the rows of an export add up to."""
    table: Any = arro3.io.read_parquet(path).read_all()
    names = ("final_update_id", "is_snapshot", "side", "price", "quantity")
    book, found, was_snapshot, before = ReferenceBook(), {}, False, 0
    for final_id, is_snapshot, side, price, quantity in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        if before != final_id and before in ids:
            found[before] = book.levels
        if is_snapshot and not was_snapshot:
            book = ReferenceBook()
        book.change(book.bids if side == "bid" else book.asks, price, quantity)
        was_snapshot, before = is_snapshot, final_id
    found[before] = book.levels
    return found


async def _asked(client: httpx.AsyncClient, update_id: int, at_ms: int | None) -> dict[str, Any]:
    """What `/api/book` says once it is at an update id, and at a time of the replay."""
    while True:
        answer: dict[str, Any] = (await client.get("/api/book?depth=10000")).json()
        if answer["lastUpdateId"] >= update_id and answer.get("replayTime") == at_ms:
            return answer
        await asyncio.sleep(0.005)


def _levels_of(answer: dict[str, Any]) -> _Levels:
    bids, asks = (
        [(Decimal(price), Decimal(size)) for price, size in answer[side]]
        for side in ("bids", "asks")
    )
    return bids, asks


class _Replayed:
    """What a replay showed at many moments, in the window and to programs.

    `newest` are, by the time of the clock, the ids of the newest trade: on the tape, for programs.
    """

    def __init__(self, replay: Replay, client: httpx.AsyncClient, window: MainWindow) -> None:
        self._replay, self._client, self._window = replay, client, window
        self.books: dict[int, _Levels] = {}
        self.newest: dict[int, list[int | None]] = {}
        self.trades: dict[int, TapeTrade] = {}

    async def go_to(self, at_ns: int) -> None:
        """Seek a time, and compare window and programs with the replay there."""
        self._replay.seek(at_ns)
        await eventually(lambda: self._replay.status.seeking_ns is None)
        look, at_ns = self._replay.look(), self._replay.status.at_ns
        update_id, levels = look.book.last_update_id, shown(look.book)
        self.books[update_id] = levels
        answer = await _asked(self._client, update_id, at_ns // 1_000_000)
        assert (answer["lastUpdateId"], answer["status"]) == (update_id, "replay")
        assert _levels_of(answer) == levels
        self._window.bridge.look()
        frame = ladder_of(self._window).model.frame
        assert frame is not None
        scale = frame.format.scale
        sides = (pairs_of(s, scale.price, scale.quantity) for s in (frame.bids, frame.asks))
        assert (frame.update_id, *sides) == (update_id, *levels)
        assert look.tape is not None
        told = (await self._client.get("/api/trades?limit=1")).json()["trades"] or [{}]
        self.newest[at_ns] = [look.tape.newest_id, told[-1].get("id")]
        self.trades.update((trade.trade_id, trade) for trade in look.tape.since(-1))


async def test_at_equal_update_ids_all_books_are_equal(
    settings: Settings, tmp_path: Path, qapp: QApplication
) -> None:
    desk, rng = one_desk(settings, kind=SourceKind.DIRECT), random.Random(3)
    store = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(desk, Preferences(store), qapp, panes=PANES)
    async with running(desk), asking(library_of_desk(desk), WebOptions()) as client:
        seen = _Seen(desk)
        await eventually(lambda: desk.recording.counts.events > _EVENTS)
        replay = await played(desk, at=0)
        replayed, timeline = _Replayed(replay, client, window), replay.coverage.timeline
        for _ in range(_MOMENTS):
            await replayed.go_to(rng.randrange(timeline.from_ms, timeline.to_ms) * 1_000_000)
        desk.leave_replay()
        live_id = desk.source.look().book.last_update_id
        assert live_id > max(replayed.books)
        assert (await _asked(client, live_id, None))["status"] == "synced"
        both = seen.books.keys() & replayed.books.keys()
        assert len(both) > 5
        for update_id in both:
            assert _levels(seen.books[update_id]) == replayed.books[update_id]
        live_tape = desk.source.look().tape
        assert live_tape is not None
        assert replayed.trades
        assert replayed.trades.items() <= {one.trade_id: one for one in live_tape.since(-1)}.items()
        await _compare_stored(desk, settings, tmp_path / "book.parquet", replayed)
    window.finish_close()


async def _compare_stored(
    desk: LiveDesk, settings: Settings, path: Path, replayed: _Replayed
) -> None:
    """An export and a program that reads the database agree with the replay."""
    engine = desk.program.engine
    job = RecordingExport("BTC/USDT", "BTCUSDT", ExportFormat.PARQUET, path)
    await export_recording(engine.database, job, lambda _done: None)
    assert _in_file(path, replayed.books).items() >= replayed.books.items()
    books, trades = await asyncio.to_thread(_in_python, settings, engine.dsn, replayed.books)
    # The book with which the recording begins belongs to no event.
    assert books == {one: replayed.books[one] for one in books}
    assert replayed.books.keys() - books.keys() <= {min(replayed.books)}
    for at_ns, ids in replayed.newest.items():
        due = [trade.trade_id for due_ns, trade in trades if due_ns <= at_ns]
        assert ids == [due[-1] if due else None] * 2
