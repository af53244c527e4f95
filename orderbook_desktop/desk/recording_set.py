"""The recordings of a program: those that are kept, and those of the symbols on screen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketLease, MarketSession
from orderbook_desktop.engine.recording_meter import RecordingMeter
from orderbook_desktop.storage.store.recorder_states import recorded_by_others

_log = logging.getLogger(__name__)


class _KeptRecording(Struct):
    """A kept recording; it has no lease while it is stopped."""

    symbol: str
    lease: MarketLease | None = None
    meter: RecordingMeter | None = None


class Screen(Struct, eq=False):
    """The symbol that one window shows, and the window's recording switch.

    While `follows` is on, the symbol on this screen is recorded because it is on screen.
    """

    follows: bool = True
    symbol: str = ""
    session: MarketSession | None = None


class RecordingSet:
    """Decides which sessions of `engine` record; no other code sets a session's switch.

    `kept` are the symbols of the kept recordings, each with whether it is to run. A kept
    recording goes on while other symbols are on screen. A symbol on a screen that `follows` is
    recorded, too. If that symbol has a kept recording, only the kept recording's switch counts.

    A kept recording is not resumed while another program records its market; the set looks again
    every `look_again_s`. A recording that the person starts begins at once, in any case.

    `await resume()` in the background when the engine runs. Call `show()` with each session that
    comes on a screen, `hide()` when a screen closes, and `look()` a few times a second. Call
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
        self._kept_recordings: dict[str, _KeptRecording] = {}
        self._running = False
        self._to_start: list[str] = []
        self._elsewhere: frozenset[str] = frozenset()
        self._screens: list[Screen] = []
        # The meters of the recordings that run only for a screen, by market.
        self._screen_meters: dict[str, RecordingMeter] = {}
        for symbol, is_to_run in (kept or {}).items():
            self._kept_recordings[split_symbol(symbol)[1]] = _KeptRecording(symbol)
            if is_to_run:
                self._to_start.append(symbol)

    async def resume(self) -> None:
        """Start the recordings that are to run, each as soon as no other program records it.

        The engine has to run.
        """
        self._running = True
        while self._to_start:
            self._elsewhere = await self._recorded_elsewhere()
            for symbol in list(self._to_start):
                market = split_symbol(symbol)[1]
                if market not in self._elsewhere:
                    self._open(self._kept_recordings[market])
            if self._to_start:
                await asyncio.sleep(self._look_again_s)

    async def _recorded_elsewhere(self) -> frozenset[str]:
        try:
            await self._engine.until_database()
            await self._engine.database.until_connected()
            return await recorded_by_others(self._engine.database)
        except KnownError as error:
            # Without the database no other program can record in it. This one waits for it.
            _log.warning("the recordings of other programs are not known: %s", error)
            return self._elsewhere

    def show(self, screen: Screen, symbol: str, session: MarketSession) -> None:
        """Note that `session` is on `screen` from now on, in place of the session before."""
        before, screen.symbol, screen.session = screen.session, symbol, session
        if screen not in self._screens:
            self._screens.append(screen)
        if before is not None and before is not session:
            self._switch(before)
        self._switch(session)

    def hide(self, screen: Screen) -> None:
        """Note that `screen` is closed; a second call does nothing."""
        session, screen.session = screen.session, None
        if screen in self._screens:
            self._screens.remove(screen)
        if session is not None:
            self._switch(session)

    def set_on_screen(self, screen: Screen, wanted: bool) -> None:
        """Start or stop the recording of the symbol on `screen`, and of later symbols there.

        Windows that show the same market share one switch.
        """
        screen.follows = wanted
        session = screen.session
        if session is None:
            return
        for other in self._showing(session.market):
            other.follows = wanted
        if session.market not in self._kept_recordings:
            self._switch(session)
        elif wanted:
            self.start(screen.symbol)
        else:
            self.stop(screen.symbol)

    def start(self, symbol: str) -> None:
        """Keep a recording of `symbol`, and start it."""
        market = split_symbol(symbol)[1]
        recording = self._kept_recordings.setdefault(market, _KeptRecording(symbol))
        if self._running:
            self._open(recording)
        elif recording.symbol not in self._to_start:
            self._to_start.append(recording.symbol)

    def stop(self, symbol: str) -> None:
        """Stop recording `symbol`, and keep it in the list; an unknown symbol is ignored."""
        market = split_symbol(symbol)[1]
        screens = self._showing(market)
        if screens:
            self._kept_recordings.setdefault(market, _KeptRecording(symbol))
        if market in self._kept_recordings:
            self._close(self._kept_recordings[market])
        self._switch_on(screens)

    def remove(self, symbol: str) -> None:
        """Take `symbol` off the list, so that only screens decide whether it is recorded.

        A recording that a screen wants goes on without a break. A stopped recording stays stopped:
        the screens that show it no longer follow, as after `set_on_screen(False)`.
        """
        market = split_symbol(symbol)[1]
        screens = self._showing(market)
        if market in self._kept_recordings:
            for screen in screens:
                if screen.session is not None and not screen.session.recording:
                    screen.follows = False
            self._close(self._kept_recordings.pop(market))
        self._switch_on(screens)

    def close(self) -> None:
        """Close all leases; recordings that run now are started again by `resume()`."""
        self._running = False
        for screen in self._screens:
            screen.session = None
        self._screens.clear()
        self._screen_meters.clear()
        for recording in self._kept_recordings.values():
            if recording.lease is not None:
                self._close(recording)
                self._to_start.append(recording.symbol)

    def look(self) -> None:
        """Measure all recordings."""
        for meter in self._meters():
            meter.look()

    def recorded_by_screen(self, market: str) -> bool:
        """Whether `market` is recorded only because it is on a screen."""
        return market in self._screen_meters

    @property
    def kept(self) -> dict[str, bool]:
        """The symbols of the kept recordings, each with whether it is to run."""
        return {
            recording.symbol: recording.lease is not None or recording.symbol in self._to_start
            for recording in self._kept_recordings.values()
        }

    @property
    def statuses(self) -> Sequence[RecordingStatus]:
        """The status of each recording: the kept recordings in their order, then the screens'."""
        kept = [
            self._idle(recording.symbol)
            if recording.meter is None
            else recording.meter.status(kept=True)
            for recording in self._kept_recordings.values()
        ]
        return [*kept, *(meter.status(kept=False) for meter in self._screen_meters.values())]

    def measured(self, status: RecordingStatus) -> RecordingStatus:
        """Return the `status` of a session, with what only the set of recordings knows."""
        market = split_symbol(status.symbol)[1]
        kept = self._kept_recordings.get(market)
        meter = self._screen_meters.get(market) if kept is None else kept.meter
        known = replace(status, kept=kept is not None)
        return known if meter is None else meter.measured(known)

    def _idle(self, symbol: str) -> RecordingStatus:
        wanted, market = symbol in self._to_start, split_symbol(symbol)[1]
        state = RecordingState.WAITING if wanted else RecordingState.STOPPED
        if wanted and market in self._elsewhere:
            state = RecordingState.ELSEWHERE
        recorder = self._engine.recorder
        counts, waiting = copy(recorder.sink(market).counts), recorder.waiting_of(market)
        return RecordingStatus(
            symbol, state, kept=True, wanted=wanted, counts=counts, waiting=waiting
        )

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _showing(self, market: str) -> list[Screen]:
        """Return the screens that show `market`."""
        return [
            screen
            for screen in self._screens
            if screen.session is not None and screen.session.market == market
        ]

    def _meters(self) -> list[RecordingMeter]:
        meters = [recording.meter for recording in self._kept_recordings.values()]
        return [*filter(None, meters), *self._screen_meters.values()]

    def _open(self, recording: _KeptRecording) -> None:
        self._wait_no_more(recording)
        if recording.lease is not None:
            return
        recording.lease = self._engine.open_market(recording.symbol, viewed=False)
        session = recording.lease.session
        # The meter of a recording that ran only for a screen goes on.
        meter = self._screen_meters.get(session.market)
        self._switch(session)
        recording.meter = meter or RecordingMeter(recording.symbol, session, self._now_ms())
        session.start()

    def _wait_no_more(self, recording: _KeptRecording) -> None:
        self._to_start = [symbol for symbol in self._to_start if symbol != recording.symbol]

    def _close(self, recording: _KeptRecording) -> None:
        self._wait_no_more(recording)
        lease, recording.lease, recording.meter = recording.lease, None, None
        if lease is not None:
            self._switch(lease.session)
            lease.close()

    def _switch_on(self, screens: Sequence[Screen]) -> None:
        for screen in screens:
            if screen.session is not None:
                self._switch(screen.session)

    def _switch(self, session: MarketSession) -> None:
        """Switch recording of `session` on if a kept recording or a screen wants it, else off."""
        market = session.market
        following = [screen for screen in self._showing(market) if screen.follows]
        kept = self._kept_recordings.get(market)
        by_screen = kept is None and bool(following)
        is_kept = kept is not None and kept.lease is not None and kept.lease.session is session
        session.set_recording(by_screen or is_kept)
        meter = self._screen_meters.get(market)
        if not by_screen:
            self._screen_meters.pop(market, None)
        elif meter is None or meter.session is not session:
            symbol = following[0].symbol
            self._screen_meters[market] = RecordingMeter(symbol, session, self._now_ms())
