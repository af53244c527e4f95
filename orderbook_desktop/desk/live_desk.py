"""The desk behind the window: one symbol on screen, and recordings of any number."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.core.sources import BookSource
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.desk.demo_exchange import DemoExchange
from orderbook_desktop.desk.desk_watch import DeskWatch
from orderbook_desktop.desk.notice_board import NoticeBoard
from orderbook_desktop.desk.recording_set import RecordingSet
from orderbook_desktop.desk.settings import DeskSettings
from orderbook_desktop.desk.times import DESK_TIMES, DeskTimes
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.system.tasks import Jobs

_log = logging.getLogger(__name__)

_RECENTS_KEPT: Final = 12
_RECORDINGS_AT_MOST: Final = 1_000
_LOOK_EVERY_S: Final = 0.2
_POLL_S: Final = 0.05
_BOOK_FIRST_S: Final = 2.0


class LiveDesk:
    """Is a `Desk`. `await start()`, then `await close()` at the end.

    `recents` are the symbols of earlier runs, `recordings` the kept recordings of the last
    one and whether they are to run. With `demo` everything happens on a made-up
    market, in a database of its own, and the exchange is never asked for anything.
    `current_log` tells where the log is, as far as there is one.
    """

    def __init__(
        self,
        settings: DeskSettings,
        *,
        symbol: str,
        source_kind: SourceKind,
        recents: Sequence[str] = (),
        recordings: Mapping[str, bool] | None = None,
        demo: bool = False,
        current_log: Callable[[], str] = lambda: "",
        times: DeskTimes = DESK_TIMES,
    ) -> None:
        self._settings = settings
        self._times = times
        self._current_log = current_log
        self._demo = demo
        self._demo_exchange: DemoExchange | None = None
        self._kind = source_kind
        self._symbol = unlisted(symbol)
        self._recents = list(recents)
        self._symbols: list[SymbolInfo] = []
        self._revision = 0
        self._board = NoticeBoard(self._change)
        # What belongs to the desk, and what belongs to the engine of the moment.
        self._changes = Jobs(self.tell_of_bug)
        self._jobs = Jobs(self.tell_of_bug)
        self._started = False
        self._entering_demo = False
        self._shown_recording: RecordingStatus | None = None
        self._remember(self._symbol.symbol)
        self._engine = Engine(settings, self.tell_of_bug, times.engine)
        # What is recorded of the real market has no place in the demo's database.
        kept = None if demo else recordings
        self._recordings = RecordingSet(
            self._engine, kept, follows_screen=True, look_again_s=times.look_again_s
        )
        self._session = self._open_session()

    @property
    def revision(self) -> int:
        """A number that grows with every change (see `Desk`)."""
        return self._revision

    @property
    def engine(self) -> Engine | None:
        """What runs behind the window just now, None while that is changing."""
        return self._engine if self._started else None

    @property
    def exchange(self) -> str:
        """The host that plays the exchange, where it isn't the usual one (see `Desk`)."""
        return "" if self._demo else self._settings.other_exchange

    @property
    def symbol(self) -> SymbolInfo:
        """The symbol on screen."""
        return self._symbol

    @property
    def source(self) -> BookSource:
        """Its book and the book's trustworthiness."""
        return self._session.view

    @property
    def source_kind(self) -> SourceKind:
        """The source that was chosen."""
        return self._kind

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """All traded spot symbols; empty until the exchange has told."""
        return self._symbols

    @property
    def recents(self) -> Sequence[str]:
        """Symbols shown before, the latest first."""
        return self._recents

    @property
    def recording(self) -> RecordingStatus:
        """The recording of the symbol on screen."""
        return self._shown_recording or self._session.recording_status

    @property
    def recordings(self) -> Sequence[RecordingStatus]:
        """All recordings (see `Desk`)."""
        return self._recordings.statuses

    @property
    def disk(self) -> DiskStatus:
        """What room recordings take, and what there is."""
        return self._engine.disk

    @property
    def retention(self) -> Retention:
        """What is kept of recordings."""
        return self._engine.keeper.retention

    @property
    def notices(self) -> Sequence[Notice]:
        """What the person should know now."""
        return self._board.notices

    @property
    def demo(self) -> bool:
        """Whether all this is the made-up market of the demo."""
        return self._demo

    async def start(self) -> None:
        """Begin to follow the symbol; what takes time goes on in the background."""
        if self._demo:
            self._enter_demo()
        else:
            await self._begin()

    async def close(self) -> None:
        """End everything."""
        try:
            await self._changes.close()
        finally:
            await self._end()

    def select_symbol(self, symbol: str) -> None:
        """Show `symbol` (see `Desk`)."""
        wanted = self._found(symbol)
        if wanted is None:
            return
        self._board.withdraw("symbol", "exchange", "gap")
        if wanted.market == self._symbol.market:
            return
        symbol, before = self._symbol.symbol, self._session
        was_recorded = self._recordings.recorded_by_screen and before.has_begun
        self._symbol = wanted
        self._remember(wanted.symbol)
        self._session = self._open_session()
        self._board.withdraw("recording")
        if was_recorded:
            self._tell_left(symbol)
        self._engine.close_market(before)
        if self._started:
            self._session.start()
        self._change()

    def select_source(self, kind: SourceKind) -> None:
        """Show the recorded book, or the exchange's own."""
        self._kind = self._session.view.kind = kind
        self._change()

    def set_recording(self, wanted: bool) -> None:
        """Start or stop recording the symbol on screen."""
        self._recordings.set_on_screen(wanted)
        self._board.withdraw("recording")
        self._change()

    def start_recording(self, symbol: str) -> None:
        """Record `symbol`, whatever is on screen (see `Desk`)."""
        wanted = self._found(symbol)
        if wanted is None:
            return
        if len(self._recordings.statuses) >= _RECORDINGS_AT_MOST:
            text = (
                f"{_RECORDINGS_AT_MOST} symbols are recorded already; for more of them start "
                "another recorder."
            )
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))
            return
        self._recordings.start(wanted.symbol)
        self._board.withdraw("recording")
        self._change()

    def stop_recording(self, symbol: str) -> None:
        """Stop recording `symbol` (see `Desk`)."""
        self._recordings.stop(symbol)
        self._change()

    def remove_recording(self, symbol: str) -> None:
        """Stop recording `symbol` by hand (see `Desk`)."""
        self._recordings.remove(symbol)
        self._change()

    def set_retention(self, retention: Retention) -> None:
        """Keep so much of recordings from now on."""
        self._settings = self._settings.with_retention(retention)
        self._engine.keeper.retention = retention

    def dismiss(self, key: str) -> None:
        """Take the notice `key` off the screen; it returns if its reason comes back."""
        self._board.dismiss(key)

    def act(self, action: NoticeAction) -> None:
        """Do what a notice offered."""
        if action is NoticeAction.USE_DIRECT:
            self.select_source(SourceKind.DIRECT)
        elif action is NoticeAction.START_DEMO:
            self._enter_demo()
        elif action is NoticeAction.KEEP_RECORDING:
            for symbol in filter(None, [notice.symbol for notice in self._board.notices]):
                self.start_recording(symbol)

    def tell_of_bug(self, error: BaseException) -> None:
        """Tell the person that something went wrong that should not have; it is logged."""
        text = (
            f"Something went wrong that should not have ({type(error).__name__}); the details "
            f"are in {self._current_log() or 'the log'}. If the window acts up, start it again."
        )
        self._board.tell(Notice("bug", NoticeLevel.WARNING, text))

    def _tell_left(self, symbol: str) -> None:
        """Tell that `symbol`, which was on screen, is no longer recorded."""
        text = f"{symbol} is no longer recorded"
        if self._recordings.recorded_by_screen:
            text += f"; {self._symbol.symbol} is, while it is on screen"
        action = NoticeAction.KEEP_RECORDING
        self._board.tell(Notice("recording", NoticeLevel.INFORMATION, f"{text}.", action, symbol))

    def _change(self) -> None:
        self._revision += 1

    def _open_session(self) -> MarketSession:
        session = self._engine.open_market(self._symbol.symbol, viewed=True)
        session.view.kind = self._kind
        self._recordings.show(self._symbol.symbol, session)
        return session

    def _found(self, typed: str) -> SymbolInfo | None:
        """Return the symbol that was meant; None, and a notice, where there is none."""
        try:
            return self._find(typed)
        except ValueError:
            what = plain_text(typed.strip(), 40) or "Nothing"
            # Who wrote a symbol as it is to be written is not told how to.
            hint = ", or not any more" if "/" in what else "; write one as BTC/USDT"
            text = f"{what} is not a traded symbol{hint}."
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))
            return None

    def _find(self, typed: str) -> SymbolInfo:
        symbol, market = split_symbol(typed)
        for info in self._symbols:
            if info.market == market:
                return info
        if self._symbols or "/" not in symbol:
            raise ValueError(f"{symbol} is no symbol that is known to be traded")
        return unlisted(symbol)

    def _remember(self, symbol: str) -> None:
        others = [recent for recent in self._recents if recent != symbol]
        self._recents = [symbol, *others][:_RECENTS_KEPT]

    async def _begin(self) -> None:
        """Let the engine and the session run, and look after them."""
        self._started = True
        await self._engine.start()
        self._session.start()
        self._jobs.start(self._recordings.resume(), "kept recordings")
        self._jobs.start(self._load_symbols(), "list of symbols")
        self._jobs.start(self._watch(), "watch")

    async def _end(self) -> None:
        """End what `_begin` began, and the demo's exchange if there is one."""
        self._started = False
        try:
            await self._jobs.close()
        finally:
            try:
                await self._engine.close()
            finally:
                exchange, self._demo_exchange = self._demo_exchange, None
                if exchange is not None:
                    await exchange.close()

    async def _load_symbols(self) -> None:
        await self._until_book()
        delays = backoff_delays(first=1.0, cap=60.0)
        while not self._symbols:
            try:
                self._symbols = await self._engine.symbols()
            except KnownError as error:
                _log.warning("no list of symbols: %s", error)
                await asyncio.sleep(next(delays))
        self._change()
        listed = next((one for one in self._symbols if one.market == self._symbol.market), None)
        if listed is not None:
            self._symbol = listed
        elif self._demo:
            self._fall_back()
        else:
            text = f"The exchange doesn't trade {self._symbol.symbol}, or not any more."
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))

    async def _until_book(self) -> None:
        """Wait for the first book, not long: loading the symbols would only slow it down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BOOK_FIRST_S):
                while not self._is_live_settled():  # noqa: ASYNC110 - nobody could set an event
                    await asyncio.sleep(_POLL_S)

    def _is_live_settled(self) -> bool:
        live = self._session.live
        return live.status.state is FeedState.SYNCED or live.problem is not None

    def _fall_back(self) -> None:
        """Show another symbol instead of one that the demo doesn't have."""
        missing = self._symbol.symbol
        known = {one.symbol for one in self._symbols}
        default = self._settings.usual_symbol
        self.select_symbol(default if default in known else self._symbols[0].symbol)
        self._board.withdraw("recording")
        text = f"The demo has no {missing}; this is {self._symbol.symbol}."
        self._board.tell(Notice("symbol", NoticeLevel.INFORMATION, text))

    async def _watch(self) -> None:
        watch = DeskWatch(self._engine, self._board)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._recordings.look()
            watch.look(self._session, demo=self._demo)

    def _enter_demo(self) -> None:
        if not self._entering_demo:
            self._entering_demo = True
            self._changes.start(self._change_to_demo(), "start of the demo")

    async def _change_to_demo(self) -> None:
        """Start the demo's exchange, then leave what there was and go on with that."""
        exchange = DemoExchange(self._settings, self._times.demo)
        self._board.tell(Notice("demo", NoticeLevel.INFORMATION, "Starting the demo…"))
        try:
            await exchange.start()
            # Nobody switches it off, and it goes on: it must not look as if it ended.
            self._shown_recording = self._session.recording_status
            await self._end()
        except KnownError as error:
            self._tell_demo_failed(error)
            return
        except BaseException:
            await exchange.close()
            raise
        finally:
            self._entering_demo, self._shown_recording = False, None
        self._demo_exchange, self._demo = exchange, True
        self._symbols = []
        self._board.clear()
        self._engine = Engine(exchange.settings(), self.tell_of_bug, self._times.engine)
        follows = self._recordings.follows_screen
        self._recordings = RecordingSet(
            self._engine, follows_screen=follows, look_again_s=self._times.look_again_s
        )
        self._session = self._open_session()
        self._change()
        await self._begin()
        self._jobs.start(self._watch_demo(exchange), "watch over the demo")

    async def _watch_demo(self, exchange: DemoExchange) -> None:
        self._tell_demo_failed(await exchange.ended())

    def _tell_demo_failed(self, error: KnownError) -> None:
        _log.error("%s", error)
        self._board.tell(Notice("demo", NoticeLevel.WARNING, str(error), NoticeAction.START_DEMO))
