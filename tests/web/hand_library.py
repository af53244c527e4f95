"""A library whose books change when a test changes them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import answered, decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.library import NotOffered
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trades import Trade, decode_trade
from orderbook_desktop.system.steady_clock import steady_ns

Pairs = Sequence[tuple[str, str]]
NOW_NS = 1_700_000_000_000_000_000

BTC = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT", 10**6, 10**3)
ETH = SymbolInfo("ETH/USDT", "ETHUSDT", "ETH", "USDT", 10**6, 10**4)
SCRIPT = SymbolInfo("<SCRIPT>/USDT", "<SCRIPT>USDT", "<script>alert(1)</script>", "USDT")


THREE_GAPS = RecordedGaps(
    tuple(
        Gap(1_700_000_000_000, 1_700_000_001_000, 5, 9, cause, "") for cause in list(GapCause)[:3]
    ),
    1,
)


def made_trade(
    market: str, trade_id: int, price: str, quantity: str, *, is_sold: bool = False
) -> Trade:
    """Return a trade whose time is a ms after that of the id before it."""
    time_ms = 1_700_000_000_000 + trade_id
    event = {"e": "aggTrade", "E": time_ms, "s": market, "a": trade_id, "p": price, "q": quantity}
    parts = {"f": trade_id, "l": trade_id, "T": time_ms, "m": is_sold, "M": True}
    return decode_trade(json.dumps(event | parts).encode(), 1)


class RecordedTrades:
    """A `TradeHistory` of the trades with the ids from 1 to below `end`."""

    end = 1
    problem: KnownError | None = None

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        if self.problem is not None:
            raise self.problem
        end = min(trade_id, self.end)
        ids = range(max(1, end - count), end)
        return [made_trade(market, id_, "60000.01000000", "0.50000000") for id_ in ids]

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        raise NotImplementedError


class HandBook:
    """A `LentBook`; `load` and `change` do the work of a feed."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.book = Book()
        self.status = FeedStatus(FeedState.SYNCING, SourceKind.DIRECT, 0, "Loading the book.")
        self.last: BookImage | None = None
        self.tape: Tape | None = None
        self.replay: ReplayStatus | None = None
        self.depth: DepthTail | None = None
        self.loans = 0
        self._id = 0

    def look(self) -> BookLook:
        return BookLook(self.book, self.status, self.last, self.tape, self.replay, self.depth)

    def play(self, image: BookImage | None, at_ms: int, detail: str = "") -> None:
        """Show a book of a replay at a time; None: at a gap, which shows none."""
        self.replay = ReplayStatus(
            symbol=self.market, market=self.market, at_ns=at_ms * 1_000_000 + 999_999
        )
        self.last = None
        self.status = FeedStatus(FeedState.REPLAY, SourceKind.MONGO, NOW_NS, detail)
        if image is None:
            self.book.clear()
        else:
            self.book.hold(image)

    def trade(
        self,
        trade_id: int,
        price: str,
        quantity: str,
        *,
        is_sold: bool = False,
        time_id: int | None = None,
    ) -> None:
        """Follow trades, and add one; its time is that of `time_id`, or else of its own id."""
        self.tape = Tape(self.market) if self.tape is None else self.tape
        trade = made_trade(self.market, trade_id, price, quantity, is_sold=is_sold)
        timed = 1_700_000_000_000 + (trade_id if time_id is None else time_id)
        self.tape.add(replace(trade, event_ms=timed))

    def load(self, bids: Pairs, asks: Pairs, depth: int | None = 100_000) -> None:
        """Load the answer to a request for `depth` levels; None: it is not known how deep it is."""
        self._id += 10
        payload = json.dumps({"lastUpdateId": self._id, "bids": bids, "asks": asks})
        snapshot = decode_snapshot(payload.encode(), self.market, 1_700_000_000_000)
        self.book.load(snapshot if depth is None else answered(snapshot, depth))
        self.last = self.replay = None
        self.status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, steady_ns())

    def change(self, bids: Pairs = (), asks: Pairs = ()) -> None:
        """Apply one event."""
        first, self._id = self._id + 1, self._id + 3
        event = {"e": "depthUpdate", "E": 1_700_000_000_100, "s": self.market}
        payload = json.dumps({**event, "U": first, "u": self._id, "b": bids, "a": asks})
        self.book.apply(decode_diff(payload.encode()))

    def lose(self, detail: str) -> None:
        """Lose the book; the last one can still be shown."""
        if self.book.last_update_id:
            self.last = image_of(self.book, self.market)
        self.book.clear()
        self.status = FeedStatus(FeedState.RECONNECTING, SourceKind.DIRECT, NOW_NS, detail)

    def be_unknown(self, detail: str) -> None:
        """Be as before the first book."""
        self.lose(detail)
        self.last = None

    def close(self) -> None:
        self.loans -= 1


class HandLibrary:
    """A `BookLibrary` of three symbols; one of them has a name that must be escaped."""

    def __init__(self, *, demo: bool = False) -> None:
        self.symbols = [BTC, ETH, SCRIPT]
        self.default_symbol = "BTC/USDT"
        self.demo = demo
        self.books = {info.market: HandBook(info.market) for info in self.symbols}
        self.gaps: dict[str, RecordedGaps] = {}
        self.trades = RecordedTrades()
        self.heatmaps: HeatmapPages | None = None

    def recorded_gaps(self, info: SymbolInfo) -> RecordedGaps | None:
        return self.gaps.get(info.market)

    def heatmaps_of(self, info: SymbolInfo) -> HeatmapPages | None:
        del info
        return self.heatmaps

    def find(self, typed: str) -> SymbolInfo:
        for info in self.symbols:
            if typed.upper() in (info.symbol, info.market):
                return info
        try:
            symbol = split_symbol(typed)[0]
        except ValueError as error:
            raise NotOffered(typed, "it is not a symbol") from error
        raise NotOffered(symbol, "it is not among the symbols on offer")

    def lend(self, info: SymbolInfo) -> HandBook:
        book = self.books[info.market]
        book.loans += 1
        return book

    @property
    def btc(self) -> HandBook:
        return self.books["BTCUSDT"]

    @property
    def loans(self) -> int:
        return sum(book.loans for book in self.books.values())


def loaded_library() -> HandLibrary:
    """Return a library in which every book is known."""
    library = HandLibrary()
    for book in library.books.values():
        book.load(
            [("100.01", "1.5"), ("100.00", "2"), ("99.50", "0.25")],
            [("100.03", "0.5"), ("100.04", "1"), ("101.00", "4")],
        )
    return library
