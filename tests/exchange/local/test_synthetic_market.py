"""The synthetic market: a pure function of its seed, and a possible book at every step."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from orderbook_desktop.exchange.local.synthetic_listing import synthetic_specs
from orderbook_desktop.exchange.local.synthetic_market import MadeUpEvent, SyntheticMarket
from tests.examples import some_of

from .true_book import TrueBook

_START_MS = 1_700_000_000_000
_SPECS = synthetic_specs()


def _market(name: str, seed: int = 5) -> SyntheticMarket:
    return SyntheticMarket(_SPECS[name], seed, _START_MS)


def _true(market: SyntheticMarket) -> TrueBook:
    return TrueBook(json.loads(market.book().as_json()))


def _events(market: SyntheticMarket, seconds: int) -> list[MadeUpEvent]:
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
    assert min(len(view.bids), len(view.asks)) > 100
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


@pytest.mark.sweep
@pytest.mark.parametrize(
    "name", some_of([name for name, spec in _SPECS.items() if spec.changes >= 5], 3)
)
def test_the_book_is_believable_however_long_it_lives(name: str) -> None:
    market = _market(name)
    tick = Decimal(market.spec.listing().tick_size)
    start = Decimal(market.spec.listing().price)
    # A few ticks, which are much of a low price, or a few thousandths of a percent.
    few = max(3 * tick, start * Decimal("0.00003"))
    least_levels = min(50, int(start / 100 / tick) // 3)
    spreads = 0
    narrow = 0
    for step in range(5_000):
        bid = ask = None
        for event in market.advance(market.now_ms + 100):
            if event.kind == "bookTicker":
                ticker = json.loads(event.payload)
                bid, ask = Decimal(ticker["b"]), Decimal(ticker["a"])
                assert bid < ask
        if bid is not None and ask is not None:
            assert ask - bid <= max(3 * tick, start * Decimal("0.002"))
            assert abs(ask - start) < start / 20
            spreads += 1
            narrow += ask - bid <= few
        if step % 200 == 199:
            view = market.book()
            best_bid, best_ask = Decimal(view.bids[0][0]), Decimal(view.asks[0][0])
            near = [price for price, _ in view.bids if Decimal(price) >= best_bid * 99 / 100]
            assert len(near) >= least_levels
            near = [price for price, _ in view.asks if Decimal(price) <= best_ask * 101 / 100]
            assert len(near) >= least_levels
    assert narrow > spreads * 0.95 > 0


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


def test_time_gone_by_unseen_took_its_ids_and_changed_the_book() -> None:
    seen, unseen = _market("BTCUSDT"), _market("BTCUSDT")
    before, first = unseen.book(), unseen.last_update_id
    _events(seen, 60)
    unseen.move_on(_START_MS + 60_000)
    assert unseen.now_ms == seen.now_ms
    taken = seen.last_update_id - first
    assert 0.7 * taken < unseen.last_update_id - first < 1.3 * taken
    assert unseen.book().bids[:100] != before.bids[:100]


def test_what_follows_time_unseen_is_contiguous_with_the_book_then() -> None:
    market = _market("SOLUSDT")
    _events(market, 1)
    market.move_on(market.now_ms + 12_300)
    books = {kind: _true(market) for kind in ("depth@100ms", "depth")}
    events = [event for event in _events(market, 3) if event.kind in books]
    assert {event.kind for event in events} == books.keys()
    for event in events:
        diff = json.loads(event.payload)
        assert diff["U"] == books[event.kind].last_update_id + 1
        assert books[event.kind].apply(diff)


@pytest.mark.parametrize("milliseconds", [50, 700])
def test_a_short_time_unseen_is_lived_through(milliseconds: int) -> None:
    seen, unseen = _market("ETHUSDT"), _market("ETHUSDT")
    seen.advance(_START_MS + milliseconds)
    unseen.move_on(_START_MS + milliseconds)
    assert unseen.book() == seen.book()
