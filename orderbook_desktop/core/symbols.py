"""Traded symbols, and finding one among hundreds while a person types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from orderbook_desktop.core.units import DEFAULT_EXPONENT

_USUAL_TICK: Final = 10 ** (DEFAULT_EXPONENT - 2)
# Many times the length of any traded symbol: a longer text is an attack or a slip.
LONGEST_NAME: Final = 40
_ASSETS_QUOTED_FIRST: Final = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR", "TRY")


class SymbolInfo(msgspec.Struct, frozen=True, gc=False):
    """One spot symbol: `symbol` is `BTC/USDT`, `market` the exchange's `BTCUSDT`.

    `tick_size` and `step_size` are the exchange's filters in units of 10^-8 (`core.units`); 0
    where the exchange does not say. A list may have a hundred thousand symbols, which the garbage
    collector need not look at.
    """

    symbol: str
    market: str
    base: str
    quote: str
    tick_size: int = 0
    step_size: int = 0


def split_symbol(text: str) -> tuple[str, str]:
    """Return (`symbol`, `market`) of what a person typed: `btc/usdt` or `BTCUSDT`.

    Without a slash the quote asset is recognised by its ending; an unknown one leaves the
    symbol as typed. Raises `ValueError` where it can't be a symbol at all.
    """
    typed = text.strip().upper().replace("-", "/").replace("_", "/")
    parts = typed.split("/")
    is_long = sum(map(len, parts)) > LONGEST_NAME
    if is_long or len(parts) > 2 or not all(part.isalnum() for part in parts):
        raise ValueError(f"{text!r} is not a symbol such as BTC/USDT")
    if len(parts) == 2:
        return typed, "".join(parts)
    for quote in _ASSETS_QUOTED_FIRST:
        if typed.endswith(quote) and len(typed) > len(quote):
            return f"{typed[: -len(quote)]}/{quote}", typed
    return typed, typed


def is_market(name: str) -> bool:
    """Whether `name`, from a file or a message, can be the name of a spot market.

    `split_symbol` would change any other name, so no command could name what is stored under it.
    """
    return len(name) <= LONGEST_NAME and name.isalnum()


def search_symbols(
    symbols: Iterable[SymbolInfo], typed: str, recents: Sequence[str] = ()
) -> list[SymbolInfo]:
    """Return the symbols that match `typed`, the likeliest first.

    Everything matches an empty `typed`. A match at the start of the base asset beats one of
    the whole name, which beats one anywhere; recent symbols come first among equals.
    """
    wanted = "".join(character for character in typed.upper() if character.isalnum())
    recent_rank = {symbol: rank for rank, symbol in enumerate(recents)}

    def order(info: SymbolInfo) -> tuple[int, int, int, str]:
        quote = info.quote
        known = quote in _ASSETS_QUOTED_FIRST
        return (
            _match_rank(info, wanted),
            recent_rank.get(info.symbol, len(recent_rank)),
            _ASSETS_QUOTED_FIRST.index(quote) if known else len(_ASSETS_QUOTED_FIRST),
            info.symbol,
        )

    return sorted((info for info in symbols if wanted in info.market), key=order)


def _match_rank(info: SymbolInfo, wanted: str) -> int:
    if not wanted:
        return 0
    if wanted in (info.base, info.market):
        return 0
    if info.market.startswith(wanted):
        return 1 if info.base.startswith(wanted) else 2
    return 3


def grouping_steps(tick_size: int, price: int) -> list[int]:
    """Return sensible grouping steps in units, finest (the tick itself) first.

    1, 2, 5 and 10 times powers of ten of the tick, up to about a hundredth of `price`. An
    unknown tick (0) is taken to be 0.01, or less where the price has fewer than six digits.
    """
    tick = tick_size or min(_USUAL_TICK, 10 ** max(0, len(str(price)) - 6))
    largest = max(price // 100, tick)
    steps, power = [tick], 1
    while len(steps) < 24:
        for factor in (2, 5, 10):
            step = tick * power * factor
            if step > largest:
                return steps
            steps.append(step)
        power *= 10
    return steps
