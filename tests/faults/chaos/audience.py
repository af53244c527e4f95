"""What is seen of the play: books that are shown, events that are acknowledged, memory."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import psutil

from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.schema import Document
from tests.faults.probe import Probe
from tests.web.reader import Merged, watching

_LEVELS = 200
_LOOK_EVERY_S = 0.3
# How many messages of a stream are merged for each book that is kept of it.
_MESSAGES_A_SIGHTING = 7
# So long one symbol's stream is followed.
_MESSAGES_A_STREAM = 100
_PROMISES = {FeedState.SYNCED.value}

SideLevels = list[tuple[str, str]]


@dataclass(frozen=True)
class Sighting:
    """A book that was shown as right: what was asked for at `asked_ms` (ms since the epoch)."""

    market: str
    update_id: int
    asked_ms: int
    where: str
    levels: bytes

    def sides(self) -> tuple[SideLevels, SideLevels]:
        """Return bids and asks, best first."""
        bids, asks = msgspec.json.decode(
            zlib.decompress(self.levels), type=tuple[SideLevels, SideLevels]
        )
        return bids, asks


def packed(sides: tuple[SideLevels, SideLevels]) -> bytes:
    """Return the `levels` of a sighting, small enough to keep thousands of them."""
    return zlib.compress(msgspec.json.encode(sides), 1)


class Viewer:
    """Asks for books, and follows streams, of one symbol after another, for ever.

    `sightings` are the books that were shown as `synced`; `statuses` counts what was shown.
    `faults` are contradictions that it met itself.
    """

    def __init__(self, port: int, symbols: Sequence[str], seed: int) -> None:
        self.sightings: list[Sighting] = []
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []
        self._port = port
        self._symbols = symbols
        self._chance = random.Random(seed)

    async def ask(self) -> None:
        """Ask for whole books, for ever."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                # It is killed and suspended now and then.
                with suppress(aiohttp.ClientError, TimeoutError):
                    await self._ask(session, self._chance.choice(self._symbols))

    async def follow(self) -> None:
        """Follow streams, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            with suppress(OSError, EOFError, IndexError, ValueError):
                async with asyncio.timeout(60):
                    await self._follow(self._chance.choice(self._symbols))

    async def _ask(self, session: aiohttp.ClientSession, symbol: str) -> None:
        asked_ms = time.time_ns() // 1_000_000
        query = {"symbol": symbol, "depth": str(_LEVELS)}
        url = f"http://127.0.0.1:{self._port}/api/book"
        async with session.get(url, params=query) as answer:
            if answer.status != 200:
                self.statuses[str(answer.status)] += 1
                return
            book = await answer.json()
        sides = (book["bids"], book["asks"])
        self._keep(symbol, book["lastUpdateId"], book["status"], asked_ms, "/api/book", sides)

    async def _follow(self, symbol: str) -> None:
        merged = Merged()
        async with watching(self._port, f"/stream?symbol={symbol}") as viewer:
            for number in range(_MESSAGES_A_STREAM):
                asked_ms = time.time_ns() // 1_000_000
                message = await viewer.message()
                try:
                    merged.take(message)
                except (AssertionError, KeyError) as error:
                    self.faults.append(f"/stream of {symbol}: {error!r} at {message['seq']}")
                    return
                if number % _MESSAGES_A_SIGHTING == 0:
                    sides = (_best(merged, "bids"), _best(merged, "asks"))
                    update_id, status = message["lastUpdateId"], message["status"]
                    self._keep(symbol, update_id, status, asked_ms, "/stream", sides)

    def _keep(
        self,
        symbol: str,
        update_id: int,
        status: str,
        asked_ms: int,
        where: str,
        sides: tuple[SideLevels, SideLevels],
    ) -> None:
        self.statuses[status] += 1
        if status in _PROMISES:
            market = symbol.replace("/", "")
            self.sightings.append(Sighting(market, update_id, asked_ms, where, packed(sides)))


def _best(merged: Merged, name: str) -> SideLevels:
    best = sorted(merged.sides[name].items(), reverse=name == "bids")[:_LEVELS]
    return [(str(price), str(size)) for price, size in best]


def decimals(levels: SideLevels) -> list[tuple[Decimal, Decimal]]:
    """Return levels as numbers."""
    return [(Decimal(price), Decimal(size)) for price, size in levels]


class WholeProbe(Probe):
    """Notes what the database has acknowledged, of every market.

    `acknowledged` has events by their final ids, `acknowledged_trades` trades by their ids.
    """

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.acknowledged: dict[str, dict[int, bytes]] = defaultdict(dict)
        self.acknowledged_trades: dict[str, dict[int, Trade]] = defaultdict(dict)

    def _note(self, event: Document) -> None:
        self.acknowledged[event["market"]][event["u"]] = payload_of(event)

    def _note_trades(self, market: str, trades: Sequence[Trade]) -> None:
        self.acknowledged_trades[market] |= {trade.trade_id: trade for trade in trades}


class MemoryWatch:
    """Samples the memory of processes by their part, in MB: `samples`."""

    def __init__(self, parts: Callable[[], Mapping[str, Sequence[int]]]) -> None:
        self.samples: dict[str, list[float]] = defaultdict(list)
        self._parts = parts

    async def watch(self) -> None:
        """Take a sample every second, for ever."""
        while True:
            await asyncio.sleep(1)
            for part, pids in self._parts().items():
                for pid in pids:
                    with suppress(psutil.NoSuchProcess):
                        mb = psutil.Process(pid).memory_info().rss / 2**20
                        self.samples[part].append(mb)
