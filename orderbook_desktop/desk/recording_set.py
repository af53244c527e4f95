"""What a window records: the recordings kept by hand, and that of the symbol on screen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.engine.recording_meter import RecordingMeter
from orderbook_desktop.storage.store.owner import recorded_by_others

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """A recording kept by hand; without a session while it is stopped."""

    symbol: str
    session: MarketSession | None = None
    meter: RecordingMeter | None = None


class RecordingSet:
    """Decides what of `engine` is recorded: each session's switch is set here only.

    `kept` are the symbols recorded by hand, and whether they are to run. They go on whatever
    is on screen. The symbol on screen is recorded while `follows_screen` is true, unless it
    is among the kept ones: then what was said of it there holds.

    A kept recording is not resumed while another program records its market: that is followed
    instead, and looked at again every `look_again_s`. One that is started by hand begins in any
    case.

    `await resume()` in the background when the engine runs, call `show()` with each session
    that comes on screen, and `look()` a few times a second.
    """

    def __init__(
        self,
        engine: Engine,
        kept: Mapping[str, bool] | None = None,
        *,
        follows_screen: bool,
        look_again_s: float = 5.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.follows_screen = follows_screen
        self._engine = engine
        self._look_again_s = look_again_s
        self._now_ns = now_ns
        self._kept: dict[str, _Kept] = {}
        self._running = False
        self._to_start: list[str] = []
        self._elsewhere: frozenset[str] = frozenset()
        self._screen: tuple[str, MarketSession] | None = None
        self._screen_meter: RecordingMeter | None = None
        for symbol, is_to_run in (kept or {}).items():
            self._kept[split_symbol(symbol)[1]] = _Kept(symbol)
            if is_to_run:
                self._to_start.append(symbol)

    async def resume(self) -> None:
        """Start what is to run, each as soon as nobody else records it; the engine has begun."""
        self._running = True
        while self._to_start:
            self._elsewhere = await self._recorded_elsewhere()
            for symbol in list(self._to_start):
                market = split_symbol(symbol)[1]
                if market not in self._elsewhere:
                    self._open(self._kept[market])
            if self._to_start:
                await asyncio.sleep(self._look_again_s)

    async def _recorded_elsewhere(self) -> frozenset[str]:
        try:
            await self._engine.until_database()
            await self._engine.database.until_connected()
            return await recorded_by_others(self._engine.database)
        except KnownError as error:
            # Where there is no database, nobody records in it; ours will wait for it.
            _log.info("what others record is not known: %s", error)
            return self._elsewhere

    def show(self, symbol: str, session: MarketSession) -> None:
        """`session` is on screen from now on, in the place of the one before."""
        before, self._screen = self._screen, (symbol, session)
        if before is not None and before[1] is not session:
            self._switch(before[1])
        self._switch(session)

    def set_on_screen(self, wanted: bool) -> None:
        """Start or stop the recording of the symbol on screen, and of those that follow it."""
        self.follows_screen = wanted
        if self._screen is None:
            return
        symbol, session = self._screen
        if session.market not in self._kept:
            self._switch(session)
        elif wanted:
            self.start(symbol)
        else:
            self.stop(symbol)

    def start(self, symbol: str) -> None:
        """Keep a recording of `symbol`, and let it run."""
        market = split_symbol(symbol)[1]
        kept = self._kept.setdefault(market, _Kept(symbol))
        if self._running:
            self._open(kept)
        elif kept.symbol not in self._to_start:
            self._to_start.append(kept.symbol)

    def stop(self, symbol: str) -> None:
        """Stop recording `symbol`, which is kept in the list; unknown ones are ignored."""
        market = split_symbol(symbol)[1]
        on_screen = self._on_screen(market)
        if on_screen is not None:
            self._kept.setdefault(market, _Kept(symbol))
        if market in self._kept:
            self._close(self._kept[market])
        if on_screen is not None:
            self._switch(on_screen)

    def remove(self, symbol: str) -> None:
        """Take `symbol` off the list: only the screen decides about it any more.

        What goes on so does without a break; but nothing begins by it: one that was stopped
        stays so on screen, and with it what follows there, as after `set_on_screen(False)`.
        """
        market = split_symbol(symbol)[1]
        on_screen = self._on_screen(market)
        if market in self._kept:
            if on_screen is not None and not on_screen.recording:
                self.follows_screen = False
            self._close(self._kept.pop(market))
        if on_screen is not None:
            self._switch(on_screen)

    def look(self) -> None:
        """Take note of how far the recordings have come."""
        for meter in self._meters():
            meter.look()

    @property
    def recorded_by_screen(self) -> bool:
        """Whether the symbol on screen is recorded only because it is there."""
        return self._screen_meter is not None

    @property
    def statuses(self) -> Sequence[RecordingStatus]:
        """How all of them are doing: the kept ones in their order, then that on screen."""
        found = [
            kept.meter.status() if kept.meter is not None else self._idle(kept.symbol)
            for kept in self._kept.values()
        ]
        if self._screen_meter is not None:
            found.append(self._screen_meter.status(kept=False))
        return found

    def _idle(self, symbol: str) -> RecordingStatus:
        wanted, market = symbol in self._to_start, split_symbol(symbol)[1]
        state = RecordingState.WAITING if wanted else RecordingState.STOPPED
        if wanted and market in self._elsewhere:
            state = RecordingState.ELSEWHERE
        recorder = self._engine.recorder
        counts, waiting = replace(recorder.sink(market).counts), recorder.waiting_of(market)
        return RecordingStatus(symbol, state, wanted=wanted, counts=counts, waiting=waiting)

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _on_screen(self, market: str) -> MarketSession | None:
        """Return the session of `market`, if that is on screen."""
        session = self._screen[1] if self._screen is not None else None
        return session if session is not None and session.market == market else None

    def _meters(self) -> list[RecordingMeter]:
        meters = [kept.meter for kept in self._kept.values()]
        return [meter for meter in (*meters, self._screen_meter) if meter is not None]

    def _open(self, kept: _Kept) -> None:
        self._wait_no_more(kept)
        if kept.session is not None:
            return
        kept.session = self._engine.open_market(kept.symbol, viewed=False)
        is_on_screen = self._screen is not None and self._screen[1] is kept.session
        kept.meter = self._screen_meter if is_on_screen else None
        self._switch(kept.session)
        kept.meter = kept.meter or RecordingMeter(kept.symbol, kept.session, self._now_ms())
        kept.session.start()

    def _wait_no_more(self, kept: _Kept) -> None:
        self._to_start = [one for one in self._to_start if one != kept.symbol]

    def _close(self, kept: _Kept) -> None:
        self._wait_no_more(kept)
        session, kept.session, kept.meter = kept.session, None, None
        if session is None:
            return
        self._switch(session)
        self._engine.close_market(session, viewed=False)

    def _switch(self, session: MarketSession) -> None:
        """Let `session` record if somebody wants it to."""
        on_screen = self._screen if self._screen and self._screen[1] is session else None
        kept = self._kept.get(session.market)
        by_screen = on_screen is not None and kept is None and self.follows_screen
        session.set_recording(by_screen or (kept is not None and kept.session is session))
        if on_screen is None:
            return
        if not by_screen:
            self._screen_meter = None
        elif self._screen_meter is None or self._screen_meter.session is not session:
            self._screen_meter = RecordingMeter(on_screen[0], session, self._now_ms())
