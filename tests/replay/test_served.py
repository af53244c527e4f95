"""A recording served as an exchange: to plain clients, and to ccxt's own order-book code."""

from __future__ import annotations

import asyncio
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.exceptions import ConnectionClosed

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.exchange.local.source import StreamEvent
from orderbook_desktop.replay.served import NothingToPlay, Play, RecordedSource, serve_recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from tests.core.reference_book import pairs_of
from tests.exchange.local.client import get_json, next_json, streams, until_closed
from tests.exchange.local.true_book import TrueBook
from tests.storage.made_trades import asked, received
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved
from tests.storage.trade_shelf import recorded

_MARKET = "BTCUSDT"
_BOTH = "/stream?streams=btcusdt@depth@100ms/btcusdt@aggTrade"
_DEPTH = f"/api/v3/depth?symbol={_MARKET}&limit=5000"
_MAX = Play(speed=math.inf, delay_s=0)


def _source(database: Database, play: Play = _MAX, gaps: list[Gap] | None = None) -> RecordedSource:
    told: list[Gap] = [] if gaps is None else gaps
    return RecordedSource(DatabaseStore(database), _MARKET, play, told.append)


def _served(
    database: Database, play: Play = _MAX, gaps: list[Gap] | None = None, *, stays: bool = False
) -> LocalExchange:
    return serve_recording(_source(database, play, gaps), "127.0.0.1", 0, stays=stays)


async def _put(database: Database, tape: Tape, count: int, cause: GapCause) -> Shelved:
    return await Shelf(database).put(tape, count, cause)


def _trades(events: list[DepthDiff], first_id: int = 1) -> list[Trade]:
    """Eight trades in the time of `events`, every third of them repaired."""
    begin = events[0].event_ms
    made = []
    for number in range(8):
        at = begin + 130 * number
        text: dict[str, Any] = {"T": at, "q": f"0.{number + 1:08}"}
        trade_id = first_id + number
        made.append(
            asked(trade_id, **text)
            if number % 3 == 2
            else received(trade_id, (at + 7) * 1_000_000, E=at + 2, **text)
        )
    return made


def sent_text(trade: Trade) -> bytes:
    """What is sent for a trade: its text, or for a repaired one that of an event at its time."""
    if not trade.is_repaired:
        return trade.payload
    row = trade.payload.removeprefix(b"{")
    return b'{"e":"aggTrade","E":%d,"s":"%s",%s' % (trade.event_ms, trade.market.encode(), row)


def _levels(book: BookImage) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    bids, asks = (dict(pairs_of(side)) for side in (book.bids, book.asks))
    return bids, asks


async def _frames(websocket: Any) -> list[bytes]:
    """All frames until the socket is closed as at the end of a play."""
    frames = []
    try:
        while True:
            frames.append(await websocket.recv(decode=False))
    except ConnectionClosed as error:
        closed = error
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1001
    return frames


async def test_payloads_are_sent_byte_for_byte(database: Database) -> None:
    shelved = await _put(database, Tape(), 30, GapCause.USER)
    trades = _trades(shelved.events)
    await recorded(database, trades)
    async with asyncio.timeout(60), _served(database) as exchange:
        async with streams(exchange, _BOTH) as websocket:
            frames = await _frames(websocket)
        await exchange.finished()
    names = (
        b'{"stream":"btcusdt@depth@100ms","data":%s}',
        b'{"stream":"btcusdt@aggTrade","data":%s}',
    )
    depth, traded = (
        [frame for frame in frames if frame.startswith(name.partition(b",")[0])] for name in names
    )
    assert depth == [names[0] % event.payload for event in shelved.events]
    assert traded == [names[1] % sent_text(trade) for trade in trades]
    # A repaired trade comes right before the first event that is not earlier.
    texts = [json.loads(frame)["data"] for frame in frames]
    at = next(number for number, text in enumerate(texts) if text.get("a") == 3)
    assert texts[at + 1]["E"] >= texts[at]["T"] > texts[at - 1]["E"]


async def test_raw_streams_have_the_bare_payloads_under_both_names(database: Database) -> None:
    shelved = await _put(database, Tape(), 12, GapCause.USER)
    both = "/ws/btcusdt@depth/btcusdt@depth@100ms"
    async with (
        asyncio.timeout(60),
        _served(database) as exchange,
        streams(exchange, both) as websocket,
    ):
        texts = await _frames(websocket)
    assert texts == [event.payload for event in shelved.events for _ in range(2)]


async def test_rest_serves_the_book_after_the_last_event(database: Database) -> None:
    shelved = await _put(database, Tape(), 25, GapCause.USER)
    trades = _trades(shelved.events)
    await recorded(database, trades)
    async with asyncio.timeout(60), _served(database, stays=True) as exchange:
        before = await get_json(exchange, _DEPTH)
        async with streams(exchange, _BOTH) as websocket:
            await exchange.finished()
            after = await get_json(exchange, _DEPTH)
            info = await get_json(exchange, f"/api/v3/exchangeInfo?symbol={_MARKET}")
            rows = await get_json(exchange, f"/api/v3/aggTrades?symbol={_MARKET}&fromId=1")
            await next_json(websocket)  # It stays open.
    for answer, book in ((before, shelved.base), (after, shelved.book_after(24))):
        assert answer["lastUpdateId"] == book.last_update_id
        for side, levels in zip(("bids", "asks"), (book.bids, book.asks), strict=True):
            found = [(Decimal(price), Decimal(size)) for price, size in answer[side]]
            assert found == pairs_of(levels)
    filters = {one["filterType"]: one for one in info["symbols"][0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00000001"
    assert [row["a"] for row in rows] == [trade.trade_id for trade in trades]


async def test_it_begins_when_a_program_subscribes_unless_it_is_to_begin_at_once(
    database: Database,
) -> None:
    shelved = await _put(database, Tape(), 5, GapCause.USER)
    async with asyncio.timeout(60), _served(database, stays=True) as exchange:
        assert (await get_json(exchange, "/control/state"))["played"] == 0
        async with streams(exchange, "/ws/ethusdt@depth@100ms"):
            await get_json(exchange, "/api/v3/ping")
            assert (await get_json(exchange, "/control/state"))["played"] == 0
        async with streams(exchange, "/ws/btcusdt@aggTrade"):
            await exchange.finished()
    at_once = replace(_MAX, waits=False)
    async with asyncio.timeout(60), _served(database, at_once, stays=True) as exchange:
        await exchange.finished()
        state = await get_json(exchange, "/control/state")
    assert state["played"] == 5
    assert state["updateIds"] == {_MARKET: shelved.last_id}


async def _follow(exchange: LocalExchange, until: int) -> tuple[TrueBook, list[int | None]]:
    """A client by the rules, which begins anew where its socket is closed, until an update id.

    Returns its book, and the codes by which sockets were closed.
    """
    codes: list[int | None] = []
    while True:
        async with streams(exchange, "/ws/btcusdt@depth@100ms") as websocket:
            book = TrueBook(await get_json(exchange, _DEPTH))
            code = await _applied(book, websocket, until)
        if book.last_update_id == until:
            return book, codes
        codes.append(code)


async def _applied(book: TrueBook, websocket: Any, until: int) -> int | None:
    while book.last_update_id < until:
        try:
            book.apply(json.loads(await websocket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
    return None


async def _with_gap(database: Database, gap_ms: int) -> tuple[Shelved, Shelved]:
    tape = Tape()
    first = await _put(database, tape, 20, GapCause.DISCONNECT)
    tape.now_ms += gap_ms
    tape.diffs(3)
    return first, await _put(database, tape, 20, GapCause.USER)


@pytest.mark.parametrize(
    ("speed", "skips", "gap_ms"),
    [(40.0, False, 4_000), (40.0, True, 3_600_000), (math.inf, False, 3_600_000)],
)
async def test_at_a_gap_clients_are_cut_off_and_take_the_book_behind_it(
    database: Database, speed: float, skips: bool, gap_ms: int
) -> None:
    first, second = await _with_gap(database, gap_ms)
    gaps: list[Gap] = []
    play = Play(speed=speed, skips_gaps=skips, delay_s=0.1)
    async with asyncio.timeout(60), _served(database, play, gaps, stays=True) as exchange:
        book, codes = await _follow(exchange, second.last_id)
    assert codes == [1012]
    assert (book.bids, book.asks) == _levels(second.book_after(19))
    (gap,) = gaps
    assert gap.cause is GapCause.DISCONNECT
    assert gap.first_missing == first.last_id + 1


@pytest.mark.parametrize("skips", [True, False])
async def test_the_first_book_behind_a_gap_is_served_before_the_next_event(
    database: Database, skips: bool
) -> None:
    """Also where the gap takes its time: it is over before the clients are ready."""
    _, second = await _with_gap(database, 3_000)
    play = Play(speed=1_000.0, skips_gaps=skips)
    async with asyncio.timeout(60):
        exchange = serve_recording(source := _source(database, play), "127.0.0.1", 0, stays=True)
        async with exchange:
            async with streams(exchange, "/ws/btcusdt@depth") as websocket:
                assert (await until_closed(websocket))[1] == 1012
            # From now on the play waits for an hour.
            source._play = replace(play, delay_s=3_600)
            async with streams(exchange, "/ws/btcusdt@depth"):
                answer = await get_json(exchange, _DEPTH)
            assert answer["lastUpdateId"] == second.base.last_update_id
            assert source.counts.events == 20


async def test_a_gap_in_which_the_play_is_to_begin_is_told(database: Database) -> None:
    first, second = await _with_gap(database, 3_600_000)
    gaps: list[Gap] = []
    play = replace(_MAX, from_ms=first.events[-1].event_ms + 1_000, waits=False)
    source = _source(database, play, gaps)
    async with asyncio.timeout(60), serve_recording(source, "127.0.0.1", 0, stays=True) as exchange:
        await exchange.finished()
    assert [gap.first_missing for gap in gaps] == [first.last_id + 1]
    assert (source.counts.events, source.counts.gaps) == (20, 0)
    assert source.progress == 1
    assert source.reached_ms == second.events[-1].event_ms


async def test_a_time_that_lies_in_a_gap_is_refused(database: Database) -> None:
    first, second = await _with_gap(database, 3_600_000)
    gaps: list[Gap] = []
    begin, end = first.events[-1].event_ms + 1_000, second.events[0].event_ms
    told = r"BTC/USDT from .* to .*: all of it lies in the gap from .* to .* \(.*\)\.$"
    for to_ms in (end - 1_000, end):
        with pytest.raises(NothingToPlay, match=told):
            async with _served(database, replace(_MAX, from_ms=begin, to_ms=to_ms), gaps):
                pass
    assert not gaps
    # Trades were recorded meanwhile.
    times = range(begin, begin + 8)
    trades = [received(at, time * 1_000_000, T=time) for at, time in enumerate(times, 1)]
    await recorded(database, trades)
    play = replace(_MAX, from_ms=begin, to_ms=end - 1_000)
    async with (
        asyncio.timeout(60),
        _served(database, play, gaps) as exchange,
        streams(exchange, _BOTH) as websocket,
    ):
        assert len(await _frames(websocket)) == 8
    assert len(gaps) == 1


async def test_amid_a_gap_no_book_is_served(database: Database) -> None:
    first, _ = await _with_gap(database, 3_600_000)
    async with asyncio.timeout(60), _served(database, Play(speed=10.0, delay_s=0)) as exchange:
        async with streams(exchange, "/ws/btcusdt@depth") as websocket:
            messages, code = await until_closed(websocket)
        assert (len(messages), code) == (20, 1012)
        asking = asyncio.create_task(get_json(exchange, _DEPTH))
        state = await get_json(exchange, "/control/state")
        assert state["updateIds"] == {_MARKET: first.last_id}
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_trades_of_long_before_the_first_book_are_played_without_one(
    database: Database,
) -> None:
    shelved = await _put(database, Tape(), 5, GapCause.USER)
    begin = shelved.events[0].event_ms - 3_600_000
    trades = [
        received(number, (begin + number) * 1_000_000, T=begin + number) for number in range(1, 9)
    ]
    await recorded(database, trades)
    play = Play(speed=10.0, delay_s=0)
    async with asyncio.timeout(60), _served(database, play, stays=True) as exchange:
        async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
            texts = [await next_json(websocket) for _ in trades]
        assert [text["a"] for text in texts] == list(range(1, 9))
        state = await get_json(exchange, "/control/state")
        assert state["updateIds"] == {}
    # As fast as it goes nothing waits for the book's time.
    async with asyncio.timeout(60), _served(database) as exchange:
        assert (await get_json(exchange, _DEPTH))["lastUpdateId"] == shelved.base.last_update_id
        async with streams(exchange, _BOTH) as websocket:
            assert len(await _frames(websocket)) == 13


@pytest.mark.allows_log("WARNING .*is damaged")
async def test_behind_a_damaged_part_nothing_is_played(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=1_000), 140)
    await shelf.archive(shelved)
    start_id, _ = shelved.chunks[1]
    await shelf.change("depth_chunks", f"{shelved.id}:{start_id}", event_count=1)
    async with asyncio.timeout(60), _served(database) as exchange:
        async with streams(exchange, "/ws/btcusdt@depth@100ms") as websocket:
            texts = await _frames(websocket)
        with pytest.raises(DamagedChunk):
            await exchange.finished()
    intact = [event.payload for event in shelved.events if event.final_id <= start_id]
    assert texts == intact


async def test_where_nothing_is_recorded_nothing_is_served(database: Database) -> None:
    await database.prepare()
    with pytest.raises(NothingToPlay, match=r"Nothing is recorded of BTC/USDT; orderbook-desktop"):
        async with _served(database):
            pass
    shelved = await _put(database, Tape(), 5, GapCause.USER)
    late = replace(_MAX, from_ms=shelved.events[-1].event_ms + 1)
    with pytest.raises(NothingToPlay, match=r"of BTC/USDT from 2023-11-1"):
        async with _served(database, late):
            pass


async def test_trades_alone_are_served_without_a_book(database: Database) -> None:
    await database.prepare()
    trades = [received(number) for number in range(1, 9)]
    await recorded(database, trades)
    async with asyncio.timeout(60), _served(database) as exchange:
        book = await get_json(exchange, f"/api/v3/depth?symbol={_MARKET}")
        async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
            texts = await _frames(websocket)
    assert texts == [trade.payload for trade in trades]
    assert book == {"lastUpdateId": -1, "bids": [], "asks": []}


class _Slow:
    """Clients that take nothing until they are freed."""

    def __init__(self) -> None:
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def drained(self, backlog: int = 0) -> None:
        del backlog
        self.asked.set()
        await self.free.wait()

    async def cut_off(self, code: int, within_s: float) -> None:
        raise AssertionError(code, within_s)


async def test_slow_clients_slow_the_replay(database: Database) -> None:
    await _put(database, Tape(), 100, GapCause.USER)
    source, slow, sent = _source(database), _Slow(), list[StreamEvent]()
    source.attach(slow)
    await source.open()
    source.want(["btcusdt@depth"])
    async with asyncio.timeout(60):
        playing = asyncio.create_task(source.run(sent.append))
        await slow.asked.wait()
        assert 0 < len(sent) < 50
        slow.free.set()
        await playing
    await source.close()
    assert len(sent) == 100
