from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.symbols import (
    LONGEST_NAME,
    SymbolInfo,
    grouping_steps,
    is_market,
    search_symbols,
    split_symbol,
)


def info(symbol: str) -> SymbolInfo:
    base, quote = symbol.split("/")
    return SymbolInfo(symbol, base + quote, base, quote)


SYMBOLS = [
    info(symbol)
    for symbol in (
        *("WBTC/BTC", "BTC/USDT", "BTC/EUR", "BTCST/USDT", "ETH/BTC", "BTC/BRL", "BTTC/USDT"),
        *("1000SATS/USDT", "USDT/TRY", "BTC/USDC", "币安人生/USDT", "BTCDOWN/USDT"),
    )
]


def found(typed: str, recents: list[str] | None = None) -> list[str]:
    return [one.symbol for one in search_symbols(SYMBOLS, typed, recents or [])]


@pytest.mark.parametrize(
    ("typed", "symbol", "market"),
    [
        ("btc/usdt", "BTC/USDT", "BTCUSDT"),
        (" BTC-usdt\n", "BTC/USDT", "BTCUSDT"),
        ("BTC_USDT", "BTC/USDT", "BTCUSDT"),
        ("BTCUSDT", "BTC/USDT", "BTCUSDT"),
        ("ethbtc", "ETH/BTC", "ETHBTC"),
        ("usdttry", "USDT/TRY", "USDTTRY"),
        ("BTCFDUSD", "BTC/FDUSD", "BTCFDUSD"),
        ("1000satsusdt", "1000SATS/USDT", "1000SATSUSDT"),
        ("币安人生usdt", "币安人生/USDT", "币安人生USDT"),
        ("USDT", "USDT", "USDT"),
        ("BTCBRL", "BTCBRL", "BTCBRL"),
        ("A/B", "A/B", "AB"),
    ],
)
def test_what_people_type(typed: str, symbol: str, market: str) -> None:
    assert split_symbol(typed) == (symbol, market)


@pytest.mark.parametrize(
    "typed", ["", " ", "/", "BTC/", "/USDT", "A/B/C", "BTC USDT", "BTC/US.DT", "--", "?"]
)
def test_what_is_no_symbol(typed: str) -> None:
    with pytest.raises(ValueError, match="is not a symbol such as BTC/USDT"):
        split_symbol(typed)


@given(st.text(max_size=12))
def test_any_text_is_a_symbol_or_refused(typed: str) -> None:
    try:
        symbol, market = split_symbol(typed)
    except ValueError:
        return
    assert symbol.replace("/", "") == market
    assert market.isalnum()


def test_the_base_asset_comes_first_then_its_beginnings_then_the_rest() -> None:
    assert found("btc") == [
        # The asset itself, by quote asset: the usual ones in their order, then the others.
        *("BTC/USDT", "BTC/USDC", "BTC/EUR", "BTC/BRL"),
        # The beginning of an asset.
        *("BTCDOWN/USDT", "BTCST/USDT"),
        # Anywhere.
        *("ETH/BTC", "WBTC/BTC"),
    ]


def test_the_whole_name_beats_its_beginning() -> None:
    assert found("BTC/USD") == ["BTC/USDT", "BTC/USDC"]
    assert found("btc usdt") == ["BTC/USDT"]
    assert found("btcb") == ["BTC/BRL", "WBTC/BTC"]
    both = [info("AB/CUSDT"), info("ABCU/SDT"), info("ABC/USDTX")]
    # The name and the asset, then the beginning of the name.
    assert [one.symbol for one in search_symbols(both, "abcu")] == [
        *("ABCU/SDT", "AB/CUSDT", "ABC/USDTX"),
    ]
    assert search_symbols(both, "abcusdt")[0].symbol == "AB/CUSDT"


def test_recent_ones_come_first_among_equals() -> None:
    recents = ["BTC/BRL", "WBTC/BTC", "BTC/EUR"]
    assert found("btc", recents)[:3] == ["BTC/BRL", "BTC/EUR", "BTC/USDT"]
    assert found("", recents)[:3] == recents


def test_everything_matches_nothing_typed() -> None:
    assert sorted(found("")) == sorted(one.symbol for one in SYMBOLS)
    assert found("no such") == []
    assert found("人生") == ["币安人生/USDT"]


TICK = 1_000_000


def test_steps_grow_from_the_tick_to_a_hundredth_of_the_price() -> None:
    steps = grouping_steps(TICK, 60_000 * 10**8)
    assert steps[:7] == [TICK * factor for factor in (1, 2, 5, 10, 20, 50, 100)]
    assert steps[-1] == 500 * 10**8


@given(st.integers(0, 10**14), st.integers(0, 10**18))
def test_steps_are_multiples_of_the_tick_within_bounds(tick: int, price: int) -> None:
    steps = grouping_steps(tick, price)
    assert steps == sorted(set(steps))
    assert 1 <= len(steps) <= 25
    assert steps[0] == tick or not tick
    assert all(step % steps[0] == 0 for step in steps)
    assert all(step <= price // 100 for step in steps[1:])


@pytest.mark.parametrize(
    ("price", "finest"),
    [(0, 1), (712, 1), (60_000 * 10**8, TICK), (3_000 * 10**8, TICK), (10**8, 1000)],
)
def test_an_unknown_tick_is_guessed_from_the_price(price: int, finest: int) -> None:
    assert grouping_steps(0, price)[0] == finest


def test_a_wide_range_does_not_give_endless_steps() -> None:
    assert len(grouping_steps(1, 10**18)) == 25


def test_a_name_has_an_end() -> None:
    longest = "A" * (LONGEST_NAME - 4)
    assert split_symbol(f"{longest}/USDT") == (f"{longest}/USDT", f"{longest}USDT")
    with pytest.raises(ValueError, match="is not a symbol"):
        split_symbol(f"{longest}A/USDT")


@pytest.mark.parametrize("name", ["BTCUSDT", "币安人生USDT", "1000SATS", "A" * LONGEST_NAME])
def test_what_may_be_a_market(name: str) -> None:
    assert is_market(name)
    assert split_symbol(name)[1] == name


@pytest.mark.parametrize(
    "name", ["", "BTC USDT", "BTC\x1b[31m", "_", "BTC_USDT", "BTCUSDT_240628", "A" * 41]
)
def test_what_is_no_market(name: str) -> None:
    assert not is_market(name)
