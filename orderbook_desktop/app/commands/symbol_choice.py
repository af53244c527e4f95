"""The symbols of a headless recorder: the named symbols, and the most traded ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from orderbook_desktop.app.settings import BadSetting, symbol_and_market
from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.exchange.errors import ExchangeError, Paced, RateLimited, RegionBlocked
from orderbook_desktop.system.attempts import Attempts

_log = logging.getLogger(__name__)


class NothingTraded(KnownError):
    """The exchange trades no symbol in the asset `quote`."""

    quote: str

    def __str__(self) -> str:
        return f"The exchange trades no symbol in {self.quote}; name another asset with --quote."


class SymbolChoice(Struct, frozen=True):
    """The symbols to record: `named`, and the `top` symbols most traded in the asset `quote`.

    Make it with `of`, which checks the text that a person typed.
    """

    named: tuple[str, ...] = ()
    top: int = 0
    quote: str = "USDT"

    @classmethod
    def of(cls, typed: Iterable[str], top: int = 0, quote: str = "USDT") -> SymbolChoice:
        """Return the choice; raises `BadSetting`."""
        named = symbols_of(typed)
        if not (quote.isalnum() and quote.isascii()):
            raise BadSetting("--quote", quote, "an asset such as USDT")
        return cls(tuple(named), top, quote.upper())


def symbols_of(typed: Iterable[str]) -> list[str]:
    """Return the symbols of `typed` in the form BTC/USDT, each once; raises `BadSetting`."""
    by_market: dict[str, str] = {}
    for text in typed:
        symbol, market = symbol_and_market(text)
        by_market.setdefault(market, symbol)
    return list(by_market.values())


def most_traded(
    traded: Iterable[SymbolInfo], volumes: Mapping[str, Decimal], quote: str, count: int
) -> list[str]:
    """Return the `count` symbols of `traded` with the largest volume in `quote`, largest first.

    `volumes` are by market, in the quote asset. Raises `NothingTraded`.
    """
    quoted = [info for info in traded if info.quote == quote]
    if not quoted:
        raise NothingTraded(quote)
    ranked = sorted(quoted, key=lambda info: (-volumes.get(info.market, Decimal()), info.symbol))
    return [info.symbol for info in ranked[:count]]


async def chosen_symbols(
    engine: Engine, choice: SymbolChoice, tell: Callable[[str], None]
) -> list[str]:
    """Return the symbols of `choice`, first the named ones, each once.

    For the most traded symbols the exchange is asked until it answers; `tell` is called with
    each new reason why it doesn't. Raises `NothingTraded` and `RegionBlocked`.
    """
    symbols = {split_symbol(symbol)[1]: symbol for symbol in choice.named}
    if choice.top:
        traded, volumes = await _traded_symbols(engine, tell)
        for symbol in most_traded(traded, volumes, choice.quote, choice.top):
            symbols.setdefault(split_symbol(symbol)[1], symbol)
    return list(symbols.values())


async def _traded_symbols(
    engine: Engine, tell: Callable[[str], None]
) -> tuple[list[SymbolInfo], dict[str, Decimal]]:
    """Return the traded symbols, and the volumes of a day by market, once the exchange answers."""

    def failed(error: ExchangeError, /, *, is_new: bool) -> None:
        if isinstance(error, RegionBlocked):
            raise error
        _log.warning("no list of the most traded symbols: %s", error)
        if is_new:
            tell(str(error))

    async def pause(error: ExchangeError, delay_s: float) -> None:
        if isinstance(error, RateLimited | Paced):
            delay_s = max(delay_s, error.retry_after_s)
        await asyncio.sleep(delay_s)

    async def asked() -> tuple[list[SymbolInfo], dict[str, Decimal]]:
        return await engine.symbols(), await engine.rest.day_volumes()

    delays = backoff_delays(first=1.0, cap=60.0)
    return await Attempts(ExchangeError, failed, delays, pause).until_it_works(asked)
