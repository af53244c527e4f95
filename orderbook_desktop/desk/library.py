"""The library of `serve`: books followed by an engine, opened when they are wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import find_symbol, unlisted
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession

_log = logging.getLogger(__name__)


class EngineLibrary:
    """Is a `BookLibrary` over `engine`.

    `named` are the only symbols on offer, where there are any; else all that are traded
    are, once the exchange has told. `await load_symbols()` in the background.
    """

    def __init__(
        self, engine: Engine, *, named: Sequence[str], default_symbol: str, kind: SourceKind
    ) -> None:
        self._engine = engine
        self._kind = kind
        self._named = [unlisted(symbol) for symbol in named]
        self._symbols = list(self._named)
        self._default = named[0] if named else default_symbol

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """The symbols on offer."""
        return self._symbols

    @property
    def default_symbol(self) -> str:
        """What somebody sees who has not chosen."""
        return self._default

    @property
    def demo(self) -> bool:
        """Never: only the window has a demo."""
        return False

    def find(self, typed: str) -> SymbolInfo:
        """Return the symbol on offer that was meant; raises `NotOffered`."""
        return find_symbol(self._symbols, typed, self._default)

    def lend(self, info: SymbolInfo) -> EngineBook:
        """Follow the book of a symbol, and its recording where that is to be shown."""
        viewed = self._kind is SourceKind.MONGO
        session = self._engine.open_market(info.symbol, viewed=viewed)
        session.view.kind = self._kind
        session.start()
        return EngineBook(self._engine, session, viewed=viewed)

    async def load_symbols(self) -> None:
        """Fetch what is traded, however often that takes; named ones get their filters."""
        delays = backoff_delays(first=2.0, cap=60.0)
        while True:
            try:
                traded = await self._engine.symbols()
            except KnownError as error:
                _log.warning("no list of symbols: %s", error)
                await asyncio.sleep(next(delays))
                continue
            by_market = {info.market: info for info in traded}
            named = [by_market.get(info.market, info) for info in self._named]
            self._symbols = named or traded
            return


class EngineBook:
    """A book lent by an `EngineLibrary`; is a `LentBook`. `viewed` is as it was opened."""

    def __init__(self, engine: Engine, session: MarketSession, *, viewed: bool) -> None:
        self._engine = engine
        self._viewed = viewed
        self._session: MarketSession | None = session
        self._view = session.view

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        return self._view.market

    def look(self) -> BookLook:
        """Return the book as it is now, with its status."""
        return self._view.look()

    def give_back(self) -> None:
        """End the loan."""
        session, self._session = self._session, None
        if session is not None:
            self._engine.close_market(session, viewed=self._viewed)
