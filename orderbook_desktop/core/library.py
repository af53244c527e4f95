"""The Protocol by which the browser view sees books: several symbols, each lent out.

A lent book is followed until each of its loans is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.sources import BookSource, TradeHistory
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol

if TYPE_CHECKING:
    from orderbook_desktop.core.heatmap.pages import HeatmapPages


class NotOffered(KnownError):
    """A symbol that cannot be shown; `reason` says why."""

    symbol: str
    reason: str

    def __str__(self) -> str:
        return f"{self.symbol} cannot be shown: {self.reason}."


class LentBook(BookSource, Protocol):
    """A book that is being followed, until `close()`."""

    def close(self) -> None:
        """End the loan; to do so again does nothing."""
        ...


class BookLibrary(Protocol):
    """Lends books by symbol."""

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """The symbols on offer, the same object until it changes; empty while not known."""
        ...

    @property
    def default_symbol(self) -> str:
        """The symbol for a viewer who has not chosen one (`BTC/USDT`)."""
        ...

    @property
    def demo(self) -> bool:
        """Whether all this is the made-up market of the demo."""
        ...

    def recorded_gaps(self, info: SymbolInfo) -> RecordedGaps | None:
        """Return the gaps of the symbol's recording; None while they are not known."""
        ...

    @property
    def trades(self) -> TradeHistory:
        """The recorded trades."""
        ...

    def heatmaps_of(self, info: SymbolInfo) -> HeatmapPages | None:
        """Return the heatmaps of what is recorded: where a packed file is played, of the file."""
        ...

    def find(self, typed: str) -> SymbolInfo:
        """Return the symbol on offer that `typed` (`btc/usdt`, `BTCUSDT`) means.

        Raises `NotOffered`.
        """
        ...

    def lend(self, info: SymbolInfo) -> LentBook:
        """Follow the symbol's book, which other borrowers may have too. Raises `NotOffered`."""
        ...


def find_symbol(symbols: Sequence[SymbolInfo], typed: str, default_symbol: str) -> SymbolInfo:
    """Return which of `symbols` is meant by `typed`; raises `NotOffered`.

    While `symbols` is empty, only the default symbol is found.
    """
    try:
        symbol, market = split_symbol(typed)
    except ValueError as error:
        raise NotOffered(typed[:40], "it is not a symbol such as BTC/USDT") from error
    for info in symbols:
        if info.market == market:
            return info
    if symbols:
        raise NotOffered(symbol, "it is not among the symbols on offer")
    if market != split_symbol(default_symbol)[1]:
        raise NotOffered(symbol, "the exchange has not listed its symbols yet")
    return unlisted(symbol)


def unlisted(typed: str) -> SymbolInfo:
    """Return what is known of a symbol without the exchange's list; raises `ValueError`."""
    symbol, market = split_symbol(typed)
    base, _, quote = symbol.partition("/")
    return SymbolInfo(symbol, market, base, quote)
