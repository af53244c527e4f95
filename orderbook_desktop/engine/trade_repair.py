"""Fills the holes of recorded trades: the exchange serves trades of before, unlike its depth.

Source: Binance Spot API, "Compressed/Aggregate trades list" (`GET /api/v3/aggTrades`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from msgspec import Struct

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import RepairProgress
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap, TradeOrigin, gaps_between
from orderbook_desktop.core.trades import Trade, fits_64_bits
from orderbook_desktop.core.wording import counted
from orderbook_desktop.engine.settings import REPAIR_TIMES, RepairTimes
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    Paced,
    RateLimited,
    TradesNotServed,
    Unreachable,
)
from orderbook_desktop.exchange.rest import TRADES_AT_MOST
from orderbook_desktop.storage.failures import is_driver_failure
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradeConflict, TradesBusy, TradeWriter
from orderbook_desktop.system.attempts import Repeats

_log = logging.getLogger(__name__)

_NS_A_MS: Final = 1_000_000
# An outage of a day, and the time to the trades before and after it.
_LONGEST_HOLE_MS: Final = 25 * 3_600_000
# The answers may be behind the stream for a moment.
_FRESH_MS: Final = 60_000
_LEFT_OUT: Final = "It serves the trades around them."

# The failures that do not depend on what is asked for.
_OF_ALL: Final = (Paced, RateLimited, Unreachable)

Fetch = Callable[[str, int, int], Awaitable[list[Trade]]]


class RecordedTrades(Protocol):
    """The members of a session that the repair of its trades needs."""

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        ...

    @property
    def trade_news(self) -> object:
        """A value that changes where trades may be missing; None: they are not recorded now."""
        ...

    @property
    def last_trade(self) -> Trade | None:
        """The newest trade that came by the stream."""
        ...

    def renew_trades(self) -> None:
        """Subscribe anew to the trades, as the exchange has some that did not come."""
        ...


class _Hole:
    """A gap that is being filled, in order of ids.

    `edge_id` is the last stored id before what is missing. `next_id` is where the next answer is to
    begin: at first with the trade at the edge, which shows that the answer is of the same trades.
    If the exchange refuses that, `refused_id` is the highest id that it refused, and `served_id`
    the lowest one that it served. It was found at `found_at` (s), and is asked no earlier than at
    `not_before` (s). `is_too_wide` is whether a trade after the edge can't be stored.
    """

    def __init__(self, market: str, gap: TradeGap, found_at: float) -> None:
        self.market = market
        self.gap = gap
        self.edge_id = self.next_id = gap.after_id
        self.refused_id: int | None = None
        self.served_id = gap.before_id
        self.found_at = found_at
        self.not_before = float("-inf")
        self.is_too_wide = False

    @property
    def missing(self) -> int:
        """How many trades may still be stored."""
        return max(0, self.gap.before_id - max(self.next_id, self.edge_id + 1))

    def refused(self) -> None:
        """Note that the exchange does not serve `next_id` any more."""
        self.refused_id, self.served_id = self.next_id, self.gap.before_id


class _Market(Struct):
    """What is known of the trades of one market; times in s.

    `last_id` came last by the stream. The exchange is asked at `ask_at` whether it has a later one;
    `later_id` is one that it has.
    """

    news: object = None
    changed_at: float = float("-inf")
    read_at: float = float("-inf")
    holes: list[_Hole] = []
    repaired: int = 0
    last_id: int = 0
    quiet_s: float = 0.0
    ask_at: float = float("inf")
    later_id: int | None = None


class TradeRepair:
    """Asks for the trades that are missing in `database`, and stores them there.

    `await run(sessions)` until it is cancelled; `sessions` returns the open sessions. `fetch` is
    `BinanceRest.agg_trades`. The newest hole comes first. Nothing happens while `is_busy` returns
    true: received events go first. What is done is seen from what is stored: after an end at any
    moment the next program goes on there. A gap that the exchange does not fill any more is stored
    as such, and one that is longer than a day is left as it is.

    A market may be quiet, but its stream may also be dead while other streams flow. So the exchange
    is asked now and then for a trade after the last one of a quiet market. If it has one that does
    not come by the stream, the stream is subscribed to anew.
    """

    def __init__(
        self,
        fetch: Fetch,
        database: Database,
        is_busy: Callable[[], bool],
        times: RepairTimes = REPAIR_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._fetch = fetch
        self._database = database
        self._is_busy = is_busy
        self._times = times
        self._now = now
        self._now_ns = now_ns
        self._reader = DatabaseTrades(database)
        self._writer = TradeWriter(database)
        self._markets: dict[str, _Market] = {}
        # By market and edges: the gaps that are not asked for again in this session.
        self._given_up: set[tuple[str, int, int]] = set()
        self._repeats = Repeats()
        self._delays = backoff_delays(first=1.0, cap=times.longest_delay_s)

    def progress_of(self, market: str) -> RepairProgress | None:
        """Return how far the repair of `market` is; None while nothing is to be repaired."""
        known = self._markets.get(market)
        if known is None or not known.holes:
            return None
        missing = sum(hole.missing for hole in known.holes)
        return RepairProgress(known.repaired + missing, known.repaired)

    async def run(self, sessions: Callable[[], Iterable[RecordedTrades]]) -> None:
        """Look for holes and fill them. What fails is tried again, and ends no recording."""
        while True:
            await self._database.until_connected()
            if self._is_busy() or not self._database.prepared:
                await asyncio.sleep(self._times.look_every_s)
                continue
            await asyncio.sleep(await self._tried(sessions))

    async def _tried(self, sessions: Callable[[], Iterable[RecordedTrades]]) -> float:
        """Do the next step; return how many seconds to wait after it."""
        try:
            pause_s = await self.step(sessions())
        except (Paced, RateLimited) as error:
            # To keep to the exchange's limit is no trouble.
            return min(error.retry_after_s, self._times.longest_delay_s)
        except Exception as error:  # noqa: BLE001 - such as a document that is damaged
            self._log_once(error)
            return next(self._delays)
        self._delays = backoff_delays(first=1.0, cap=self._times.longest_delay_s)
        return pause_s

    def _log_once(self, error: Exception) -> None:
        """Log why trades can't be repaired now. Of a failure of the driver the recorder tells."""
        if not self._repeats.is_new(error):
            return
        if isinstance(error, ExchangeError | TradesBusy):
            _log.info("no missing trades now: %s", error)
        elif isinstance(error, KnownError):
            _log.warning("missing trades can't be repaired now: %s", error)
        elif is_driver_failure(error):
            _log.debug("no missing trades now: %s", type(error).__name__)
        else:
            _log.error("missing trades can't be repaired now", exc_info=error)

    async def step(self, sessions: Iterable[RecordedTrades]) -> float:
        """Look at the market that is due, or ask once for trades; return the seconds to wait.

        Raises `ExchangeError`, and the errors of the storage.
        """
        sessions = list(sessions)
        due = self._noted(sessions)
        if due is not None:
            await self._look(due)
        begun = self._now()
        for session in sessions:
            if session.market in self._markets and await self._hears(session):
                return max(self._times.request_every_s, self._now() - begun)
        all_holes = [hole for known in self._markets.values() for hole in known.holes]
        holes = [hole for hole in all_holes if hole.not_before <= begun]
        if not holes:
            return self._times.look_every_s
        hole = max(holes, key=lambda hole: hole.gap.to_ms)
        try:
            await self._fill(hole)
        except _OF_ALL:
            raise
        except KnownError as error:
            # Other holes need not wait for this one.
            hole.not_before = begun + self._times.longest_delay_s
            self._log_once(error)
        # The database has as much time for others as it takes here.
        return max(self._times.request_every_s, self._now() - begun)

    def _noted(self, sessions: Iterable[RecordedTrades]) -> str | None:
        """Take note of the recorded markets; return the one whose runs are to be read, if any."""
        now, times = self._now(), self._times
        news = {session.market: session.trade_news for session in sessions}
        for market in [*self._markets]:
            if news.get(market) is None:
                del self._markets[market]
        due: list[tuple[float, str]] = []
        for market, told in news.items():
            if told is None:
                continue
            known = self._markets.setdefault(market, _Market())
            if known.news != told:
                known.news, known.changed_at = told, now
            has_news = now - known.changed_at < times.news_s
            if now - known.read_at >= (times.with_news_s if has_news else times.without_news_s):
                due.append((known.read_at, market))
        return min(due)[1] if due else None

    async def _hears(self, session: RecordedTrades) -> bool:
        """Ask whether trades after a long quiet did not come; return whether a request went out."""
        known, last, now = self._markets[session.market], session.last_trade, self._now()
        last_id = 0 if last is None else last.trade_id
        if last_id != known.last_id:
            known.last_id, known.later_id, known.quiet_s = last_id, None, self._times.quiet_s
            known.ask_at = now + known.quiet_s
        if last is None or now < known.ask_at:
            return False
        if known.later_id is not None:
            # It had time to come by the stream.
            _log.warning(
                "%s: trade %d did not come by the stream; subscribing anew",
                *(session.market, known.later_id),
            )
            session.renew_trades()
            known.later_id, known.ask_at = None, now + known.quiet_s
            return False
        known.quiet_s = min(2 * known.quiet_s, self._times.longest_quiet_s)
        known.ask_at = now + known.quiet_s
        later = await self._fetch(session.market, last_id + 1, 1)
        if later:
            known.later_id, known.ask_at = later[0].trade_id, now + self._times.come_s
        return True

    async def _look(self, market: str) -> None:
        """Read which trades of `market` are missing."""
        known = self._markets[market]
        known.read_at = self._now()
        gaps = await asyncio.to_thread(gaps_between, await self._reader.runs(market))
        begun = {(hole.edge_id, hole.gap.before_id): hole for hole in known.holes}
        known.holes = [
            begun.get((gap.after_id, gap.before_id)) or _Hole(market, gap, known.read_at)
            for gap in gaps
            if self._is_wanted(market, gap)
        ]
        if not known.holes:
            known.repaired = 0
        elif not begun:
            missing = sum(hole.missing for hole in known.holes)
            _log.info("%s: %s are missing; asking for them", market, counted(missing, "trade"))

    def _is_wanted(self, market: str, gap: TradeGap) -> bool:
        key = market, gap.after_id, gap.before_id
        if gap.cause is GapCause.NOT_SERVED or key in self._given_up:
            return False
        if gap.to_ms - gap.from_ms <= _LONGEST_HOLE_MS:
            return True
        self._given_up.add(key)
        _log.info(
            "%s: the gap of the trades before id %d is longer than a day; import the exchange's "
            "public files of these days to fill it",
            *(market, gap.before_id),
        )
        return False

    async def _fill(self, hole: _Hole) -> None:
        """Ask once for trades of `hole`, and store them."""
        if hole.refused_id is not None:
            await self._seek(hole, hole.refused_id)
            return
        before_id = hole.gap.before_id
        limit = min(TRADES_AT_MOST, before_id - hole.next_id + 1)
        try:
            answer = await self._fetch(hole.market, hole.next_id, limit)
        except TradesNotServed:
            hole.refused()
            return
        trades = [trade for trade in answer if trade.trade_id <= before_id]
        try:
            await self._store(hole, trades)
        except TradeConflict as error:
            _log.warning("%s: missing trades are not repaired: %s", hole.market, error)
            self._give_up(hole.market, hole.edge_id, before_id)
            self._end(hole)
            return
        is_last = len(trades) < len(answer) or hole.next_id >= before_id - 1
        if not is_last and len(answer) < limit:
            if self._is_fresh(hole):
                hole.not_before = self._now() + self._times.again_s
                return
            is_last = True
        if is_last:
            await self._leave(hole, before_id)
            self._end(hole)

    def _is_fresh(self, hole: _Hole) -> bool:
        """Whether the answers may not have the trades of `hole` yet.

        The clocks here and there may differ, so no hole is fresh for long.
        """
        age_ms = self._now_ns() // _NS_A_MS - hole.gap.to_ms
        return age_ms < _FRESH_MS and (self._now() - hole.found_at) * 1_000 < _FRESH_MS

    async def _seek(self, hole: _Hole, refused_id: int) -> None:
        """Ask once to find the first id that the exchange still serves."""
        middle_id = (refused_id + hole.served_id) // 2
        if middle_id > refused_id:
            try:
                await self._fetch(hole.market, middle_id, 1)
            except TradesNotServed:
                hole.refused_id = middle_id
            else:
                hole.served_id = middle_id
            return
        hole.next_id, hole.refused_id = hole.served_id, None
        if hole.next_id == hole.gap.before_id:
            await self._leave(hole, hole.next_id)
            self._end(hole)

    async def _store(self, hole: _Hole, trades: list[Trade]) -> None:
        """Store `trades`, and why the ids between them stay missing that the answer left out."""
        if not trades:
            return
        storable = {trade.trade_id: trade for trade in trades if fits_64_bits(trade)}
        done = await self._writer.store([*storable.values()], TradeOrigin.REPAIR)
        self._markets[hole.market].repaired += done.stored
        for trade in trades:
            if trade.trade_id not in storable:
                hole.is_too_wide = True
                continue
            # After a refusal the first trade is the first one that is served.
            is_first = trade is trades[0]
            await self._leave(hole, trade.trade_id, "" if is_first else _LEFT_OUT)
            hole.edge_id, hole.is_too_wide = max(hole.edge_id, trade.trade_id), False
        hole.next_id = trades[-1].trade_id

    async def _leave(self, hole: _Hole, before_id: int, detail: str = "") -> None:
        """Store that the trades between the edge of `hole` and `before_id` stay missing.

        The trade `before_id` is stored by then, so that the rest of the hole is another gap.
        """
        if before_id > hole.edge_id + 1:
            missing = counted(before_id - hole.edge_id - 1, "trade")
            cause, why = GapCause.NOT_SERVED, "the exchange no longer serves"
            if hole.is_too_wide:
                cause, why, detail = GapCause.TOO_WIDE, "64 bits can't hold the values of", ""
            _log.info("%s: %s %s", hole.market, why, missing)
            await self._writer.end(hole.market, hole.edge_id, cause, detail)
            self._give_up(hole.market, hole.edge_id, before_id)

    def _give_up(self, market: str, after_id: int, before_id: int) -> None:
        self._given_up.add((market, after_id, before_id))

    def _end(self, hole: _Hole) -> None:
        """Note that nothing more is to be asked for `hole`."""
        known = self._markets[hole.market]
        known.holes.remove(hole)
        if not known.holes:
            count = counted(known.repaired, "missing trade")
            _log.info("%s: %s came from the exchange", hole.market, count)
            known.repaired = 0
