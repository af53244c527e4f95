"""Missing trades are asked for and stored, on a real database, from an exchange made up here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import RepairProgress
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap, TradeOrigin, gaps_between
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.engine.settings import RepairTimes
from orderbook_desktop.engine.trade_repair import TradeRepair
from orderbook_desktop.exchange.errors import (
    Paced,
    TradesNotServed,
    UnexpectedAnswer,
    UnknownSymbol,
    Unreachable,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradesBusy, TradeWriter
from tests.storage.made_trades import FIRST_MS, asked, received
from tests.storage.processes import eventually

BTC, ETH = "BTCUSDT", "ETHUSDT"
QUICK = RepairTimes(look_every_s=0.01, request_every_s=0.0)


class Exchange:
    """Serves the trades 1 to 9,999 of each market but those `left_out`, from `oldest_id` on."""

    def __init__(self) -> None:
        self.oldest_id = 1
        self.newest_id = 9_999
        self.left_out: set[int] = set()
        self.others: dict[int, dict[str, object]] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.errors: list[Exception] = []

    async def fetch(self, market: str, from_id: int, limit: int) -> list[Trade]:
        self.asked.append((market, from_id, limit))
        if self.errors:
            raise self.errors.pop(0)
        if from_id < self.oldest_id:
            raise TradesNotServed(market, from_id)
        ids = (id_ for id_ in range(from_id, self.newest_id + 1) if id_ not in self.left_out)
        found = [id_ for id_, _ in zip(ids, range(limit), strict=False)]
        return [asked(id_, market, **self.others.get(id_, {})) for id_ in found]


class Session:
    """A market that is recorded while it has news."""

    def __init__(self, market: str = BTC) -> None:
        self.market = market
        self.trade_news: object = 1
        self.last_trade: Trade | None = None
        self.renewed = 0

    def renew_trades(self) -> None:
        self.renewed += 1


class Scene:
    """A recording with holes, their repair, and a clock of the test's."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.exchange = Exchange()
        self.reader = DatabaseTrades(database)
        self.now_s = 1_000.0
        self.now_ms = FIRST_MS + 90 * 24 * 3_600_000
        self.sessions = [Session()]
        self.repair = self.new_repair()

    def new_repair(self) -> TradeRepair:
        """Return what the next program repairs with."""
        return TradeRepair(
            self.exchange.fetch,
            self.database,
            lambda: False,
            QUICK,
            lambda: self.now_s,
            lambda: self.now_ms * 1_000_000,
        )

    async def record(self, *stretches: range, market: str = BTC) -> None:
        """Store stretches of ids as a recorder does that is stopped after each of them."""
        await self.database.prepare()
        writer = TradeWriter(self.database)
        for ids in stretches:
            trades = [received(id_, market=market) for id_ in ids]
            await writer.store(trades, TradeOrigin.RECORDER)
            await writer.end(market, ids[-1], GapCause.USER)

    async def finish(self) -> None:
        """Repair until nothing is left to do."""
        await self.repair.step(self.sessions)
        while any(self.repair.progress_of(session.market) for session in self.sessions):
            await self.repair.step(self.sessions)

    async def gaps(self, market: str = BTC) -> list[TradeGap]:
        return gaps_between(await self.reader.runs(market))

    async def stored(self, market: str = BTC) -> list[Trade]:
        return await self.reader.newest(market, 99_999)


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def ids_of(trades: Iterable[Trade], *, repaired: bool | None = None) -> list[int]:
    return [trade.trade_id for trade in trades if repaired is None or trade.is_repaired is repaired]


async def test_what_is_missing_is_stored_and_marked(scene: Scene) -> None:
    await scene.record(range(1, 11), range(2_511, 2_521))
    await scene.finish()
    assert await scene.gaps() == []
    stored = await scene.stored()
    assert ids_of(stored) == list(range(1, 2_521))
    assert ids_of(stored, repaired=True) == list(range(11, 2_511))
    # Each answer begins with the last trade known: so it is seen to be of the same trades.
    assert scene.exchange.asked == [(BTC, 10, 1_000), (BTC, 1_009, 1_000), (BTC, 2_008, 504)]


async def test_the_newest_hole_of_all_markets_comes_first(scene: Scene) -> None:
    await scene.record(range(1, 3), range(5, 7), range(20, 22))
    await scene.record(range(1, 3), range(11, 13), market=ETH)
    scene.sessions.append(Session(ETH))
    await scene.finish()
    assert [(market, from_id) for market, from_id, _ in scene.exchange.asked] == [
        *((BTC, 6), (ETH, 2), (BTC, 2))
    ]
    assert await scene.gaps() == await scene.gaps(ETH) == []


async def test_progress_is_told(scene: Scene) -> None:
    await scene.record(range(1, 11), range(2_511, 2_521))
    assert scene.repair.progress_of(BTC) is None
    seen = []
    for _ in range(3):
        await scene.repair.step(scene.sessions)
        seen.append(scene.repair.progress_of(BTC))
    assert seen == [RepairProgress(2_500, 999), RepairProgress(2_500, 1_998), None]


async def test_what_is_not_served_any_more_stays_a_gap_and_is_not_asked_for_again(
    scene: Scene,
) -> None:
    await scene.record(range(1, 11), range(2_511, 2_521))
    scene.exchange.oldest_id = 777
    await scene.finish()
    (gap,) = await scene.gaps()
    assert (gap.after_id, gap.before_id, gap.cause) == (10, 777, GapCause.NOT_SERVED)
    assert ids_of(await scene.stored(), repaired=True) == list(range(777, 2_511))
    scene.exchange.asked.clear()
    scene.now_s += 100
    await scene.finish()
    scene.repair = scene.new_repair()
    await scene.finish()
    assert scene.exchange.asked == []


@pytest.mark.parametrize("oldest_id", [10_000, 2_511, 2_510])
async def test_a_gap_of_which_nothing_is_served_is_told_as_such(
    scene: Scene, oldest_id: int
) -> None:
    await scene.record(range(1, 11), range(2_511, 2_521))
    scene.exchange.oldest_id = oldest_id
    await scene.finish()
    (gap,) = await scene.gaps()
    assert (gap.after_id, gap.cause) == (10, GapCause.NOT_SERVED)
    assert gap.before_id == min(oldest_id, 2_511)


async def test_an_exchange_that_began_anew_has_none_of_the_old_trades(scene: Scene) -> None:
    await scene.record(range(1, 11), range(2_511, 2_521))
    scene.exchange.left_out = set(range(1, 2_515))
    await scene.finish()
    (gap,) = await scene.gaps()
    assert (gap.after_id, gap.before_id, gap.cause) == (10, 2_511, GapCause.NOT_SERVED)
    assert len(scene.exchange.asked) == 1


async def test_ids_that_the_exchange_leaves_out_are_gaps(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    scene.exchange.left_out = {11, 20, 21, 30}
    await scene.finish()
    gaps = await scene.gaps()
    assert [(gap.after_id, gap.before_id) for gap in gaps] == [(10, 12), (19, 22), (29, 31)]
    assert {gap.cause for gap in gaps} == {GapCause.NOT_SERVED}
    scene.exchange.asked.clear()
    scene.repair = scene.new_repair()
    await scene.finish()
    assert scene.exchange.asked == []


@pytest.mark.expects_log("BTCUSDT: missing trades are not repaired: The trade 10 of BTCUSDT")
async def test_the_trades_of_another_exchange_are_not_taken(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    scene.exchange.others[10] = {"q": "7"}
    await scene.finish()
    (gap,) = await scene.gaps()
    assert (gap.after_id, gap.before_id, gap.cause) == (10, 31, GapCause.USER)
    scene.now_s += 100
    await scene.finish()
    assert len(scene.exchange.asked) == 1


async def test_a_gap_of_more_than_a_day_stays(scene: Scene) -> None:
    # And an hour to the trades beside an outage.
    day_ms = 25 * 3_600_000
    await scene.database.prepare()
    writer = TradeWriter(scene.database)
    for begin, at_ms in ((1, 0), (11, 1 + day_ms), (21, 1 + 2 * day_ms), (31, 2 + 3 * day_ms)):
        scene.exchange.others |= {id_: {"T": FIRST_MS + at_ms} for id_ in (begin, begin + 1)}
        trades = [received(id_, T=FIRST_MS + at_ms) for id_ in (begin, begin + 1)]
        await writer.store(trades, TradeOrigin.RECORDER)
    await scene.finish()
    gaps = await scene.gaps()
    assert [(gap.after_id, gap.before_id) for gap in gaps] == [(2, 11), (22, 31)]
    assert scene.exchange.asked == [(BTC, 12, 10)]


async def test_an_answer_may_be_behind_the_stream_for_a_moment(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    scene.now_ms = FIRST_MS + 1_000
    scene.exchange.newest_id = 20
    for _ in range(3):
        await scene.repair.step(scene.sessions)
    assert scene.exchange.asked == [(BTC, 10, 22)]
    scene.now_s += QUICK.again_s
    await scene.repair.step(scene.sessions)
    scene.exchange.newest_id = 50
    scene.now_s += QUICK.again_s
    await scene.finish()
    assert await scene.gaps() == []
    assert scene.exchange.asked == [(BTC, 10, 22), (BTC, 20, 12), (BTC, 20, 12)]


async def test_a_clock_that_is_behind_keeps_no_hole_open(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    scene.now_ms = FIRST_MS - 24 * 3_600_000
    scene.exchange.newest_id = 20
    for _ in range(20):
        await scene.repair.step(scene.sessions)
        scene.now_s += QUICK.again_s
    (gap,) = await scene.gaps()
    assert (gap.after_id, gap.before_id, gap.cause) == (20, 31, GapCause.NOT_SERVED)
    assert len(scene.exchange.asked) < 20


async def test_a_trade_that_no_scale_holds_stays_a_gap_with_that_cause(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    wide: dict[str, object] = {"q": "92233720368547758.00000001"}
    scene.exchange.others |= {11: wide, 20: wide, 21: wide, 30: wide}
    await scene.finish()
    gaps = await scene.gaps()
    assert [(gap.after_id, gap.before_id) for gap in gaps] == [(10, 12), (19, 22), (29, 31)]
    assert {gap.cause for gap in gaps} == {GapCause.TOO_WIDE}
    scene.now_s += 100
    await scene.finish()
    assert len(scene.exchange.asked) == 1


@pytest.mark.parametrize(
    "error",
    [UnknownSymbol(BTC), UnexpectedAnswer("http://127.0.0.1", "odd"), TradesBusy(BTC)],
)
async def test_a_hole_that_fails_keeps_no_other_one_waiting(
    scene: Scene, error: KnownError
) -> None:
    await scene.record(range(1, 3), range(5, 7), range(20, 22))
    scene.exchange.errors = [error]
    for _ in range(3):
        await scene.repair.step(scene.sessions)
    assert [(gap.after_id, gap.before_id) for gap in await scene.gaps()] == [(6, 20)]
    scene.now_s += QUICK.longest_delay_s
    await scene.finish()
    assert await scene.gaps() == []


async def test_an_end_at_any_moment_changes_nothing(scene: Scene) -> None:
    """Each step is done by another program, of which every other one ends amid its work."""
    await scene.record(range(1, 11), range(1_511, 1_521), range(1_600, 1_610))
    scene.exchange.oldest_id = 300
    for number in range(60):
        step = asyncio.create_task(scene.new_repair().step(scene.sessions))
        if number % 2:
            for _ in range(number):
                await asyncio.sleep(0)
            step.cancel()
        await asyncio.wait([step])
    await scene.finish()
    gaps = await scene.gaps()
    assert [(gap.after_id, gap.before_id, gap.cause) for gap in gaps] == [
        (10, 300, GapCause.NOT_SERVED)
    ]
    stored = await scene.stored()
    assert ids_of(stored) == [*range(1, 11), *range(300, 1_610)]
    repaired = [*range(300, 1_511), *range(1_521, 1_600)]
    assert ids_of(stored, repaired=True) == repaired


async def test_a_market_that_is_not_recorded_here_is_not_repaired(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    scene.sessions[0].trade_news = None
    await scene.finish()
    assert scene.exchange.asked == []
    scene.sessions[0].trade_news = 1
    await scene.repair.step(scene.sessions)
    assert await scene.gaps() == []


async def test_runs_are_read_again_after_news(scene: Scene) -> None:
    await scene.record(range(1, 11))
    await scene.finish()
    await scene.record(range(31, 41))
    scene.now_s += QUICK.with_news_s
    await scene.finish()
    assert await scene.gaps() == []
    await scene.record(range(51, 61))
    scene.now_s += QUICK.news_s
    await scene.finish()
    assert len(scene.exchange.asked) == 1
    scene.sessions[0].trade_news = 2
    await scene.finish()
    assert await scene.gaps() == []


async def test_pauses_and_failures_are_waited_for(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await scene.record(range(1, 11), range(31, 41))
    away = Unreachable("http://127.0.0.1", "no answer")
    scene.exchange.errors = [Paced(0.01), away, away, Paced(0.01)]
    scene.repair = TradeRepair(
        scene.exchange.fetch,
        scene.database,
        lambda: False,
        RepairTimes(look_every_s=0.01, request_every_s=0.0, longest_delay_s=0.01),
    )
    running = asyncio.create_task(scene.repair.run(lambda: scene.sessions))
    await eventually(lambda: len(scene.exchange.asked) == 5)
    async with asyncio.timeout(60):
        while await scene.gaps():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert caplog.text.count("no missing trades now: The exchange at") == 1


async def test_received_events_go_first(scene: Scene) -> None:
    await scene.record(range(1, 11), range(31, 41))
    looks: list[bool] = []

    def is_busy() -> bool:
        looks.append(len(looks) < 5)
        return looks[-1]

    repair = TradeRepair(scene.exchange.fetch, scene.database, is_busy, QUICK)
    running = asyncio.create_task(repair.run(lambda: scene.sessions))
    await eventually(lambda: scene.exchange.asked)
    assert len(looks) >= 6
    running.cancel()
    await asyncio.wait([running])


async def quiet_for(scene: Scene, seconds: float) -> None:
    """Let time pass without a trade, a second at a time."""
    for _ in range(round(seconds)):
        scene.now_s += 1
        await scene.repair.step(scene.sessions)


async def test_the_exchange_is_asked_ever_more_seldom_whether_a_market_is_quiet(
    scene: Scene,
) -> None:
    (session,) = scene.sessions
    scene.exchange.newest_id = 20
    await quiet_for(scene, 500)
    assert scene.exchange.asked == []
    session.last_trade = received(20)
    for seconds, asked_times in ((119, 0), (2, 1), (238, 1), (3, 2), (478, 2), (3, 3)):
        await quiet_for(scene, seconds)
        assert scene.exchange.asked == asked_times * [(BTC, 21, 1)]
    scene.exchange.newest_id = 21
    session.last_trade = received(21)
    await quiet_for(scene, 122)
    assert scene.exchange.asked[3:] == [(BTC, 22, 1)]
    assert session.renewed == 0


async def test_a_trade_that_comes_a_little_later_is_no_sign_of_a_dead_stream(
    scene: Scene,
) -> None:
    (session,) = scene.sessions
    session.last_trade = received(20)
    await quiet_for(scene, 125)
    assert scene.exchange.asked == [(BTC, 21, 1)]
    session.last_trade = received(21)
    await quiet_for(scene, 60)
    assert session.renewed == 0


@pytest.mark.expects_log("BTCUSDT: trade 21 did not come by the stream; subscribing anew")
async def test_a_stream_that_brings_no_trades_though_there_are_some_is_renewed(
    scene: Scene,
) -> None:
    (session,) = scene.sessions
    session.last_trade = received(20)
    await quiet_for(scene, 135)
    assert session.renewed == 1
    # The trades that are missing are a hole, once the next one comes.
    assert scene.exchange.asked == [(BTC, 21, 1)]
