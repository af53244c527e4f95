"""The library of the window's browser view: the desk's own books, and others beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.library import find_symbol
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession


class SharedDesk(Protocol):
    """What the library needs of a `LiveDesk`."""

    @property
    def engine(self) -> Engine | None:
        """What runs behind the window, None while that is changing."""
        ...

    @property
    def symbol(self) -> SymbolInfo:
        """The symbol on screen."""
        ...

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """All traded symbols; empty until the exchange has told."""
        ...

    @property
    def demo(self) -> bool:
        """Whether all this is made up."""
        ...


class DeskLibrary:
    """Is a `BookLibrary` over `desk`; the symbol on screen is the one to begin with."""

    def __init__(self, desk: SharedDesk) -> None:
        self._desk = desk

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """The symbols on offer."""
        return self._desk.symbols

    @property
    def default_symbol(self) -> str:
        """The symbol on screen."""
        return self._desk.symbol.symbol

    @property
    def demo(self) -> bool:
        """Whether this is the made-up market of the demo."""
        return self._desk.demo

    def find(self, typed: str) -> SymbolInfo:
        """Return the symbol on offer that was meant; raises `NotOffered`."""
        return find_symbol(self.symbols, typed, self.default_symbol)

    def lend(self, info: SymbolInfo) -> DeskBook:
        """Follow the book of a symbol, with the window if that shows it."""
        return DeskBook(self._desk, info)


class DeskBook:
    """A book lent by a `DeskLibrary`; it goes along when the desk changes to the demo."""

    def __init__(self, desk: SharedDesk, info: SymbolInfo) -> None:
        self._desk = desk
        self._info = info
        self._engine: Engine | None = None
        self._session: MarketSession | None = None
        self._nothing = Book()
        self._given_back = False

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        return self._info.market

    def look(self) -> BookLook:
        """Return the book as it is now, with its status."""
        session = self._present()
        if session is not None:
            return session.view.look()
        starting = FeedStatus(FeedState.SYNCING, SourceKind.DIRECT, 0, "Starting.")
        return BookLook(self._nothing, starting)

    def give_back(self) -> None:
        """End the loan."""
        engine, session = self._engine, self._session
        self._given_back, self._engine, self._session = True, None, None
        # An engine that is no longer the desk's has ended its sessions itself.
        if engine is not None and session is not None and engine is self._desk.engine:
            engine.close_market(session)

    def _present(self) -> MarketSession | None:
        """Return the session at the desk's present engine, opened when it is first needed."""
        engine = self._desk.engine
        if engine is not self._engine and not self._given_back:
            self._engine = engine
            self._session = None
            if engine is not None:
                self._session = engine.open_market(self._info.symbol, viewed=True)
                self._session.start()
        return self._session
