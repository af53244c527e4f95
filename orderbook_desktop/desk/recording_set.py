"""What a program records: the recordings kept by hand, and those of the symbols on screens."""

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
from orderbook_desktop.engine.market_session import MarketLease, MarketSession
from orderbook_desktop.engine.recording_meter import RecordingMeter
from orderbook_desktop.storage.store.owner import recorded_by_others

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """A recording kept by hand; without a lease while it is stopped."""

    symbol: str
    lease: MarketLease | None = None
    meter: RecordingMeter | None = None


@dataclass(eq=False, slots=True)
class Screen:
    """One window, as far as recordings go by it.

    `follows` is its switch: whether the symbol that it shows is recorded because it is there.
    """

    follows: bool = True
    symbol: str = ""
    session: MarketSession | None = None


class RecordingSet:
    """Decides what of `engine` is recorded: each session's switch is set here only.

    `kept` are the symbols recorded by hand, and whether they are to run. They go on whatever
    is on screen. A symbol on a screen that follows is recorded, too, unless it is among the kept
    ones: then what was said of it there holds.

    A kept recording is not resumed while another program records its market: that is followed
    instead, and looked at again every `look_again_s`. One that is started by hand begins in any
    case.

    `await resume()` in the background when the engine runs, call `show()` with each session
    that comes on a screen, `hide()` when a screen goes, and `look()` a few times a second. Call
    `close()` before the engine ends.
    """

    def __init__(
        self,
        engine: Engine,
        kept: Mapping[str, bool] | None = None,
        *,
        look_again_s: float = 5.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._look_again_s = look_again_s
        self._now_ns = now_ns
        self._kept: dict[str, _Kept] = {}
        self._running = False
        self._to_start: list[str] = []
        self._elsewhere: frozenset[str] = frozenset()
        self._screens: list[Screen] = []
        # Of the recordings that only a screen wants, by market.
        self._screen_meters: dict[str, RecordingMeter] = {}
        for symbol, is_to_run in (kept or {}).items():
            self._kept[split_symbol(symbol)[1]] = _Kept(symbol)
            if is_to_run:
                self._to_start.append(symbol)

    async def resume(self) -> None:
        """Start what is to run, each as soon as no other program records it; the engine runs."""
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
            # Where there is no database, no program records in it; ours will wait for it.
            _log.info("what others record is not known: %s", error)
            return self._elsewhere

    def show(self, screen: Screen, symbol: str, session: MarketSession) -> None:
        """`session` is on `screen` from now on, in the place of the one before."""
        before, screen.symbol, screen.session = screen.session, symbol, session
        if screen not in self._screens:
            self._screens.append(screen)
        if before is not None and before is not session:
            self._switch(before)
        self._switch(session)

    def hide(self, screen: Screen) -> None:
        """Nothing is on `screen` any more; again does nothing."""
        session, screen.session = screen.session, None
        if screen in self._screens:
            self._screens.remove(screen)
        if session is not None:
            self._switch(session)

    def set_on_screen(self, screen: Screen, wanted: bool) -> None:
        """Start or stop the recording of the symbol on `screen`, and of those that follow there.

        Windows that show the same market have one switch.
        """
        screen.follows = wanted
        session = screen.session
        if session is None:
            return
        for other in self._showing(session.market):
            other.follows = wanted
        if session.market not in self._kept:
            self._switch(session)
        elif wanted:
            self.start(screen.symbol)
        else:
            self.stop(screen.symbol)

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
        screens = self._showing(market)
        if screens:
            self._kept.setdefault(market, _Kept(symbol))
        if market in self._kept:
            self._close(self._kept[market])
        self._switch_on(screens)

    def remove(self, symbol: str) -> None:
        """Take `symbol` off the list: only the screen decides about it any more.

        What goes on so does without a break; but nothing begins by it: one that was stopped
        stays so on screen, and with it what follows there, as after `set_on_screen(False)`.
        """
        market = split_symbol(symbol)[1]
        screens = self._showing(market)
        if market in self._kept:
            for screen in screens:
                if screen.session is not None and not screen.session.recording:
                    screen.follows = False
            self._close(self._kept.pop(market))
        self._switch_on(screens)

    def close(self) -> None:
        """Give back what the engine has lent; what runs is to run again."""
        self._running = False
        for screen in self._screens:
            screen.session = None
        self._screens.clear()
        self._screen_meters.clear()
        for kept in self._kept.values():
            if kept.lease is not None:
                self._close(kept)
                self._to_start.append(kept.symbol)

    def look(self) -> None:
        """Take note of how far the recordings have come."""
        for meter in self._meters():
            meter.look()

    def recorded_by_screen(self, market: str) -> bool:
        """Whether `market` is recorded only because it is on a screen."""
        return market in self._screen_meters

    @property
    def statuses(self) -> Sequence[RecordingStatus]:
        """How all of them are doing: the kept ones in their order, then those on screens."""
        found = [
            kept.meter.status() if kept.meter is not None else self._idle(kept.symbol)
            for kept in self._kept.values()
        ]
        return [*found, *(one.status(kept=False) for one in self._screen_meters.values())]

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

    def _showing(self, market: str) -> list[Screen]:
        """Return the screens that `market` is on."""
        return [
            one for one in self._screens if one.session is not None and one.session.market == market
        ]

    def _meters(self) -> list[RecordingMeter]:
        meters = [kept.meter for kept in self._kept.values() if kept.meter is not None]
        return [*meters, *self._screen_meters.values()]

    def _open(self, kept: _Kept) -> None:
        self._wait_no_more(kept)
        if kept.lease is not None:
            return
        kept.lease = self._engine.open_market(kept.symbol, viewed=False)
        session = kept.lease.session
        # What only a screen wanted until now goes on being measured.
        kept.meter = self._screen_meters.get(session.market)
        self._switch(session)
        kept.meter = kept.meter or RecordingMeter(kept.symbol, session, self._now_ms())
        session.start()

    def _wait_no_more(self, kept: _Kept) -> None:
        self._to_start = [one for one in self._to_start if one != kept.symbol]

    def _close(self, kept: _Kept) -> None:
        self._wait_no_more(kept)
        lease, kept.lease, kept.meter = kept.lease, None, None
        if lease is not None:
            self._switch(lease.session)
            lease.close()

    def _switch_on(self, screens: Sequence[Screen]) -> None:
        for screen in screens:
            if screen.session is not None:
                self._switch(screen.session)

    def _switch(self, session: MarketSession) -> None:
        """Let `session` record if it is kept and runs, or if a screen wants it."""
        market = session.market
        wanting = [one for one in self._showing(market) if one.follows]
        kept = self._kept.get(market)
        by_screen = kept is None and bool(wanting)
        is_kept = kept is not None and kept.lease is not None and kept.lease.session is session
        session.set_recording(by_screen or is_kept)
        meter = self._screen_meters.get(market)
        if not by_screen:
            self._screen_meters.pop(market, None)
        elif meter is None or meter.session is not session:
            self._screen_meters[market] = RecordingMeter(wanting[0].symbol, session, self._now_ms())
