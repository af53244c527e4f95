"""The recordings of a program: those that are kept, and those of the symbols on screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.desk.other_programs import OtherPrograms
from orderbook_desktop.desk.settings import FOLLOW_TIMES, FollowTimes
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketLease, MarketSession
from orderbook_desktop.engine.recording_meter import RecordingMeter
from orderbook_desktop.storage.store.recorder_states import OtherRecorder


class _KeptRecording(Struct):
    """A kept recording, and whether it is to run; it has a lease while it runs here."""

    symbol: str
    wanted: bool
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

    What another program records is not recorded here, unless its symbol is in `here_too`. As soon
    as the other recording ends, this one begins. Nothing is written before the first look at the
    other programs; events wait in memory until then.

    `await run()` in the background when the engine runs. Call `show()` with each session that
    comes on a screen, `hide()` when a screen closes, and `look()` a few times a second. Call
    `close()` before the engine ends.
    """

    def __init__(
        self,
        engine: Engine,
        kept: Mapping[str, bool] | None = None,
        *,
        here_too: Iterable[str] = (),
        times: FollowTimes = FOLLOW_TIMES,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._times = times
        self._now_ns = now_ns
        self._others = OtherPrograms(engine, here_too, times)
        self._kept_recordings = {
            split_symbol(symbol)[1]: _KeptRecording(symbol, wanted)
            for symbol, wanted in (kept or {}).items()
        }
        self._running = False
        # Whether the recorder may have written events.
        self._writes = False
        self._screens: list[Screen] = []
        # The meters of the recordings that run only for a screen, by market.
        self._screen_meters: dict[str, RecordingMeter] = {}
        engine.recorder.before_first_write = self._begin_to_write

    async def run(self) -> None:
        """Start the recordings that are to run, and follow other programs, until cancelled.

        The engine has to run.
        """
        self._running = True
        # What is on screen has a feed already, so it is recorded at once.
        for screen in list(self._screens):
            if kept := self._kept_recordings.get(split_symbol(screen.symbol)[1]):
                self._settle(kept)
        while True:
            await self._others.look()
            self._settle_all()
            await asyncio.sleep(self._times.look_again_s)

    async def _begin_to_write(self) -> None:
        """Leave what other programs record to them, before anything is written here."""
        await self._others.look()
        self._settle_all()
        for market in self._engine.recorder.markets:
            if self._others.followed(market) is not None:
                self._engine.recorder.withdraw(market)
        self._writes = True

    def _settle_all(self) -> None:
        """Start and stop recordings by what other programs record now."""
        for recording in list(self._kept_recordings.values()):
            self._settle(recording)
        self._switch_on(self._screens)

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
        """Keep a recording of `symbol`, and start it, unless another program records it."""
        recording = self._kept(symbol)
        recording.wanted = True
        self._settle(recording)

    def stop(self, symbol: str) -> None:
        """Stop recording `symbol`, and keep it in the list; an unknown symbol is ignored."""
        market = split_symbol(symbol)[1]
        screens = self._showing(market)
        if screens or market in self._kept_recordings:
            recording = self._kept(symbol)
            recording.wanted = False
            self._settle(recording)
        self._switch_on(screens)

    def remove(self, symbol: str) -> None:
        """Take `symbol` off the list, so that only screens decide whether it is recorded.

        A recording that a screen wants goes on without a break. A stopped recording stays stopped:
        the screens that show it no longer follow, as after `set_on_screen(False)`.
        """
        market = split_symbol(symbol)[1]
        screens = self._showing(market)
        if market in self._kept_recordings:
            removed = self._kept_recordings.pop(market)
            for screen in screens:
                screen.follows &= removed.wanted
            self._close(removed)
        self._switch_on(screens)

    def record_here(self, symbol: str, *, wanted: bool) -> None:
        """Record `symbol` also while another program records it, or not any more."""
        self._others.record_here(symbol, wanted=wanted)
        self._settle_all()

    @property
    def here_too(self) -> tuple[str, ...]:
        """The symbols that are recorded here, too, while another program records them."""
        return self._others.here_too

    def close(self) -> None:
        """Close all leases; those that are to run are started again by `run()`."""
        self._running = False
        for screen in self._screens:
            screen.session = None
        self._screens.clear()
        self._screen_meters.clear()
        for recording in self._kept_recordings.values():
            self._close(recording)

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
        return {recording.symbol: recording.wanted for recording in self._kept_recordings.values()}

    @property
    def statuses(self) -> Sequence[RecordingStatus]:
        """The status of each recording: the kept recordings in their order, then the screens'."""
        kept = self._kept_recordings
        recordings = [
            self._idle(recording.symbol, wanted=recording.wanted)
            if recording.meter is None
            else recording.meter.status(kept=True)
            for recording in kept.values()
        ]
        on_screen = {
            screen.session.market: screen.symbol
            for screen in self._screens
            if screen.session is not None and screen.follows
        }
        recordings += [
            self._screen_meters[market].status(kept=False)
            if market in self._screen_meters
            else self._idle(symbol, wanted=True)
            for market, symbol in on_screen.items()
            if market not in kept
        ]
        return [self._completed(recording) for recording in recordings]

    def measured(self, status: RecordingStatus) -> RecordingStatus:
        """Return the `status` of a session, with what only the set of recordings knows."""
        market = split_symbol(status.symbol)[1]
        kept = self._kept_recordings.get(market)
        meter = self._screen_meters.get(market) if kept is None else kept.meter
        return self._completed(status if meter is None else meter.measured(status))

    def _completed(self, status: RecordingStatus) -> RecordingStatus:
        """Return `status` with whether it is kept, and whether it is recorded here, too."""
        market = split_symbol(status.symbol)[1]
        kept, here_too = market in self._kept_recordings, self._others.is_here_too(market)
        return replace(status, kept=kept, here_too=here_too)

    def _idle(self, symbol: str, *, wanted: bool) -> RecordingStatus:
        """Return the status of a recording that does not run here."""
        market = split_symbol(symbol)[1]
        state = RecordingState.WAITING if wanted else RecordingState.STOPPED
        other = self._others.followed(market) if wanted else None
        if other is not None:
            state = RecordingState.ELSEWHERE
        recorder = self._engine.recorder
        counts, waiting = copy(recorder.sink(market).counts), recorder.waiting_of(market)
        return RecordingStatus(
            symbol,
            state,
            kept=False,
            wanted=wanted,
            counts=counts,
            waiting=waiting,
            recorded_by="" if other is None else other.text,
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

    def _kept(self, symbol: str) -> _KeptRecording:
        """Return the kept recording of `symbol`; a new one is not to run yet."""
        market = split_symbol(symbol)[1]
        return self._kept_recordings.setdefault(market, _KeptRecording(symbol, wanted=False))

    def _settle(self, recording: _KeptRecording) -> None:
        """Run a kept recording, or end it, as it is wanted now."""
        if not self._running:
            return
        market, session = split_symbol(recording.symbol)[1], None
        if recording.lease is not None:
            session = recording.lease.session
        if not recording.wanted or self._followed(market, session) is not None:
            self._close(recording)
        elif recording.lease is None:
            self._open(recording)

    def _open(self, recording: _KeptRecording) -> None:
        recording.lease = self._engine.open_market(recording.symbol, viewed=False)
        session = recording.lease.session
        # The meter of a recording that ran only for a screen goes on.
        meter = self._screen_meters.get(session.market)
        self._switch(session)
        recording.meter = meter or RecordingMeter(recording.symbol, session, self._now_ms())
        session.start()

    def _close(self, recording: _KeptRecording) -> None:
        lease, recording.lease, recording.meter = recording.lease, None, None
        if lease is not None:
            self._switch(lease.session)
            lease.close()

    def _switch_on(self, screens: Sequence[Screen]) -> None:
        for screen in screens:
            if screen.session is not None:
                self._switch(screen.session)

    def _is_wanted(self, market: str) -> bool:
        """Whether a kept recording or a screen wants `market` to be recorded."""
        kept = self._kept_recordings.get(market)
        if kept is not None:
            return kept.wanted
        return any(screen.follows for screen in self._showing(market))

    def _followed(self, market: str, session: MarketSession | None) -> OtherRecorder | None:
        """Return the recorder of another program to which `market` is left; None: to none."""
        if session is not None and session.recording and self._writes:
            return self._others.recorder_before(session)
        return self._others.followed(market)

    def _switch(self, session: MarketSession) -> None:
        """Switch recording of `session` on if it is wanted and not left to another, else off."""
        market = session.market
        kept = self._kept_recordings.get(market)
        other = self._followed(market, session) if self._is_wanted(market) else None
        by_screen = kept is None and self._is_wanted(market) and other is None
        is_kept = kept is not None and kept.lease is not None and kept.lease.session is session
        records = by_screen or is_kept
        session.set_recording(records, "" if records or other is None else other.text)
        meter = self._screen_meters.get(market)
        if not by_screen:
            self._screen_meters.pop(market, None)
        elif meter is None or meter.session is not session:
            symbol = next(screen.symbol for screen in self._showing(market) if screen.follows)
            self._screen_meters[market] = RecordingMeter(symbol, session, self._now_ms())
