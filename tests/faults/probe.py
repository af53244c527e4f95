"""A second client of the recording's database, which sees what has been acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.errors import PyMongoError

from orderbook_desktop.core.trade_coverage import covered
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.server.credentials import password_path, read_secret
from orderbook_desktop.storage.server.folder_claim import FolderClaim
from orderbook_desktop.storage.server.readiness import child_dsn
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.schema import (
    DEPTH_EVENTS,
    SEGMENTS,
    TRADE_EVENTS,
    TRADE_RUNS,
    Document,
)
from orderbook_desktop.storage.store.trade_documents import trades_of
from orderbook_desktop.storage.store.trade_runs import stored_run
from tests.faults.market import Wire

_LOOK_AGAIN_S = 0.02
# To notice soon that the server was killed; and where it runs, however busy it is.
_SOON_MS, _IN_ANY_CASE_MS = 500, 60_000


class Probe:
    """Follows the change stream of a data folder's database, which any process may run.

    `seen` has the events that it told of, by final id, and `trades` the trades by their ids: they
    are committed, so a kill must not lose them. `newest_trade` is the highest of these ids. `pid`
    is the server's process, 0 where none is known.
    """

    def __init__(self, data_dir: Path, db_name: str = "book") -> None:
        self.seen: dict[int, bytes] = {}
        self.trades: dict[int, Trade] = {}
        self.newest_trade = 0
        self._folder = data_dir / "database"
        self._db_name = db_name

    @property
    def pid(self) -> int:
        record = FolderClaim(self._folder).read() if self._folder.is_dir() else None
        return (record.pid if record else None) or 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow it meanwhile."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            if self.pid:
                # It was killed; it comes back.
                with suppress(PyMongoError):
                    await self._watch()
            await asyncio.sleep(_LOOK_AGAIN_S)

    def has_caught_up(self, wire: Wire) -> bool:
        """Whether it has seen all of what was sent, but for the last few hundred of each kind.

        What is repaired may come later.
        """
        last_seen = next(reversed(self.seen), 0)
        sent_before = next(islice(reversed(wire.payloads), 300, None), 0)
        traded_before = next(islice(reversed(wire.trades), 900, None), 0)
        return last_seen >= sent_before and self.newest_trade >= traded_before

    async def is_whole(self, trade_id: int) -> bool:
        """Whether runs have all trades from the first to `trade_id`. Raises PyMongo's errors."""
        async with self._connected(_IN_ANY_CASE_MS) as database:
            found = await database[TRADE_RUNS].find({}).to_list(None)
        stretches = covered(stored_run(document).run for document in found)
        return len(stretches) == 1 and stretches[0].last_id >= trade_id

    async def archived_events(self) -> int:
        """Return how many events are archived by now. Raises PyMongo's errors."""
        return sum(int(one["archived_events"]) for one in await self._segments())

    async def last_id(self) -> int:
        """Return the last update id that any segment has. Raises PyMongo's errors."""
        return max((int(one["last_id"]) for one in await self._segments()), default=0)

    async def _segments(self) -> list[Document]:
        async with self._connected(_IN_ANY_CASE_MS) as database:
            return await database[SEGMENTS].find({}).to_list(None)

    async def _watch(self) -> None:
        kinds = [{"ns.coll": DEPTH_EVENTS}, {"ns.coll": TRADE_EVENTS}]
        inserts = [{"$match": {"operationType": "insert", "$or": kinds}}]
        async with (
            self._connected(_SOON_MS) as database,
            database.watch(inserts, max_await_time_ms=100) as changes,
        ):
            async for change in changes:
                inserted = change["fullDocument"]
                if change["ns"]["coll"] == TRADE_EVENTS:
                    self._note_trades(inserted["market"], trades_of(inserted))
                else:
                    self._note(inserted)

    def _note(self, event: Document) -> None:
        self.seen[event["u"]] = payload_of(event)

    def _note_trades(self, _market: str, trades: Sequence[Trade]) -> None:
        self.newest_trade = max(self.newest_trade, trades[-1].trade_id)
        self.trades |= {trade.trade_id: trade for trade in trades}

    @asynccontextmanager
    async def _connected(self, find_ms: int) -> AsyncIterator[AsyncIOMotorDatabase[Document]]:
        record = FolderClaim(self._folder).read()
        assert record is not None
        password = read_secret(password_path(self._folder / record.kind.value))
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            child_dsn(record.place(self._folder), password),
            serverSelectionTimeoutMS=find_ms,
            socketTimeoutMS=max(find_ms, 5_000),
        )
        try:
            yield client[self._db_name]
        finally:
            client.close()
