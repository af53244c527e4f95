"""The program asks a real local exchange again when the price nears the edge of what is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.exchange.local.source import Listing, LocalBook, Publish, StreamEvent
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import ReferenceBook, diff_payload, shown
from tests.storage.processes import eventually
from tests.unhurried import ENGINE_TIMES

BTC = "BTCUSDT"
_MIDDLE = 100_000
_LEVELS = 12_000
_CENT = Decimal("0.01")


class FallingMarket:
    """A market with 12,000 levels a side, whose price the test moves; it is a `MarketSource`."""

    def __init__(self) -> None:
        self.listings = {BTC: Listing(BTC, "BTC", "USDT", "0.01", "0.00001")}
        self.played = 0
        self.last_id = 10
        self.truth = ReferenceBook(
            {(_MIDDLE - n) * _CENT: Decimal(1) for n in range(1, _LEVELS + 1)},
            {(_MIDDLE + n) * _CENT: Decimal(1) for n in range(1, _LEVELS + 1)},
        )
        self._at = _MIDDLE
        self._publish: Publish | None = None

    async def open(self) -> None:
        """Do nothing."""

    async def run(self, publish: Publish) -> None:
        self._publish = publish
        await asyncio.Event().wait()

    def want(self, _streams: Collection[str]) -> None:
        """Do nothing."""

    async def book(self, _market: str) -> LocalBook:
        bids, asks = (
            [(f"{price:.8f}", f"{size:.8f}") for price, size in side] for side in self.truth.levels
        )
        return LocalBook(self.last_id, bids, asks)

    def older_book(self, _market: str) -> LocalBook | None:
        return None

    def update_id(self, _market: str) -> int:
        return self.last_id

    async def close(self) -> None:
        """Do nothing."""

    def fall(self, ticks: int) -> None:
        """Let the price fall by so many levels, in one event."""
        self._at -= ticks
        self._send(
            dict.fromkeys(range(self._at, self._at + ticks), 0),
            dict.fromkeys(range(self._at + 1, self._at + ticks + 1), 2),
        )

    def change(self, tick: int, size: int) -> None:
        """Change a bid."""
        self._send({tick: size}, {})

    def _send(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        assert self._publish is not None
        self.last_id += 1
        self.played += 1
        sides = [
            [(f"{tick * _CENT:.8f}", f"{size:.8f}") for tick, size in side.items()]
            for side in (bids, asks)
        ]
        payload = diff_payload(sides[0], sides[1], self.last_id, self.last_id)
        self.truth.take(payload)
        stream = f"{BTC.lower()}@depth@100ms"
        self._publish(StreamEvent(stream, BTC, payload, is_diff=True, final_id=self.last_id))


@asynccontextmanager
async def engine_on(exchange: LocalExchange, folder: Path) -> AsyncIterator[Engine]:
    settings = load_settings(
        rest_url=exchange.rest_url, ws_url=exchange.ws_url, data_dir=str(folder)
    )
    engine = Engine(settings, times=replace(ENGINE_TIMES, depth_look_s=0.05))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def ends(book: Book) -> tuple[str | None, str | None] | None:
    return None if book.horizon is None else book.horizon.texts(0)


def check_true(books: Iterable[Book], market: FallingMarket) -> None:
    """Check each book at all prices within its horizon."""
    for book in books:
        assert book.last_update_id == market.last_id
        horizon = book.horizon
        assert horizon is not None
        for ours, true, is_ask in zip(shown(book), market.truth.levels, (False, True), strict=True):
            inside = [
                [level for level in side if horizon.knows(int(level[0] * 10**8), is_ask=is_ask)]
                for side in (ours, true)
            ]
            assert inside[0] == inside[1]


async def test_a_recorded_market_is_known_deeper_when_its_price_falls(tmp_path: Path) -> None:
    """The live book, the recorded one, what a view shows, the recording, and its proof."""
    market = FallingMarket()
    async with LocalExchange(market) as exchange, engine_on(exchange, tmp_path) as engine:
        await engine.until_database()
        with engine.open_market("BTC/USDT", viewed=True) as lease:
            session, live, recorded = lease.session, lease.session.live, lease.session.recorded
            session.set_recording(wanted=True)
            session.start()
            await eventually(lambda: live.status.state is FeedState.SYNCED)
            market.fall(1)
            await eventually(lambda: recorded.book.last_update_id == market.last_id)
            assert ends(live.book) == ends(recorded.book) == ("950", "1050")
            # The way to the edge is measured from here.
            await eventually(lambda: BTC in engine._widener._bases)
            base_id = recorded.base_id
            for ticks in (1_000, 1_000, 1_000):
                market.fall(ticks)
            await eventually(lambda: ends(live.book) == ("919.99", "1050"))
            await eventually(lambda: ends(recorded.book) == ("919.99", "1050"))
            # Far beyond the first horizon, and beyond both.
            market.change(92_500, 7)
            market.change(91_000, 7)
            await eventually(lambda: recorded.book.last_update_id == market.last_id)
            check_true([live.book, recorded.book], market)
            assert (live.base_id, recorded.base_id) == (10, base_id)
            assert session.sink.counts.books == 1
            look = lease.look()
            assert look.status.source is SourceKind.MONGO
            assert ends(look.book) == ("919.99", "1050")
            session.set_recording(wanted=False)
        recording = Recording(engine.database, BTC)
        async with asyncio.timeout(60):
            while (await recording.segments())[0].running:
                await asyncio.sleep(0.02)
        found = await verify(engine.database, BTC)
        assert (found.fault, found.segments, found.witnesses) == (None, 1, 1)
        (stored,) = await recording.segments()
        assert stored.segment.end_cause is GapCause.USER
        horizons = [one.horizon async for one in recording.chunks(stored)]
        assert [one.texts(0) for one in horizons if one] == [("950", "1050"), ("919.99", "1050")]
