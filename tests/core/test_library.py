"""Symbols that no list tells of, and the sentence for those that are not on offer."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.library import NotOffered, unlisted


def test_an_unlisted_symbol_is_what_its_name_says() -> None:
    info = unlisted("ethbtc")
    assert (info.symbol, info.market, info.base, info.quote) == ("ETH/BTC", "ETHBTC", "ETH", "BTC")
    assert info.tick_size == info.step_size == 0


def test_what_is_no_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        unlisted("<b>")


def test_not_offered_says_why() -> None:
    assert str(NotOffered("X/Y", "it is not traded")) == "X/Y cannot be shown: it is not traded."
