"""The list of symbols on offer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.system.attempts import Attempts, RetryWait

_log = logging.getLogger(__name__)


class SymbolList:
    """The symbols in `named`; if there are none, all traded symbols, once they are known.

    `await load()` in the background; `retry` is the wait before its next attempt. `symbols` is the
    same object until it changes.
    """

    def __init__(self, named: Sequence[str] = ()) -> None:
        self.retry = RetryWait()
        self._named = [unlisted(symbol) for symbol in named]
        self.symbols: Sequence[SymbolInfo] = self._named

    async def load(self, fetch: Callable[[], Awaitable[list[SymbolInfo]]]) -> list[str]:
        """Fetch the traded symbols, and try again until that works; fill in the named symbols.

        Return the named symbols that are not traded.
        """

        def failed(error: KnownError, /, *, is_new: bool) -> None:
            _log.log(logging.WARNING if is_new else logging.DEBUG, "no list of symbols: %s", error)

        async def pause(error: KnownError, delay_s: float) -> None:
            del error
            await self.retry.wait(delay_s)

        delays = backoff_delays(first=1.0, cap=60.0)
        traded = await Attempts(KnownError, failed, delays, pause).until_it_works(fetch)
        by_market = {info.market: info for info in traded}
        self.symbols = [by_market.get(info.market, info) for info in self._named] or traded
        return [info.symbol for info in self._named if info.market not in by_market]

    def listed(self, market: str) -> SymbolInfo | None:
        """Return the symbol of `market`; None if it is not on offer."""
        return next((info for info in self.symbols if info.market == market), None)

    def find(self, typed: str) -> SymbolInfo:
        """Return the symbol that `typed` names; raises `ValueError` if there is none."""
        symbol, market = split_symbol(typed)
        info = self.listed(market)
        if info is not None:
            return info
        if self.symbols or "/" not in symbol:
            raise ValueError(f"{symbol} is no symbol that is known to be traded")
        return unlisted(symbol)
