"""Playing captures: byte for byte, at their pace, with the book as of the last line."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.exchange.local import (
    CaptureSource,
    CaptureUnreadable,
    LocalExchange,
    write_capture,
)
from orderbook_desktop.exchange.local.capture import listing_of
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.formats.capture_reader import MarketSurvey

from .client import get_json, next_diff, next_json, streams, until_closed
from .true_book import TrueBook, capture_messages, true_book_of

_BAD_LEVEL = b'1 {"s":"A","e":"depthUpdate","E":1,"U":1,"u":2,"b":[["x","1"]],"a":[]}\n'
_ALL = "/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade"


def _frames(path: Path) -> list[bytes]:
    return [text for _, text in capture_messages(path) if b'"lastUpdateId"' not in text]


async def _receive(websocket: ClientConnection, count: int) -> list[bytes]:
    async with asyncio.timeout(60):
        return [await websocket.recv(decode=False) for _ in range(count)]


def _edited(path: Path, target: Path, edit: Any) -> Path:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    target.write_bytes(b"".join(edit(lines)))
    return target


async def test_combined_frames_are_played_byte_for_byte(capture: Path) -> None:
    frames = _frames(capture)
    async with (
        LocalExchange(CaptureSource(capture, speed=50)) as exchange,
        streams(exchange, _ALL) as websocket,
    ):
        assert await _receive(websocket, len(frames)) == frames
        await exchange.finished()


async def test_a_played_book_is_known_to_its_snapshot_s_last_levels(capture: Path) -> None:
    """At its end, too, where levels beyond have changed; and if more levels are asked for."""
    snapshot = next(
        json.loads(text) for _, text in capture_messages(capture) if b'"lastUpdateId"' in text
    )
    first, last = snapshot["bids"][-1][0], snapshot["asks"][-1][0]
    async with (
        LocalExchange(CaptureSource(capture, speed=1000)) as exchange,
        streams(exchange, _ALL),
    ):
        await exchange.finished()
        rest = BinanceRest(exchange.rest_url)
        try:
            books = [await rest.snapshot("BTCUSDT", limit) for limit in (5000, 100)]
        finally:
            await rest.close()
    whole, best = books
    assert whole.last_update_id > snapshot["lastUpdateId"]
    assert whole.horizon == Horizon.of_texts(first, last)
    # The answer's own last levels are nearer.
    assert best.horizon == Horizon.of_texts(
        *(f"{units:.8f}" for units in (min(best.bids)[0], max(best.asks)[0]))
    )


async def test_raw_payloads_are_played_byte_for_byte(capture: Path) -> None:
    payloads = [
        frame.partition(b'"data":')[2][:-1] for frame in _frames(capture) if b"@depth" in frame
    ]
    async with (
        LocalExchange(CaptureSource(capture, speed=50)) as exchange,
        streams(exchange, "/ws/btcusdt@depth@100ms") as websocket,
    ):
        assert await _receive(websocket, len(payloads)) == payloads


async def test_the_recorded_diffs_serve_both_names_of_the_stream(capture: Path) -> None:
    async with (
        LocalExchange(CaptureSource(capture, speed=50)) as exchange,
        streams(exchange, "/stream?streams=btcusdt@depth") as websocket,
    ):
        message = await next_json(websocket)
    assert message["stream"] == "btcusdt@depth"
    assert message["data"]["e"] == "depthUpdate"


async def test_play_waits_for_the_first_depth_subscriber(capture: Path) -> None:
    diffs = [json.loads(frame)["data"] for frame in _frames(capture) if b"@depth" in frame]
    async with (
        LocalExchange(CaptureSource(capture, speed=50)) as exchange,
        streams(exchange, "/ws/btcusdt@trade") as trades,
    ):
        await (await trades.ping())
        assert (await get_json(exchange, "/control/state"))["played"] == 0
        async with streams(exchange, "/ws/btcusdt@depth@100ms") as depth:
            assert await next_diff(depth) == diffs[0]
            assert (await next_json(trades))["e"] == "trade"
        # It goes on without depth subscribers, as a market would.
        await exchange.finished()


async def test_pace_is_that_of_the_receive_times(capture: Path) -> None:
    stamps = [stamp for stamp, _ in capture_messages(capture)]
    started = time.monotonic()
    async with (
        LocalExchange(CaptureSource(capture, speed=20)) as exchange,
        streams(exchange, "/ws/btcusdt@depth@100ms"),
    ):
        await exchange.finished()
    # It may be late on a busy machine, but never early.
    assert time.monotonic() - started > (stamps[-1] - stamps[0]) / 20e9


async def test_a_depth_request_waits_for_the_snapshot_and_the_final_book_is_true(
    capture: Path,
) -> None:
    async with (
        LocalExchange(CaptureSource(capture, speed=20)) as exchange,
        streams(exchange, "/ws/btcusdt@depth@100ms") as websocket,
    ):
        early = asyncio.create_task(get_json(exchange, "/api/v3/depth?symbol=BTCUSDT&limit=5000"))
        events = [await next_diff(websocket)]
        assert not early.done()
        book = TrueBook(await early)
        assert book.last_update_id >= events[0]["u"]
        final = true_book_of(capture)
        while events[-1]["u"] < final.last_update_id:
            events.append(await next_diff(websocket))
        for event in events:
            book.apply(event)
        assert book == final
        assert len(book.bids) >= 900
        await exchange.finished()
        assert TrueBook(await get_json(exchange, "/control/book?symbol=BTCUSDT")) == final
        state = await get_json(exchange, "/control/state")
        assert state["finished"]
        assert state["sent"]["btcusdt@depth@100ms"] == len(events)


async def test_every_best_offer_of_the_capture_is_in_the_book(capture: Path) -> None:
    ticker, compared = {"u": 0}, 0
    messages = [json.loads(text) for _, text in capture_messages(capture)]
    book = TrueBook(next(message for message in messages if "lastUpdateId" in message))
    for message in messages:
        event = message.get("data", {})
        if "A" in event:
            ticker = event
        elif event.get("e") == "depthUpdate" and book.apply(event):
            if ticker["u"] != book.last_update_id:
                continue
            assert tuple(Decimal(ticker[key]) for key in "bBaA") == book.best
            compared += 1
    assert compared > 20


async def test_connections_close_at_the_end_if_asked(capture: Path) -> None:
    source = CaptureSource(capture, speed=100)
    async with (
        LocalExchange(source, close_at_end=True) as exchange,
        streams(exchange, "/ws/btcusdt@depth@100ms") as websocket,
    ):
        messages, code = await until_closed(websocket)
    assert messages
    assert code == 1001


async def test_a_loop_goes_on_without_a_gap(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "short.jsonl", seed=3, seconds=3, snapshot_levels=50)
    length = len([frame for frame in _frames(path) if b"@depth" in frame])
    async with (
        LocalExchange(CaptureSource(path, speed=10, loop=True)) as exchange,
        streams(exchange, "/ws/btcusdt@depth@100ms") as websocket,
    ):
        events = [await next_diff(websocket)]
        book = TrueBook(await get_json(exchange, "/api/v3/depth?symbol=BTCUSDT&limit=5000"))
        while len(events) < 3 * length:
            events.append(await next_diff(websocket))
        for earlier, later in pairwise(events):
            assert later["U"] == earlier["u"] + 1
            assert later["E"] >= earlier["E"]
        for event in events:
            book.apply(event)
            assert max(book.bids) < min(book.asks)
        true = TrueBook(await get_json(exchange, "/control/book?symbol=BTCUSDT"))
        while book.last_update_id < true.last_update_id:
            book.apply(await next_diff(websocket))
        if book.last_update_id == true.last_update_id:
            assert book == true


async def test_several_markets_with_nameless_snapshots(tmp_path: Path) -> None:
    symbols = ["BTC/USDT", "PEPE/USDT", "ETHBTC"]
    path = write_capture(tmp_path / "three.jsonl.gz", seed=4, seconds=3, symbols=symbols)
    async with LocalExchange(CaptureSource(path, speed=50)) as exchange:
        info = await get_json(exchange, "/api/v3/exchangeInfo")
        filters = {symbol["symbol"]: symbol["filters"][0]["tickSize"] for symbol in info["symbols"]}
        assert filters == {
            "BTCUSDT": "0.01000000",
            "PEPEUSDT": "0.00000001",
            "ETHBTC": "0.00001000",
        }
        async with streams(exchange, "/ws/btcusdt@depth@100ms"):
            await exchange.finished()
        for market, low, high in (("BTCUSDT", 5e4, 7e4), ("PEPEUSDT", 0, 1), ("ETHBTC", 0, 1)):
            book = TrueBook(await get_json(exchange, f"/control/book?symbol={market}"))
            assert all(low < price < high for price in book.best[::2])


async def test_without_a_snapshot_the_diffs_are_the_book(capture: Path, tmp_path: Path) -> None:
    path = _edited(
        capture,
        tmp_path / "diffs.jsonl",
        lambda lines: [line for line in lines if b"lastUpdateId" not in line],
    )
    async with LocalExchange(CaptureSource(path, speed=50)) as exchange:
        async with streams(exchange, "/ws/btcusdt@depth@100ms"):
            await exchange.finished()
        book = TrueBook(await get_json(exchange, "/api/v3/depth?symbol=BTCUSDT"))
    last = [json.loads(frame) for frame in _frames(path) if b"@depth" in frame][-1]
    assert book.last_update_id == last["data"]["u"]
    assert book.bids


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no message of a stream"),
        (b"time,price\n1,2\n", "line 1 of .* is not a receive time"),
        (b"12 {}\n", "holds no message of a stream"),
        (b"\x1f\x8b\x08broken", "holds no message of a stream"),
        (b'12 {"stream":"btcusdt@depth","data":{"e":"depthUpdate","U":1}}\n', "line 1 of .*"),
        (_BAD_LEVEL, "line 1 of .*level 'x'"),
    ],
)  # fmt: skip
async def test_a_wrong_file_is_told_at_once(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_bytes(content)
    with pytest.raises(CaptureUnreadable, match=sentence) as error:
        await LocalExchange(CaptureSource(path)).__aenter__()
    assert str(path) in str(error.value)


async def test_a_missing_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(CaptureUnreadable, match="does not exist"):
        await LocalExchange(CaptureSource(tmp_path / "none.gz")).__aenter__()


@pytest.mark.expects_log(r"WARNING .*exchange.local.server: The capture .* line 301")
async def test_a_bad_line_further_down_ends_the_play_there(capture: Path, tmp_path: Path) -> None:
    path = _edited(
        capture,
        tmp_path / "bad.jsonl",
        lambda lines: [*lines[:300], lines[300].replace(b":", b";")],
    )
    async with LocalExchange(CaptureSource(path, speed=100)) as exchange:
        async with streams(exchange, "/ws/btcusdt@depth@100ms") as websocket:
            with pytest.raises(CaptureUnreadable, match=r"line 301 of .*bad\.jsonl"):
                await exchange.finished()
            await websocket.ping()
        state = await get_json(exchange, "/control/state")
    assert state["played"] == 300
    assert "line 301" in state["failure"]


@pytest.mark.expects_log(r"WARNING .*exchange.local.capture: bad.jsonl is broken in line 301")
async def test_half_a_line_further_down_is_passed_over(capture: Path, tmp_path: Path) -> None:
    path = _edited(
        capture, tmp_path / "bad.jsonl", lambda lines: [*lines[:300], lines[300][:60] + b"\n"]
    )
    async with LocalExchange(CaptureSource(path, speed=100)) as exchange:
        async with streams(exchange, "/ws/btcusdt@depth@100ms"):
            await exchange.finished()
        assert (await get_json(exchange, "/control/state"))["played"] == 300


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_speed_is_positive(capture: Path, speed: float) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        CaptureSource(capture, speed=speed)


def test_a_market_is_listed_with_the_filters_of_its_data() -> None:
    survey = MarketSurvey("ETHBTC", price_places=4)
    listing = listing_of(survey)
    assert (listing.market, listing.base, listing.quote) == ("ETHBTC", "ETH", "BTC")
    assert (listing.tick_size, listing.step_size) == ("0.00010000", "1.00000000")
