"""A browser view of a replay says so, follows its clock back and forth, and returns to live."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.web.api import BookAnswer
from orderbook_desktop.web.changes_stream import ChangesForm
from orderbook_desktop.web.channel import Channel
from tests.web.hand_library import BTC, NOW_NS, HandLibrary, made_trade
from tests.web.reader import Merged

_AT_MS = 1_723_099_999_250
_TIME = "8 Aug 2024 06:53:19.250 UTC"


@pytest.fixture
def images(library: HandLibrary) -> list[BookImage]:
    """Five books of one market, in the order of their ids."""
    images = []
    for number in range(5):
        library.btc.change([("100.01", str(number + 1)), (f"99.{number}", "1")])
        images.append(image_of(library.btc.book, "BTCUSDT"))
    return images


@pytest.fixture
def channel(library: HandLibrary) -> Channel:
    return Channel(BTC, library.lend(BTC), lambda: NOW_NS)


def _messages(channel: Channel, last_seq: int | None) -> list[dict[str, Any]]:
    """The messages that lead a viewer from a moment to the present one."""
    channel.look()
    text = ChangesForm().frame(channel, last_seq).plain.decode()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def _levels(image: BookImage | None) -> dict[str, dict[Decimal, Decimal]]:
    sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    if image is not None:
        for name, levels in (("bids", image.bids), ("asks", image.asks)):
            pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
            sides[name] = {
                Decimal(price).scaleb(-8): Decimal(size).scaleb(-8) for price, size in pairs
            }
    return sides


async def _book(client: httpx.AsyncClient, update_id: int) -> Any:
    """Ask for the book until it is that of an update id: it may be a tenth of a second old."""
    while True:
        book = (await client.get("/api/book")).json()
        if book["lastUpdateId"] == update_id:
            return book
        await asyncio.sleep(0.01)


async def test_a_program_reads_that_it_is_a_replay_and_of_when(
    client: httpx.AsyncClient, library: HandLibrary, images: list[BookImage]
) -> None:
    library.btc.play(images[2], _AT_MS)
    book = await _book(client, images[2].last_update_id)
    assert (book["status"], book["replayTime"]) == ("replay", _AT_MS)
    assert BookAnswer.model_validate(book).replayTime == _AT_MS
    library.btc.play(None, _AT_MS, "A gap.")
    book = await _book(client, 0)
    assert (book["status"], book["lastUpdateId"], book["bids"]) == ("replay", 0, [])
    followed = (await client.get("/api/status")).json()["symbols"][0]
    assert (followed["status"], followed["detail"]) == ("replay", "A gap.")
    library.btc.load([("1", "1")], [])
    book = await _book(client, library.btc.book.last_update_id)
    assert book["status"] == "synced"
    assert "replayTime" not in book


def test_a_stream_follows_the_clock_in_both_directions(
    channel: Channel, library: HandLibrary, images: list[BookImage]
) -> None:
    merged, seq = Merged(), None
    for number, place in enumerate([0, 3, 1, 4, None, 2, None, 0]):
        image = None if place is None else images[place]
        library.btc.play(image, _AT_MS + number)
        message = _messages(channel, seq)[-1]
        merged.take(message)
        seq = merged.seq
        assert merged.sides == _levels(image)
        assert (message["status"], message["replayTime"]) == ("replay", _AT_MS + number)
        assert message["lastUpdateId"] == (0 if image is None else image.last_update_id)
    library.btc.load([("7", "1")], [])
    message = _messages(channel, seq)[-1]
    merged.take(message)
    assert merged.sides == {"bids": {Decimal(7): Decimal(1)}, "asks": {}}
    assert "replayTime" not in message


def test_the_time_goes_on_without_an_event(
    channel: Channel, library: HandLibrary, images: list[BookImage]
) -> None:
    library.btc.play(images[0], _AT_MS)
    channel.look()
    seq = channel.moment.seq
    library.btc.play(images[0], _AT_MS + 100)
    (message,) = _messages(channel, seq)
    assert (message["kind"], message["bids"]) == ("diff", [])
    assert message["replayTime"] == _AT_MS + 100


def _tape(*ids: int) -> Tape:
    tape = Tape("BTCUSDT")
    for trade_id in ids:
        tape.add(made_trade("BTCUSDT", trade_id, "5", "1"))
    return tape


def test_trades_of_after_the_clock_are_to_be_forgotten(
    channel: Channel, library: HandLibrary, images: list[BookImage]
) -> None:
    book, first = library.btc, _tape(1, 2, 3)
    seq: int | None = None
    for number, (tape, ids, is_anew, last_price) in enumerate(
        (
            (first, [1, 2, 3], True, "5"),
            (first, [4], False, "6"),
            (_tape(1), [1], True, "5"),
            (_tape(), [], True, ""),
            (None, [], True, ""),
            (_tape(8, 9), [8, 9], True, "5"),
        )
    ):
        book.tape = tape
        if number == 1:
            first.add(made_trade("BTCUSDT", 4, "6", "1"))
        book.play(images[number % 2], _AT_MS + number)
        trades, _ = _messages(channel, seq)
        seq = channel.moment.seq
        assert [one["id"] for one in trades["trades"]] == ids
        assert (trades.get("anew", False), trades["lastPrice"]) == (is_anew, last_price)


def test_a_viewer_of_a_live_book_keeps_its_trades_where_it_connects_anew(
    channel: Channel, library: HandLibrary
) -> None:
    library.btc.tape = _tape(1, 2)
    trades, _ = _messages(channel, None)
    assert "anew" not in trades


async def test_the_page_says_replay_and_when(
    client: httpx.AsyncClient, library: HandLibrary, images: list[BookImage]
) -> None:
    library.btc.play(images[1], _AT_MS)
    text = (await client.get("/")).text
    assert "<title>REPLAY · BTC/USDT order book</title>" in text
    assert f'<p id="replay" class="replaying">REPLAY · <span id="replay-time">{_TIME}</' in text
    assert '<span id="state">REPLAY</span>' in text
    assert '<p id="badge" class="badge replay">' in text
    for part in ("ladder replay", "chart replay", "tape replay"):
        assert f'<section class="{part}"' in text
    library.btc.play(None, _AT_MS, "Nothing is known for 0:00:07.000.")
    await _book(client, 0)
    text = (await client.get("/")).text
    assert '<p id="detail">Nothing is known for 0:00:07.000.</p>' in text
    assert "100.01" not in text
    library.btc.load([("100.01", "1")], [])
    await _book(client, library.btc.book.last_update_id)
    assert '<p id="replay" class="replaying" hidden>' in (await client.get("/")).text
