"""The desk of one window: its symbol, its source, and the notices about them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.desk import (
    Connections,
    NextAttempt,
    Notice,
    NoticeAction,
    NoticeLevel,
    TradePages,
)
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.heatmap.pages import HeatmapPages, TileBuilding
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.library_jobs import RecordingLibrary
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.sources import BookSource
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.core.wording import counted
from orderbook_desktop.desk.followed_market import FollowedMarket
from orderbook_desktop.desk.notices import DeskWatch, NoticeBoard
from orderbook_desktop.desk.program import Program
from orderbook_desktop.desk.recording_set import Screen
from orderbook_desktop.desk.replaying import OpenReplay, Replaying, ReplayWish
from orderbook_desktop.desk.trade_pages import AskedTrades, GappyHistory
from orderbook_desktop.system.attempts import RetryWait

_log = logging.getLogger(__name__)

_RECENTS_KEPT: Final = 12
_RECORDINGS_AT_MOST: Final = 1_000


class _Choices(Struct, frozen=True):
    """What a person chose in the exchange's market, and finds again after the demo."""

    symbol: SymbolInfo
    kind: SourceKind
    recents: Sequence[str]
    records: bool


class LiveDesk:
    """One window's view of `program`; it is a `Desk`. Call `close()` when the window closes.

    `recents` are the symbols shown before the program's start, the latest first. `open_replay`
    opens recordings to be played; without it none is.
    """

    def __init__(
        self,
        program: Program,
        *,
        symbol: str,
        source_kind: SourceKind,
        recents: Sequence[str] = (),
        open_replay: OpenReplay | None = None,
    ) -> None:
        self.program = program
        self._kind = source_kind
        wanted = unlisted(symbol)
        self._symbol = program.offer.listed(wanted.market) or wanted
        self._recents = list(recents)
        self._changes = 0
        self._changed: Callable[[], None] | None = None
        self._board = NoticeBoard(self._change)
        self._watch = DeskWatch(self._board)
        self._screen = Screen()
        self._replaying = Replaying(
            *(open_replay, program.run, self._board),
            started=self._replay_started,
            ended=self._live,
            tell_after_s=program.times.opening_told_s,
        )
        self._replayed_pages = AskedTrades(lambda: self.trade_history, program.run)
        # Those of the packed file that is played.
        self._heatmaps_of_file: HeatmapPages | None = None
        self._awaiting_engine: ReplayWish | None = None
        # The symbol that was selected in the replay, to be shown live after it.
        self._selected = ""
        self._remember(self._symbol.symbol)
        # None while the exchange's market is shown.
        self._before_demo = self._choices() if program.demo else None
        self._market = self._opened()
        program.join(self)
        if program.offer.symbols:
            self.symbols_known()

    @property
    def revision(self) -> int:
        """A number that grows with every change (see `Desk`)."""
        return self.program.revision + self._changes

    @property
    def exchange(self) -> str:
        """The exchange's host, if it isn't the usual exchange; else empty (see `Desk`)."""
        return self.program.exchange

    @property
    def symbol(self) -> SymbolInfo:
        """The symbol on screen (see `Desk`)."""
        wish = self._replaying.wish
        return self._symbol if wish is None else wish.info

    @property
    def live_symbol(self) -> SymbolInfo:
        """The symbol that is followed live (see `Desk`)."""
        return self._symbol

    @property
    def source(self) -> BookSource:
        """The source of the symbol's book and status (see `Desk`)."""
        return self.replay or self._market

    @property
    def replay(self) -> Replay | None:
        """The recording that is played (see `Desk`)."""
        return self._replaying.replay

    @property
    def source_kind(self) -> SourceKind:
        """The source that was chosen."""
        return self._kind

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """All traded spot symbols; empty while they are unknown."""
        return self.program.offer.symbols

    @property
    def recents(self) -> Sequence[str]:
        """Symbols shown before, the latest first."""
        return self._recents

    @property
    def recording(self) -> RecordingStatus:
        """The recording of the live symbol, with its gaps."""
        symbol = self._symbol.symbol
        recording = replace(self._market.recording, symbol=symbol, gaps=self.recorded_gaps(symbol))
        return self.program.recordings.measured(recording)

    def recorded_gaps(self, symbol: str) -> RecordedGaps | None:
        """Return the gaps of the recording of `symbol` (see `Desk`)."""
        return self.program.gaps_of(split_symbol(symbol)[1])

    @property
    def trade_pages(self) -> TradePages:
        """The recorded trades (see `Desk`)."""
        return self.program.trade_pages if self.replay is None else self._replayed_pages

    @property
    def heatmaps(self) -> HeatmapPages:
        """The heatmaps of what is recorded (see `Desk`)."""
        return self._heatmaps_of_file or self.program.heatmaps

    @property
    def tiles(self) -> TileBuilding | None:
        """The tiles that are built in spare time (see `Desk`)."""
        return self.program.tiles

    @property
    def library(self) -> RecordingLibrary:
        """All recordings, and the jobs on them (see `Desk`)."""
        return self.program.library

    @property
    def trade_history(self) -> GappyHistory:
        """The recorded trades: in a replay those up to its clock, of the symbol on screen."""
        opened = self._replaying.opened
        return self.program.trade_history if opened is None else opened.trades

    @property
    def recordings(self) -> Sequence[RecordingStatus]:
        """All recordings (see `Desk`)."""
        return self.program.recordings.statuses

    @property
    def notices(self) -> Sequence[Notice]:
        """What the person should know now: warnings first, the program's before the desk's."""
        notices = [*self.program.board.notices, *self._board.notices]
        return sorted(notices, key=lambda notice: notice.level is not NoticeLevel.WARNING)

    @property
    def demo(self) -> bool:
        """Whether the market is the made-up market of the demo."""
        return self.program.demo

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        """Call `changed` after each change of the book on screen (see `Desk`)."""
        self._changed = changed

    def close(self) -> None:
        """Leave the program; a second call does nothing."""
        self.program.part(self)
        self.program.recordings.hide(self._screen)
        self._market.close()

    def select_symbol(self, symbol: str) -> None:
        """Show `symbol` (see `Desk`)."""
        wanted = self._found(symbol)
        if wanted is None:
            return
        if self.replay is not None:
            self._select_in_replay(wanted)
            return
        self._board.withdraw("symbol", "exchange", "gap")
        if wanted.market == self._symbol.market:
            return
        _log.info("user: shows %s", wanted.symbol)
        before, session = self._market, self._market.session
        was_recorded = (
            session is not None
            and session.has_begun
            and self.program.recordings.recorded_by_screen(session.market)
        )
        self._symbol = wanted
        self._remember(wanted.symbol)
        self._market = self._opened()
        self._board.withdraw("recording")
        # Another window may still show the symbol.
        if was_recorded and session is not None and not session.recording:
            self._tell_left(before.symbol)
        before.close()
        self._change()

    def select_source(self, kind: SourceKind) -> None:
        """Show the recorded book, or the exchange's own book."""
        _log.info("user: takes the source %s", kind.value)
        self._kind = kind
        self._change()

    def start_replay(
        self,
        symbol: str | None = None,
        *,
        at: int | str | None = None,
        file: Path | None = None,
    ) -> None:
        """Play a recording (see `Desk`)."""
        info = self.symbol
        if symbol is not None:
            wanted = unlisted(symbol)
            info = self.program.offer.listed(wanted.market) or wanted
        _log.info("user: plays the recording of %s", info.symbol)
        wish = ReplayWish(info, at, file)
        if self.program.has_begun:
            self._replaying.start(wish)
        else:
            # Its database comes with the engine.
            self._awaiting_engine = wish

    def leave_replay(self) -> None:
        """Go back to the live book (see `Desk`)."""
        _log.info("user: goes back to %s, live", self._symbol.symbol)
        self._awaiting_engine = None
        self._replaying.leave()

    def set_recording(self, wanted: bool) -> None:
        """Start or stop recording the live symbol."""
        what = "records" if wanted else "stops recording"
        _log.info("user: %s %s, which is on screen", what, self._symbol.symbol)
        self.program.recordings.set_on_screen(self._screen, wanted)
        self._board.withdraw("recording")
        self.program.change()

    def start_recording(self, symbol: str) -> None:
        """Keep recording `symbol`, also while another symbol is on screen (see `Desk`)."""
        wanted = self._found(symbol)
        if wanted is None:
            return
        if len(self.recordings) >= _RECORDINGS_AT_MOST:
            text = (
                f"{_RECORDINGS_AT_MOST} symbols are recorded already; start another recorder "
                "for more of them."
            )
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))
            return
        _log.info("user: keeps recording %s", wanted.symbol)
        self.program.recordings.start(wanted.symbol)
        self._board.withdraw("recording")
        self.program.change()

    def stop_recording(self, symbol: str) -> None:
        """Stop recording `symbol` (see `Desk`)."""
        _log.info("user: stops recording %s", symbol)
        self.program.recordings.stop(symbol)
        self.program.change()

    def remove_recording(self, symbol: str) -> None:
        """Take `symbol` off the kept recordings (see `Desk`)."""
        _log.info("user: removes %s from the kept recordings", symbol)
        self.program.recordings.remove(symbol)
        self.program.change()

    @property
    def connections(self) -> Connections:
        """By how many connections each event comes (see `Desk`)."""
        return self.program.connections

    def set_connections(self, count: int) -> None:
        """Take each event from `count` connections (see `Desk`)."""
        if not self.connections.fixed:
            _log.info("user: takes each event from %s", counted(count, "connection"))
            self.program.set_connections(count)

    def record_here(self, symbol: str, wanted: bool) -> None:
        """Record `symbol` also while another program records it, or not (see `Desk`)."""
        what = "records" if wanted else "does not record"
        _log.info("user: %s %s here, too, while another program records it", what, symbol)
        self.program.recordings.record_here(symbol, wanted=wanted)
        self.program.change()

    @property
    def here_too(self) -> Sequence[str]:
        """The symbols that are recorded here, too (see `Desk`)."""
        return self.program.recordings.here_too

    def dismiss(self, key: str) -> None:
        """Take the notice `key` off the screen; it returns if its reason comes back."""
        self._board.dismiss(key)
        self.program.board.dismiss(key)

    def act(self, action: NoticeAction) -> None:
        """Carry out the action that a notice offered."""
        if action is NoticeAction.USE_DIRECT:
            self.select_source(SourceKind.DIRECT)
        elif action is NoticeAction.START_DEMO:
            self.program.enter_demo()
        elif action is NoticeAction.LEAVE_DEMO:
            self.program.leave_demo()
        elif action is NoticeAction.KEEP_RECORDING:
            for symbol in filter(None, [notice.symbol for notice in self._board.notices]):
                self.start_recording(symbol)

    def next_attempt(self, key: str) -> NextAttempt | None:
        """Return when what the notice `key` tells is tried again (see `Desk`)."""
        planned = [(wait.left_s, wait.fixed) for wait in self._waits(key)]
        return next((NextAttempt(left, fixed) for left, fixed in planned if left is not None), None)

    def retry(self, key: str) -> None:
        """Try at once what the notice `key` tells."""
        _log.info("user: tries again at once (%s)", key)
        for wait in self._waits(key):
            wait.cut()
        self.program.offer.retry.cut()

    def _waits(self, key: str) -> list[RetryWait]:
        """Return the waits that end what the notice `key` tells; the first running one counts."""
        engine = self.program.engine
        match key:
            case "exchange":
                return engine.waits_for_exchange(self._symbol.market)
            case "database":
                return engine.waits_for_database()
            case _:
                return []

    def begin_anew(self) -> None:
        """Show the market of the program's new engine."""
        self._board.clear()
        self._replaying.tell_if_cut()
        self._watch = DeskWatch(self._board)
        before = self._before_demo
        if self.demo:
            self._before_demo = before or self._choices()
        elif before is not None:
            self._before_demo = None
            self._return_to(before)
        self._show(self._market)
        self._change()
        wish, self._awaiting_engine = self._awaiting_engine, None
        if wish is not None:
            self._replaying.start(wish)

    def symbols_known(self) -> None:
        """Take over the exchange's data of the symbol on screen; warn if it isn't traded."""
        listed = self.program.offer.listed(self._symbol.market)
        if listed is not None:
            self._symbol = listed
        elif self.demo:
            self._fall_back()
        else:
            text = f"The exchange doesn't trade {self._symbol.symbol}, or not any more."
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))
        self._change()

    def look(self) -> None:
        """Bring the notices about the market on screen up to date."""
        session = self._market.session
        if session is not None:
            self._watch.look(self.program.engine, session, self._kind, demo=self.demo)

    def _select_in_replay(self, wanted: SymbolInfo) -> None:
        """Play the recording of `wanted` in place of the one on screen, at the same time."""
        replay, wish = self.replay, self._replaying.wish
        if replay is None or wish is None or wanted.market == wish.info.market:
            return
        _log.info("user: shows %s in the replay", wanted.symbol)
        status = replay.status
        self._replaying.start(ReplayWish(wanted, status.at_ns, wish.file, status))

    def _replay_started(self, wish: ReplayWish) -> None:
        """Show what is played from now on."""
        self._selected = wish.info.symbol if wish.like is not None else ""
        opened = self._replaying.opened
        self._heatmaps_of_file = None if opened is None else opened.heatmaps
        if self.replay is not None:
            self.replay.call_on_change(self._tell_changed)
        self._change()

    def _live(self) -> None:
        """Show the live book from now on."""
        selected, self._selected = self._selected, ""
        self._heatmaps_of_file = None
        self._change()
        if selected:
            self.select_symbol(selected)

    def _choices(self) -> _Choices:
        return _Choices(self._symbol, self._kind, tuple(self._recents), self._screen.follows)

    def _return_to(self, choices: _Choices) -> None:
        """Show what was shown before the demo."""
        self._kind, self._recents = choices.kind, list(choices.recents)
        self._screen.follows = choices.records
        before, self._symbol = self._market, choices.symbol
        if self._symbol.market != before.market:
            self._market = self._opened()
            before.close()

    def _change(self) -> None:
        self._changes += 1
        self._tell_changed()

    def _tell_changed(self) -> None:
        if self._changed is not None:
            self._changed()

    def _opened(self) -> FollowedMarket:
        """Follow the symbol on screen from now on, and return its market."""
        market = self.program.follow(self._symbol.symbol, lambda: self._kind)
        market.changed = self._tell_changed
        self._show(market)
        return market

    def _show(self, market: FollowedMarket) -> None:
        if market.session is not None:
            self.program.recordings.show(self._screen, market.symbol, market.session)

    def _remember(self, symbol: str) -> None:
        others = [recent for recent in self._recents if recent != symbol]
        self._recents = [symbol, *others][:_RECENTS_KEPT]

    def _tell_left(self, symbol: str) -> None:
        """Notify that `symbol`, which was on screen, is no longer recorded."""
        text = f"{symbol} is no longer recorded"
        if self.program.recordings.recorded_by_screen(self._symbol.market):
            text += f"; {self._symbol.symbol} is, while it is on screen"
        action = NoticeAction.KEEP_RECORDING
        self._board.tell(Notice("recording", NoticeLevel.INFORMATION, f"{text}.", action, symbol))

    def _found(self, typed: str) -> SymbolInfo | None:
        """Return the symbol that `typed` names; if there is none, notify and return None."""
        try:
            return self.program.offer.find(typed)
        except ValueError:
            what = plain_text(typed.strip(), 40) or "Nothing"
            # A symbol with a slash is written correctly; other texts need the hint.
            hint = ", or not any more" if "/" in what else "; write one as BTC/USDT"
            text = f"{what} is not a traded symbol{hint}."
            self._board.tell(Notice("symbol", NoticeLevel.WARNING, text))
            return None

    def _fall_back(self) -> None:
        """Show another symbol in place of a symbol that the demo doesn't have."""
        missing, usual = self._symbol.symbol, self.program.usual_symbol
        known = [info.symbol for info in self.symbols]
        self.select_symbol(usual if usual in known else known[0])
        self._board.withdraw("recording")
        text = f"The demo has no {missing}; this is {self._symbol.symbol}."
        self._board.tell(Notice("symbol", NoticeLevel.INFORMATION, text))
