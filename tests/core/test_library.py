"""Symbols that no list tells of, and the sentence for those that are not on offer."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.library import NotOffered, find_symbol, unlisted
from orderbook_desktop.core.symbols import SymbolInfo


def test_an_unlisted_symbol_is_what_its_name_says() -> None:
    info = unlisted("ethbtc")
    assert (info.symbol, info.market, info.base, info.quote) == ("ETH/BTC", "ETHBTC", "ETH", "BTC")
    assert info.tick_size == info.step_size == 0


def test_what_is_no_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        unlisted("<b>")


def test_not_offered_says_why() -> None:
    assert str(NotOffered("X/Y", "it is not traded")) == "X/Y cannot be shown: it is not traded."


def test_a_symbol_is_found_by_its_name_or_the_exchange_s() -> None:
    listed = [unlisted("ETH/BTC"), unlisted("BTC/USDT")]
    for typed in ("btc/usdt", "BTCUSDT"):
        assert find_symbol(listed, typed, "ETH/BTC") is listed[1]


@pytest.mark.parametrize(
    ("listed", "typed", "reason"),
    [
        ([unlisted("ETH/BTC")], "BTC/USDT", "it is not among the symbols on offer"),
        ([unlisted("ETH/BTC")], "<b>", "it is not a symbol such as BTC/USDT"),
        ([], "ETH/BTC", "the exchange has not listed its symbols yet"),
    ],
)
def test_one_that_is_not_on_offer_is_refused(
    listed: list[SymbolInfo], typed: str, reason: str
) -> None:
    with pytest.raises(NotOffered, match=reason):
        find_symbol(listed, typed, "BTC/USDT")


def test_without_a_list_there_is_the_default_symbol() -> None:
    assert find_symbol([], "btcusdt", "BTC/USDT") == unlisted("BTC/USDT")
