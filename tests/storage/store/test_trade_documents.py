"""Batches of trades as documents: every trade comes back, and every changed field is noticed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.trade_documents import (
    TRADES_A_BATCH,
    batch_document,
    batches_of,
    decoded_batch,
    trades_of,
)
from tests.storage.made_trades import asked, received, sent


def test_a_batch_comes_back_byte_for_byte() -> None:
    trades = [
        received(5, 1_700_000_000_000_000_123),
        received(6, 1_600_000_000_000_000_000, p="61837.630000000001", x="é\n"),
        asked(7, q="00.5"),
        received(8, 9, M=False),
    ]
    document = batch_document(trades)
    assert trades_of(document) == trades
    assert (document["_id"], document["market"]) == ("BTCUSDT:trade:5:8", "BTCUSDT")
    times = [trade.event_ms for trade in trades]
    assert (document["from_time"], document["to_time"]) == (min(times), max(times))
    (decoded,) = decoded_batch(document)
    assert decoded.trades() == trades


def test_a_batch_of_usual_trades_is_a_fifth_of_its_text() -> None:
    rng = random.Random(1)
    trades = sent(range(1_000, 1_100), rng)
    document = batch_document(trades)
    assert document["encoding"] == "zstd1"
    assert len(document["payload"]) * 5 < sum(len(trade.payload) for trade in trades)


def test_what_does_not_get_smaller_is_stored_as_it_is() -> None:
    letters = random.Random(3)
    noise = "".join(chr(letters.randrange(0x3000, 0xD7FF)) for _ in range(4_000))
    document = batch_document([received(1, 2, x=noise)])
    (trade,) = trades_of(document)
    assert noise in trade.payload.decode()


def test_prices_that_no_scale_holds_together_are_several_pieces() -> None:
    trades = [received(1, 1, p="900000000000000.1"), received(2, 2, p="0.00000000000000001")]
    first, second = decoded_batch(batch_document(trades))
    assert first.trades() + second.trades() == trades


def test_trades_are_cut_into_batches_at_holes_and_where_one_is_full() -> None:
    ids = [*range(10), *range(20, 20 + TRADES_A_BATCH + 1)]
    found = [[trade.trade_id for trade in batch] for batch in batches_of(sent(ids))]
    assert [(batch[0], batch[-1]) for batch in found] == [
        *((0, 9), (20, 19 + TRADES_A_BATCH)),
        (20 + TRADES_A_BATCH, 20 + TRADES_A_BATCH),
    ]
    assert list(batches_of([])) == []


@pytest.mark.parametrize("ids", [[], [1, 3], [2, 1], range(TRADES_A_BATCH + 1)])
def test_what_is_no_batch_is_a_bug(ids: list[int]) -> None:
    with pytest.raises(BugError):
        batch_document(sent(ids))


def _trades() -> list[Trade]:
    return [received(5, 50), received(6, 60)]


@pytest.mark.parametrize(
    "change",
    [
        {"_id": "BTCUSDT:trade:5:7"},
        {"market": "ETHUSDT"},
        {"market": 5},
        {"first_id": 4},
        {"first_id": 5.0},
        {"last_id": None},
        {"from_time": "x"},
        {"to_time": 1},
        {"extra": 1},
        {"encoding": "zstd2"},
        {"encoding": "list1"},
        {"payload": "text"},
        {"payload": b""},
        {"payload": b"\x92\x90\x90", "encoding": "list1"},
        {"payload": b"\x92\x91\x01\x90", "encoding": "list1"},
        {"payload": b"\x92\x91\x01\x91\xc4\x02{}", "encoding": "list1"},
    ],
)
@pytest.mark.parametrize("is_sealed_again", [True, False])
def test_a_changed_field_is_noticed(change: dict[str, Any], is_sealed_again: bool) -> None:
    document = batch_document(_trades()) | change
    with pytest.raises(DamagedDocument):
        trades_of(sealed(document) if is_sealed_again else document)
