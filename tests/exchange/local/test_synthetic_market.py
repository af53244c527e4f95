"""The synthetic market: a pure function of its seed, and a possible book at every step."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from orderbook_desktop.exchange.local.synthetic_listing import synthetic_specs
from orderbook_desktop.exchange.local.synthetic_market import MarketEvent, SyntheticMarket

from .true_book import TrueBook

_START_MS = 1_700_000_000_000
_SPECS = synthetic_specs()


def _market(name: str, seed: int = 5) -> SyntheticMarket:
    return SyntheticMarket(_SPECS[name], seed, _START_MS)


def _true(market: SyntheticMarket) -> TrueBook:
    return TrueBook(json.loads(market.book().as_json()))


def _events(market: SyntheticMarket, seconds: int) -> list[MarketEvent]:
    return market.advance(market.now_ms + seconds * 1000)


def test_the_same_seed_gives_the_same_bytes_however_time_is_cut() -> None:
    whole, cut = _market("BTCUSDT"), _market("BTCUSDT")
    pieces = [event for ms in range(37, 5_037, 37) for event in cut.advance(_START_MS + ms)]
    pieces += cut.advance(_START_MS + 5_000)
    assert _events(whole, 5) == pieces
    assert whole.book() == cut.book()


def test_another_seed_gives_another_market() -> None:
    assert _market("BTCUSDT", seed=1).book() != _market("BTCUSDT", seed=2).book()


@pytest.mark.parametrize("name", ["BTCUSDT", "ETHBTC", "PEPEUSDT", "DOGEUSDT", "BTCEUR", "XLMTRY"])
def test_diffs_are_contiguous_lead_to_the_book_and_never_cross(name: str) -> None:
    market = _market(name)
    book, first = _true(market), market.last_update_id
    for event in _events(market, 20):
        if event.kind != "depth@100ms":
            continue
        diff = json.loads(event.payload)
        assert diff["U"] == book.last_update_id + 1
        assert diff["E"] == event.time_ms
        assert book.apply(diff)
        bid, _, ask, _ = book.best
        assert 0 < bid < ask
    assert book == _true(market)
    assert book.last_update_id > first


def test_the_slow_stream_says_the_same_once_a_second() -> None:
    market = _market("SOLUSDT")
    book = _true(market)
    diffs = [json.loads(event.payload) for event in _events(market, 5) if event.kind == "depth"]
    assert len(diffs) == 5
    for diff in diffs:
        assert diff["U"] == book.last_update_id + 1
        book.apply(diff)
    assert book == _true(market)


@pytest.mark.parametrize("name", ["BTCUSDT", "PEPEUSDT"])
def test_the_best_offer_agrees_with_the_book_at_the_same_id(name: str) -> None:
    market = _market(name)
    book, ticker, compared = _true(market), None, 0
    for event in _events(market, 20):
        if event.kind == "bookTicker":
            ticker = json.loads(event.payload)
        elif event.kind == "depth@100ms" and ticker:
            book.apply(json.loads(event.payload))
            if ticker["u"] == book.last_update_id:
                assert tuple(Decimal(ticker[key]) for key in "bBaA") == book.best
                compared += 1
    assert compared > 20


def test_prices_and_quantities_are_on_the_filters_grid_with_eight_places() -> None:
    market = _market("ETHBTC")
    _events(market, 3)
    listing = market.spec.listing()
    view = market.book()
    for price, quantity in view.bids + view.asks:
        assert len(price.partition(".")[2]) == len(quantity.partition(".")[2]) == 8
        assert Decimal(price) % Decimal(listing.tick_size) == 0
        assert Decimal(quantity) % Decimal(listing.step_size) == 0


def test_the_book_is_believable() -> None:
    market = _market("BTCUSDT")
    assert len(market.book().bids) == len(market.book().asks) == 5000
    one_tick = 0
    for _ in range(60):
        market.advance(market.now_ms + 300)
        view = market.book()
        one_tick += Decimal(view.asks[0][0]) - Decimal(view.bids[0][0]) == Decimal("0.01")
    assert one_tick > 40
    assert 3500 < len(market.book().bids) < 6500
    prices = [Decimal(price) for price, _ in market.book().asks]
    assert prices[2000] - prices[1000] < prices[4000] - prices[3000]


def test_time_skipped_changes_nothing() -> None:
    market = _market("BTCUSDT")
    before = market.book()
    market.skip_to(_START_MS + 3_600_000)
    assert market.book() == before
    diff = json.loads(_events(market, 1)[-1].payload)
    assert diff["E"] == _START_MS + 3_601_000


def test_trades_happen_at_prices_of_the_book() -> None:
    trades = [json.loads(e.payload) for e in _events(_market("BTCUSDT"), 20) if e.kind == "trade"]
    assert len(trades) > 50
    assert [trade["t"] for trade in trades] == sorted({trade["t"] for trade in trades})
    assert {trade["m"] for trade in trades} == {True, False}
    assert all(60_000 < Decimal(trade["p"]) < 64_000 for trade in trades)


def test_older_book_is_older() -> None:
    market = _market("BTCUSDT")
    _events(market, 12)
    assert market.older_book().last_update_id < market.book().last_update_id
