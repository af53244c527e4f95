"""A desk without an exchange: books made up from a seed, commands noted and obeyed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.desk import (
    Connections,
    NextAttempt,
    Notice,
    NoticeAction,
    NoticeLevel,
    TradePages,
)
from orderbook_desktop.core.events import answered, decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.pages import HeatmapPages, TileBuilding, TileStatus
from orderbook_desktop.core.library_jobs import RecordingLibrary
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.units import format_units
from orderbook_desktop.gui.panes.book_frame import BookFrame, read_frame

NOW_NS = 1_723_100_000_250_000_000
EVENT_MS = 1_723_100_000_000

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Market:
    """The shape of a made-up market; prices and sizes are in units of 10^-8."""

    info: SymbolInfo
    price: int
    size: int
    levels: int = 2_000


def symbol_info(symbol: str, tick: str = "0.01", step: str = "0.00001") -> SymbolInfo:
    base, quote = symbol.split("/")
    return SymbolInfo(symbol, base + quote, base, quote, _units(tick), _units(step))


def _units(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(8, "0"))


BTC = Market(symbol_info("BTC/USDT"), _units("57123.45"), _units("0.35"))
PEPE = Market(
    symbol_info("PEPE/USDT", "0.00000001", "1"), _units("0.00000812"), _units("91000000"), 700
)


class FakeSource:
    """A book with a feed status, changed by hand."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.book = Book()
        self.last: BookImage | None = None
        self.tape: Tape | None = None
        self.status = FeedStatus(FeedState.SYNCING, SourceKind.MONGO)
        self._next_id = 1_001

    def look(self) -> BookLook:
        return BookLook(self.book, self.status, self.last, self.tape)

    def load(self, bids: Pairs, asks: Pairs, depth: int | None = 100_000) -> None:
        """Load the answer to a request for `depth` levels; None: it is not known how deep it is."""
        payload = {"lastUpdateId": self._next_id - 1, "bids": bids, "asks": asks}
        snapshot = decode_snapshot(json.dumps(payload).encode(), self.market, EVENT_MS)
        self.book.load(snapshot if depth is None else answered(snapshot, depth))
        self.last = None
        self.status = replace(self.status, state=FeedState.SYNCED, last_received_ns=NOW_NS)

    def apply(self, bids: Pairs, asks: Pairs) -> None:
        payload = {
            "e": "depthUpdate",
            "E": EVENT_MS + self._next_id,
            "s": self.market,
            "U": self._next_id,
            "u": self._next_id,
            "b": bids,
            "a": asks,
        }
        self._next_id += 1
        self.book.apply(decode_diff(json.dumps(payload).encode()))

    def lose(self, state: FeedState, detail: str = "") -> None:
        """Lose the book, as a driver does on a gap; the last one can still be shown."""
        if self.book.last_update_id:
            self.last = image_of(self.book, self.market)
        self.book.clear()
        self.status = replace(self.status, state=state, detail=detail)

    def be_unknown(self, state: FeedState, detail: str = "") -> None:
        """Be as before the first book."""
        self.lose(state, detail)
        self.last = None


class TurningSource(FakeSource):
    """A source that changes to the other of two books with every look."""

    def __init__(self, first: FakeSource, second: FakeSource) -> None:
        super().__init__(first.market)
        self._turns = cycle((first, second))
        self.looks = 0

    def look(self) -> BookLook:
        self.looks += 1
        return next(self._turns).look()


class MovingMarket:
    """Fills a `FakeSource` with a believable book and moves it, deterministically."""

    def __init__(self, market: Market, source: FakeSource, seed: int = 7) -> None:
        self._market = market
        self._source = source
        self._random = random.Random(seed)
        tick = market.info.tick_size
        self._tick = tick
        self._bids = self._side(market.price, -tick)
        self._asks = self._side(market.price + tick, tick)
        source.load(_pairs(sorted(self._bids.items(), reverse=True)), _pairs(self._asks.items()))

    def step(self, changes: int = 40) -> None:
        """Apply one event that changes about `changes` levels, most of them near the spread."""
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for _ in range(changes // 2):
            for book, changed in ((self._bids, bids), (self._asks, asks)):
                prices = list(book)
                at = min(int(self._random.expovariate(1 / 25)), len(prices) - 1)
                changed[prices[at]] = book[prices[at]] = self._size(at)
        self._source.apply(_pairs(bids.items()), _pairs(asks.items()))

    def _side(self, start: int, tick: int) -> dict[int, int]:
        levels: dict[int, int] = {}
        price, width = start, max(1, self._market.price // self._tick // 400_000)
        for index in range(self._market.levels):
            if price <= 0:
                break
            levels[price] = self._size(index)
            price += (
                tick
                * self._random.choice((1, 1, 1, 2, 3))
                * (1 if index < 60 else self._random.randint(1, 1 + 12 * width))
            )
        return levels

    def _size(self, index: int) -> int:
        step = self._market.info.step_size
        size = self._market.size * self._random.lognormvariate(-0.5, 1.1)
        if self._random.random() < 0.02:
            size *= 12
        return max(1, int(size * (0.35 + min(index, 300) / 200) / step)) * step


def _pairs(levels: Iterable[tuple[int, int]]) -> Pairs:
    return [(format_units(price), format_units(size)) for price, size in levels]


def many_symbols(count: int = 500) -> list[SymbolInfo]:
    """Return `count` symbols, the usual ones first."""
    usual = [
        symbol_info(f"{base}/{quote}")
        for base in ("BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "PEPE", "WBTC")
        for quote in ("USDT", "USDC", "EUR")
    ]
    letters = "ABCDEFGHIJ"
    further = [
        symbol_info(f"{letters[n // 100 % 10]}{letters[n // 10 % 10]}{letters[n % 10]}/USDT")
        for n in range(count - len(usual))
    ]
    return [*usual, *further]


class FakeTiles:
    """Tiles that a test counts."""

    def __init__(self) -> None:
        self.status = TileStatus()

    def switch(self, wanted: bool) -> None:
        self.status = replace(self.status, is_on=wanted)


class FakeDesk:
    """A `core.desk.Desk` that obeys its commands, and notes them in `commands`."""

    def __init__(self, info: SymbolInfo = BTC.info, *, demo: bool = False) -> None:
        self.revision = 1
        self.exchange = ""
        self.symbol = info
        self.source = FakeSource(info.market)
        self.source_kind = SourceKind.MONGO
        self.symbols: Sequence[SymbolInfo] = many_symbols()
        self.recents: Sequence[str] = (info.symbol,)
        self.recording = RecordingStatus(
            self.symbol.symbol, RecordingState.STOPPED, wanted=False, kept=False
        )
        self.recordings: Sequence[RecordingStatus] = ()
        self.notices: Sequence[Notice] = ()
        self.demo = demo
        self.commands: list[tuple[str, object]] = []
        self.attempts: dict[str, NextAttempt] = {}
        self.gaps: dict[str, RecordedGaps] = {}
        self.here_too: tuple[str, ...] = ()
        self.connections = Connections()
        self.trade_pages: TradePages | None = None
        self.heatmaps: HeatmapPages | None = None
        self.made_tiles = FakeTiles()
        self.tiles: TileBuilding | None = self.made_tiles
        self.library: RecordingLibrary | None = None
        self.replay: Replay | None = None
        self._live = self.source
        self.changed: Callable[[], None] | None = None

    @property
    def live_symbol(self) -> SymbolInfo:
        return self.symbol

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        self.changed = changed

    def tell_changed(self) -> None:
        """Say that the book has changed, as a real desk does."""
        if self.changed is not None:
            self.changed()

    def recorded_gaps(self, symbol: str) -> RecordedGaps | None:
        return self.gaps.get(symbol)

    def select_symbol(self, symbol: str) -> None:
        self.commands.append(("select_symbol", symbol))
        known = {info.symbol: info for info in self.symbols}
        if self.symbols and symbol not in known:
            text = f"{symbol} is not traded."
            self.notify(Notice("unknown", NoticeLevel.WARNING, text))
            return
        symbol, market = split_symbol(symbol)
        base, _, quote = symbol.partition("/")
        self.symbol = known.get(symbol, SymbolInfo(symbol, market, base, quote))
        self.source = FakeSource(market)
        self.recents = (symbol, *(old for old in self.recents if old != symbol))
        self.revision += 1

    def select_source(self, kind: SourceKind) -> None:
        self.commands.append(("select_source", kind))
        self.source_kind = kind
        self.source.status = replace(self.source.status, source=kind)
        self.revision += 1

    def start_replay(
        self, symbol: str | None = None, *, at: int | str | None = None, file: Path | None = None
    ) -> None:
        self.commands.append(("start_replay", (symbol, at, file)))

    def leave_replay(self) -> None:
        self.commands.append(("leave_replay", None))
        self.replay, self.source = None, self._live
        self.revision += 1

    def play(self, replay: Replay, source: FakeSource) -> None:
        """Show `replay`, whose book is that of `source`, as after `start_replay`."""
        if self.replay is None:
            self._live = self.source
        self.replay, self.source = replay, source
        self.revision += 1

    def set_recording(self, wanted: bool) -> None:
        self.commands.append(("set_recording", wanted))
        state = RecordingState.RECORDING if wanted else RecordingState.STOPPED
        self.recording = replace(self.recording, state=state, wanted=wanted)
        self.revision += 1

    def start_recording(self, symbol: str) -> None:
        self.commands.append(("start_recording", symbol))
        self._set_state(symbol, RecordingState.RECORDING)

    def stop_recording(self, symbol: str) -> None:
        self.commands.append(("stop_recording", symbol))
        self._set_state(symbol, RecordingState.STOPPED)

    def remove_recording(self, symbol: str) -> None:
        self.commands.append(("remove_recording", symbol))
        self.recordings = tuple(one for one in self.recordings if one.symbol != symbol)
        self.revision += 1

    def _set_state(self, symbol: str, state: RecordingState) -> None:
        now = {one.symbol: one for one in self.recordings}
        known = now.get(symbol, RecordingStatus(symbol, state, kept=False))
        now[symbol] = replace(
            known, state=state, wanted=state is not RecordingState.STOPPED, kept=True
        )
        self.recordings = tuple(now.values())
        self.revision += 1

    def set_connections(self, count: int) -> None:
        self.commands.append(("set_connections", count))
        self.connections = Connections(count)
        self.revision += 1

    def record_here(self, symbol: str, wanted: bool) -> None:
        self.commands.append(("record_here", (symbol, wanted)))
        others = tuple(one for one in self.here_too if one != symbol)
        self.here_too = (*others, symbol) if wanted else others
        self.recordings = tuple(
            replace(one, here_too=one.symbol in self.here_too) for one in self.recordings
        )
        self.revision += 1

    def dismiss(self, key: str) -> None:
        self.commands.append(("dismiss", key))
        self.notices = tuple(notice for notice in self.notices if notice.key != key)
        self.revision += 1

    def act(self, action: NoticeAction) -> None:
        self.commands.append(("act", action))

    def next_attempt(self, key: str) -> NextAttempt | None:
        return self.attempts.get(key)

    def retry(self, key: str) -> None:
        self.commands.append(("retry", key))

    def notify(self, *notices: Notice) -> None:
        self.notices = (*self.notices, *notices)
        self.revision += 1


def frame_of(desk: FakeDesk) -> BookFrame:
    """Return the frame of the desk's book as it is now."""
    return read_frame(desk.symbol, desk.source.look())
