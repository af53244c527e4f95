"""The symbols to record: the named ones, each once, and the most traded ones."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orderbook_desktop.app.commands.symbol_choice import (
    NothingTraded,
    SymbolChoice,
    most_traded,
    symbols_of,
)
from orderbook_desktop.app.settings import BadSetting
from orderbook_desktop.core.symbols import SymbolInfo


def _info(symbol: str) -> SymbolInfo:
    base, quote = symbol.split("/")
    return SymbolInfo(symbol, base + quote, base, quote)


TRADED = [_info(one) for one in ("AA/USDT", "BB/USDT", "CC/USDT", "DD/USDT", "BB/EUR")]
VOLUMES = {
    "AAUSDT": Decimal("1.5"),
    "BBUSDT": Decimal("1000000.00000001"),
    "CCUSDT": Decimal("1000000.00000002"),
    "BBEUR": Decimal(9999999999),
    "GONEUSDT": Decimal(99999999999),
}


def test_symbols_are_taken_once_each() -> None:
    assert symbols_of(["btcusdt", "BTC/USDT", "eth-usdt"]) == ["BTC/USDT", "ETH/USDT"]


def test_symbols_may_need_more_than_one_connection() -> None:
    many = [f"A{number}/USDT" for number in range(1025)]
    choice = SymbolChoice.of(many, top=2000)
    assert (choice.named, choice.top) == (tuple(many), 2000)


def test_an_invalid_asset_is_refused() -> None:
    with pytest.raises(BadSetting, match="an asset such as USDT"):
        SymbolChoice.of([], top=1, quote="U/T")
    assert SymbolChoice.of([], top=1, quote="eur").quote == "EUR"


def test_the_most_traded_symbols_of_the_asset_come_first() -> None:
    assert most_traded(TRADED, VOLUMES, "USDT", 3) == ["CC/USDT", "BB/USDT", "AA/USDT"]
    assert most_traded(TRADED, VOLUMES, "USDT", 9)[-1] == "DD/USDT"
    assert most_traded(TRADED, VOLUMES, "EUR", 9) == ["BB/EUR"]


def test_an_asset_without_symbols_is_reported() -> None:
    with pytest.raises(NothingTraded, match="no symbol in NONE"):
        most_traded(TRADED, VOLUMES, "NONE", 1)
