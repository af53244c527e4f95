"""Trades recorded from the local exchange with its faults, and repaired: whole, or a told gap."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trade_coverage import TradeGap, covered, gaps_between
from orderbook_desktop.core.trades import TRADE, Trade, decode_repaired, is_same_trade
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.engine.settings import RepairTimes
from orderbook_desktop.exchange.local import Fault, FaultKind, Shape, SyntheticSource
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from tests.app.conftest import NOWHERE, ExchangeThread
from tests.exchange.local.client import get_json
from tests.storage.recording_fixtures import ServerThread
from tests.unhurried import ENGINE_TIMES

pytestmark = [pytest.mark.allows_log(".*"), pytest.mark.timeout(300, method="thread")]

BTC = "BTCUSDT"
AGG = "aggTrade"
REPAIR = RepairTimes(look_every_s=0.05, with_news_s=0.1, request_every_s=0.02, again_s=0.2)
TIMES = replace(ENGINE_TIMES, repair=REPAIR)
_names = (f"trades{number}" for number in count())


class Play:
    """The exchange, whose market lives on while nothing is recorded, and what it has traded."""

    def __init__(self, exchange: ExchangeThread, settings: Settings) -> None:
        self.exchange = exchange
        self.settings = settings
        self.newest_id = 0

    async def listen(self) -> None:
        """Keep the market alive, as another subscriber does."""
        while True:
            with suppress(WebSocketException, OSError):
                url = f"{self.exchange.ws_url}/ws/btcusdt@{AGG}"
                async with connect(url, compression=None) as socket:
                    async for message in socket:
                        with suppress(ValueError, TypeError, KeyError):
                            self.newest_id = max(self.newest_id, json.loads(message)["a"])
            await asyncio.sleep(0.02)

    async def pass_trades(self, number: int) -> None:
        """Wait until so many further trades have happened."""
        end = self.newest_id + number
        await until(lambda: self.newest_id >= end)

    async def true_trades(self, first_id: int, last_id: int) -> list[Trade]:
        """Return what the exchange says."""
        found: list[Trade] = []
        while not found or found[-1].trade_id < last_id:
            next_id = found[-1].trade_id + 1 if found else first_id
            query = f"/api/v3/aggTrades?symbol={BTC}&fromId={next_id}&limit=1000"
            rows = await get_json(self.exchange, query)
            found += [decode_repaired(json.dumps(row).encode(), BTC) for row in rows]
        return [trade for trade in found if trade.trade_id <= last_id]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.02)


async def until_true(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def busy_exchange() -> Iterator[ExchangeThread]:
    """An exchange for all tests of this module: its market begins with the first one."""
    exchange = ExchangeThread(SyntheticSource(seed=7, activity=100.0))
    yield exchange
    exchange.close()


@pytest.fixture
async def play(busy_exchange: ExchangeThread, server: ServerThread) -> AsyncIterator[Play]:
    settings = load_settings(
        rest_url=busy_exchange.rest_url,
        ws_url=busy_exchange.ws_url,
        data_dir=str(server.folder),
        db_name=next(_names),
    )
    play = Play(busy_exchange, settings)
    listening = asyncio.create_task(play.listen())
    await until(lambda: play.newest_id)
    yield play
    listening.cancel()
    await asyncio.wait([listening])


class Recording:
    """A program that records the market."""

    def __init__(self, play: Play, engine: Engine, session: MarketSession) -> None:
        self.play, self.engine, self.session = play, engine, session
        self.reader = DatabaseTrades(engine.database)

    async def gaps(self) -> list[TradeGap]:
        return gaps_between(await self.reader.runs(BTC))

    async def until_it_has(self, trade_id: int) -> None:
        """Wait until the trade is stored."""

        async def is_stored() -> bool:
            stored = covered(await self.reader.runs(BTC))
            return bool(stored) and stored[-1].last_id >= trade_id

        await until_true(is_stored)

    async def until_connected(self) -> None:
        """Wait until the trades come by all connections."""
        groups = [group for copy in self.engine.streams._copies for group in copy.groups]

        def is_connected() -> bool:
            links = [group._link for group in groups if group._successor is None]
            open_links = [link for link in links if link is not None]
            return len(open_links) == len(groups) and all(
                link.is_confirmed(Stream(BTC, TRADE)) for link in open_links
            )

        await until(is_connected)

    async def until_whole(self) -> None:
        """Wait until all trades up to now are stored, and none is missing before."""
        await self.until_it_has(self.play.newest_id)

        async def is_whole() -> bool:
            return not await self.gaps()

        await until_true(is_whole)

    async def check(self) -> list[Trade]:
        """Compare what is stored with what the exchange has; return it."""
        stored = await self.reader.newest(BTC, 99_999)
        known = {trade.trade_id: trade for trade in stored}
        for true in await self.play.true_trades(stored[0].trade_id, stored[-1].trade_id):
            if true.trade_id in known:
                assert is_same_trade(known.pop(true.trade_id), true)
        assert not known
        return stored


@asynccontextmanager
async def recording(play: Play, connections: int = 1) -> AsyncIterator[Recording]:
    engine = Engine(play.settings.with_connections(connections), times=TIMES)
    await engine.start()
    await engine.until_database()
    try:
        with engine.open_market("BTC/USDT", viewed=False) as lease:
            lease.session.set_recording(wanted=True)
            lease.session.start()
            yield Recording(play, engine, lease.session)
    finally:
        await engine.close()


FAULTS = [
    Fault(kind=FaultKind.DROP, count=5, stream=AGG, symbol=BTC),
    Fault(kind=FaultKind.DUPLICATE, count=3, stream=AGG, symbol=BTC),
    Fault(kind=FaultKind.SWAP, count=2, stream=AGG, symbol=BTC),
    Fault(kind=FaultKind.REPEAT, count=2, stream=AGG, symbol=BTC),
    Fault(kind=FaultKind.MALFORMED, count=2, stream=AGG, symbol=BTC, instead=True),
    Fault(kind=FaultKind.MALFORMED, stream=AGG, symbol=BTC, shape=Shape.TYPES, instead=True),
    Fault(kind=FaultKind.DISCONNECT),
    Fault(kind=FaultKind.SHUTDOWN, seconds=0.2),
]


@pytest.mark.parametrize("connections", [1, 2])
async def test_every_fault_of_the_stream_ends_whole(play: Play, connections: int) -> None:
    async with recording(play, connections) as program:
        await program.until_it_has(play.newest_id)
        for fault in FAULTS:
            play.exchange.inject(fault)
            await play.pass_trades(15)
        await program.until_whole()
        stored = await program.check()
        repaired = [trade for trade in stored if trade.is_repaired]
        # What was dropped, and what came in the wrong place or unreadable.
        assert len(repaired) >= 8


async def test_no_fault_on_one_of_two_connections_leaves_a_hole(play: Play) -> None:
    async with recording(play, 2) as program:
        await program.until_it_has(play.newest_id)
        trades = program.session.trades
        assert trades is not None
        # The connection that keeps the market alive is the oldest one.
        for number, fault in enumerate(FAULTS):
            await program.until_connected()
            play.exchange.inject(replace(fault, connection=1 + number % 2))
            await play.pass_trades(10)
        await program.until_whole()
        assert trades.holes == 0
        assert not any(trade.is_repaired for trade in await program.check())


async def test_an_outage_is_made_up_for_unasked(play: Play) -> None:
    async with recording(play) as program:
        await program.until_it_has(play.newest_id)
    stopped_at = play.newest_id
    await play.pass_trades(100)
    async with recording(play) as program:
        await program.until_whole()
        stored = await program.check()
    repaired = [trade.trade_id for trade in stored if trade.is_repaired]
    assert set(range(stopped_at + 10, stopped_at + 90)) <= set(repaired)
    assert repaired == list(range(repaired[0], repaired[-1] + 1))
    assert all(not trade.received_ns and trade.event_ms for trade in stored if trade.is_repaired)


async def test_what_the_exchange_forgets_is_a_gap_that_says_so(play: Play) -> None:
    async with recording(play) as program:
        await program.until_it_has(play.newest_id)
    await play.pass_trades(60)
    play.exchange.inject(Fault(kind=FaultKind.FORGET, seconds=0.3))
    async with recording(play) as program:

        async def is_settled() -> bool:
            causes = [gap.cause for gap in await program.gaps()]
            return causes == [GapCause.NOT_SERVED]

        await until_true(is_settled)
        (gap,) = await program.gaps()
        assert program.session.recording_status.repair is None
    assert gap.missing > 10


async def test_recording_that_is_switched_off_for_a_while_is_made_up_for(play: Play) -> None:
    async with recording(play) as program:
        await program.until_it_has(play.newest_id)
        program.session.set_recording(wanted=False)
        await play.pass_trades(30)
        program.session.set_recording(wanted=True)
        await program.until_whole()
        program.session.pause("a test")
        await play.pass_trades(30)
        program.session.resume()
        await program.until_whole()
        stored = await program.check()
        assert sum(trade.is_repaired for trade in stored) >= 40


async def test_who_follows_a_recording_sees_its_trades_and_what_is_repaired(play: Play) -> None:
    """A viewer needs no exchange: its tape begins with what is stored, and goes on."""
    async with recording(play) as program:
        await program.until_it_has(play.newest_id)
        viewer = Engine(
            play.settings.with_exchange(**NOWHERE, db_name=play.settings.db_name), times=TIMES
        )
        await viewer.start()
        with viewer.open_market("BTC/USDT", viewed=True) as lease:
            lease.session.start()
            tape = lease.look().tape
            assert tape is not None
            stored = await program.reader.newest(BTC, 99_999)
            await until(lambda: tape.oldest_id == stored[0].trade_id)
            await play.pass_trades(5)
            play.exchange.inject(Fault(kind=FaultKind.DROP, count=3, stream=AGG, symbol=BTC))
            await play.pass_trades(10)
            newest_id = play.newest_id
            await program.until_whole()

            wanted = set(range(stored[0].trade_id, newest_id + 1))
            await until(lambda: wanted <= {trade.trade_id for trade in tape.newest(99_999)})
            assert sum(trade.is_repaired for trade in tape.newest(99_999)) == 3
        await viewer.close()
