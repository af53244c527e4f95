"""The library of the browser view: the symbols on offer, and the books that it lends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.library import LentBook, find_symbol
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.replay_status import Coverage
from orderbook_desktop.core.sources import BookLook, TradeHistory
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.followed_market import FollowedMarket
from orderbook_desktop.desk.heatmap_pages import heatmaps_of_database
from orderbook_desktop.desk.symbol_list import SymbolList
from orderbook_desktop.engine.engine import Engine


class Library:
    """A `BookLibrary`. `follow` returns the lent book of a symbol.

    The other callables are called each time: they return the symbols on offer, the symbol to
    begin with, the gaps of a market's recording, the recorded trades, the heatmaps that a market is
    in, and whether the market is the made-up market of the demo.
    """

    def __init__(
        self,
        follow: Callable[[str], LentBook],
        *,
        symbols: Callable[[], Sequence[SymbolInfo]],
        default_symbol: Callable[[], str],
        gaps: Callable[[str], RecordedGaps | None],
        trades: Callable[[], TradeHistory],
        heatmaps: Callable[[str], HeatmapPages],
        demo: Callable[[], bool] = lambda: False,
    ) -> None:
        self._follow = follow
        self._symbols = symbols
        self._default_symbol = default_symbol
        self._gaps = gaps
        self._trades = trades
        self._heatmaps = heatmaps
        self._demo = demo

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """The symbols on offer."""
        return self._symbols()

    @property
    def default_symbol(self) -> str:
        """The symbol to begin with."""
        return self._default_symbol()

    @property
    def demo(self) -> bool:
        """Whether the market is the made-up market of the demo."""
        return self._demo()

    def recorded_gaps(self, info: SymbolInfo) -> RecordedGaps | None:
        """Return the gaps of the symbol's recording; None while they are not known."""
        return self._gaps(info.market)

    @property
    def trades(self) -> TradeHistory:
        """The recorded trades."""
        return self._trades()

    def heatmaps_of(self, info: SymbolInfo) -> HeatmapPages:
        """Return the heatmaps of what is recorded, or of the file that is played."""
        return self._heatmaps(info.market)

    def find(self, typed: str) -> SymbolInfo:
        """Return the symbol on offer that `typed` names; raises `NotOffered`."""
        return find_symbol(self.symbols, typed, self.default_symbol)

    def lend(self, info: SymbolInfo) -> LentBook:
        """Return the book of a symbol; all its readers share one feed. Close it at the end."""
        return self._follow(info.symbol)


class _DeskBook:
    """The book of a market as the window shows it: that of its replay, else the live one.

    The live book is followed meanwhile.
    """

    def __init__(self, desk: LiveDesk, live: FollowedMarket) -> None:
        self.market = live.market
        self._desk = desk
        self._live = live

    def look(self) -> BookLook:
        """Return the book as the window shows it now."""
        replay = self._desk.replay
        if replay is not None and replay.market == self.market:
            return replay.look()
        return self._live.look()

    def close(self) -> None:
        """End the loan."""
        self._live.close()


class _DeskTrades:
    """The recorded trades; of the market that the window plays none of after its clock."""

    def __init__(self, desk: LiveDesk) -> None:
        self._desk = desk

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the last `count` recorded trades before an id, in the order of their ids."""
        return await self._of(market).before(market, trade_id, count)

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the first `count` recorded trades after an id, in the order of their ids."""
        return await self._of(market).after(market, trade_id, count)

    def _of(self, market: str) -> TradeHistory:
        replay = self._desk.replay
        if replay is not None and replay.market == market:
            return self._desk.trade_history
        return self._desk.program.trade_history


class _DeskGaps:
    """The gaps of a market's recording; of the packed file that the window plays those in it."""

    def __init__(self, desk: LiveDesk) -> None:
        self._desk = desk
        # A channel tells by identity whether they are the same.
        self._of_file: tuple[Coverage, RecordedGaps] = Coverage(), RecordedGaps()

    def __call__(self, market: str) -> RecordedGaps | None:
        """Return the gaps; None while they are not known."""
        replay = self._desk.replay
        if replay is None or replay.market != market or not replay.status.file:
            return self._desk.program.gaps_of(market)
        coverage = replay.coverage
        if coverage is not self._of_file[0]:
            self._of_file = coverage, coverage.recorded_gaps
        return self._of_file[1]


def library_of_desk(desk: LiveDesk) -> Library:
    """Return the library of a window's desk: it shows what that shows, its symbol first."""
    trades = _DeskTrades(desk)

    def heatmaps(market: str) -> HeatmapPages:
        replay = desk.replay
        is_played = replay is not None and replay.market == market
        return desk.heatmaps if is_played else desk.program.heatmaps

    return Library(
        lambda symbol: _DeskBook(desk, desk.program.follow(symbol, lambda: desk.source_kind)),
        symbols=lambda: desk.symbols,
        default_symbol=lambda: desk.symbol.symbol,
        gaps=_DeskGaps(desk),
        trades=lambda: trades,
        heatmaps=heatmaps,
        demo=lambda: desk.demo,
    )


def library_of_engine(
    engine: Engine, offer: SymbolList, default_symbol: str, kind: SourceKind
) -> Library:
    """Return the library of a server without a window, which shows books as `kind`."""

    def follow(symbol: str) -> LentBook:
        lease = engine.open_market(symbol, viewed=kind is SourceKind.MONGO)
        lease.kind = kind
        lease.session.start()
        return lease

    heatmaps = heatmaps_of_database(engine, engine.jobs.start)

    return Library(
        follow,
        symbols=lambda: offer.symbols,
        default_symbol=lambda: default_symbol,
        gaps=engine.gaps.gaps_of,
        trades=lambda: engine.trade_history,
        heatmaps=lambda _: heatmaps,
    )
