"""A database server for all tests, markets to record, and feeds that are driven by hand.

`conftest.py` loads it as a plugin: its fixtures need no import.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.depth_sync import (
    Applied,
    DepthSync,
    MissingIds,
    Readable,
    Synced,
    TooWide,
)
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    answered,
    decode_diff,
    decode_snapshot,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import RecordingSink, StreamItem
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.engine.book_feed import BookFeed
from orderbook_desktop.storage.reading.change_stream import RecordedSnapshots, RecordedStreams
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database, DatabaseTimes
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.packing import chunk_of
from tests.core.reference_book import ReferenceBook, shown, snapshot_payload
from tests.storage.processes import eventually
from tests.storage.ready_made import (
    DATABASE_VARIABLE,
    copy_new_databases,
    shared_database,
)

_T = TypeVar("_T")
_names = (f"test{number}" for number in count())
_FIRST_ID = 5_000_000_000
_FIRST_MS = 1_700_000_000_000
# Long, so that a test hangs if it waits for a server that doesn't answer.
ENDLESS = DatabaseTimes(find_s=600.0, connect_s=600.0, answer_s=600.0)
# For a server that is alive: the machine may be busy.
PATIENT = DatabaseTimes(find_s=10.0, connect_s=60.0, answer_s=60.0)


def pytest_configure(config: pytest.Config) -> None:
    """Keep a database that the tests copy."""
    copy_new_databases()
    stack = ExitStack()
    stack.enter_context(shared_database())
    config.add_cleanup(stack.close)


@pytest.fixture(autouse=True)
def new_databases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have new databases made, not copied, if the test has the mark `makes_database`."""
    if request.node.get_closest_marker("makes_database") is not None:
        monkeypatch.delenv(DATABASE_VARIABLE)


class ServerThread:
    """A `DatabaseServer` on a loop of its own, so that it outlives the loops of the tests."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server-loop")
        self._thread.start()
        self.folder = folder
        self.server = DatabaseServer(folder)
        self._run(self.server.start())

    @property
    def dsn(self) -> str:
        return self.server.dsn

    def close(self) -> None:
        self._run(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, job: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(120)


@contextmanager
def server_in(folder: Path) -> Iterator[ServerThread]:
    """Run a real database server on the files in `folder`."""
    thread = ServerThread(folder)
    try:
        yield thread
    finally:
        thread.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """A real database server, the same for all tests of this process.

    Use a database of another name in each test, as `database` is.
    """
    with server_in(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
async def database(server: ServerThread) -> AsyncIterator[Database]:
    """A database of its own on that server."""
    database = Database(next(_names), PATIENT)
    database.connect(server.dsn)
    yield database
    database.close()


class BreakableDatabase(Database):
    """Fails on demand, with any error."""

    error: Exception | None = None

    @property
    def motor(self) -> Any:
        if self.error is not None:
            raise self.error
        return super().motor


@pytest.fixture
async def breakable(server: ServerThread, database: Database) -> BreakableDatabase:
    fragile = BreakableDatabase(database.name)
    fragile.connect(server.dsn)
    return fragile


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[DatabaseServer]:
    """A database server of the test's own, to be killed."""
    async with DatabaseServer(tmp_path) as server:
        yield server


async def kill_and_wait(server: DatabaseServer) -> None:
    """Kill the server as a crash would, and wait until it is back."""
    killed = server.pid
    assert killed is not None
    os.kill(killed, 9)
    await eventually(lambda: server.pid not in (None, killed))
    await eventually(lambda: server.state is ServerState.READY)


@pytest.fixture
async def recorder(database: Database) -> AsyncIterator[Recorder]:
    """A running recorder."""
    async with running(Recorder(database)) as recorder:
        yield recorder


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[Recorder]:
    """Start the recorder, and close it at the end."""
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.close(60)


class SilentServer:
    """Accepts every client, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._guests: list[socket.socket] = []
        self.dsn = f"mongodb://127.0.0.1:{self._socket.getsockname()[1]}/?directConnection=true"

    async def until_somebody_came(self) -> None:
        guest, _ = await asyncio.get_running_loop().sock_accept(self._socket)
        self._guests.append(guest)

    def close(self) -> None:
        for one in (self._socket, *self._guests):
            one.close()


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    """A server that doesn't answer."""
    server = SilentServer()
    yield server
    server.close()


class Tape:
    """An endless seeded market: what its exchange sends, and its true book."""

    def __init__(self, market: str = "BTCUSDT", seed: int = 1, step_ms: int = 100) -> None:
        self.market = market
        self.book = ReferenceBook()
        self.last_id = _FIRST_ID
        self.now_ms = _FIRST_MS
        self.step_ms = step_ms
        self._random = random.Random(seed)
        for _ in range(100):
            self._change()

    def snapshot(self) -> DepthSnapshot:
        """The whole book as REST serves it."""
        bids, asks = (
            [(f"{price:.8f}", f"{quantity:.8f}") for price, quantity in side]
            for side in self.book.levels
        )
        payload = snapshot_payload(bids, asks, self.last_id)
        return answered(decode_snapshot(payload, self.market))

    def diff(self, changes: int = 6) -> DepthDiff:
        """The next event."""
        first, self.last_id = self.last_id + 1, self.last_id + changes
        self.now_ms += self.step_ms
        bids: dict[str, str] = {}
        asks: dict[str, str] = {}
        for _ in range(changes):
            bid, price, quantity = self._change()
            (bids if bid else asks)[price] = quantity
        event = {"e": "depthUpdate", "E": self.now_ms, "s": self.market, "U": first}
        sides = {"b": list(bids.items()), "a": list(asks.items())}
        payload = json.dumps({**event, "u": self.last_id, **sides}, separators=(",", ":"))
        return decode_diff(payload.encode(), self.now_ms * 1_000_000 + 1)

    def diffs(self, number: int) -> list[DepthDiff]:
        return [self.diff() for _ in range(number)]

    def _change(self) -> tuple[bool, str, str]:
        bid = self._random.random() < 0.5
        tick = self._random.randint(1, 400)
        price = Decimal(60_000 - tick if bid else 60_000 + tick) / 100
        quantity = Decimal(self._random.choice([0, 1, 25, 99_999_999])) / 10**8
        ReferenceBook.change(self.book.bids if bid else self.book.asks, price, quantity)
        return bid, f"{price:.8f}", f"{quantity:.8f}"


class HandFeed:
    """What `BookFeed` does with an exchange, without tasks: the tests drive it."""

    def __init__(self, sink: RecordingSink) -> None:
        self.sync = DepthSync()
        self.sink = sink

    def snapshot(self, snapshot: DepthSnapshot) -> None:
        self._act(self.sync.receive_snapshot(snapshot))

    def diffs(self, *diffs: DepthDiff) -> None:
        for diff in diffs:
            self.sink.received(diff)
            self._act(self.sync.receive_diff(diff))

    def broken(self, cause: GapCause, detail: str = "") -> None:
        self.sync.stream_broken()
        self.sink.broken(cause, detail)

    def _act(self, outcomes: Any) -> None:
        for outcome in outcomes:
            match outcome:
                case Applied(diff):
                    self.sink.applied(diff, self.sync.book)
                case Synced(snapshot):
                    self.sink.opened(snapshot)
                case MissingIds(first, last):
                    self.sink.broken(GapCause.FEED_GAP, f"{first}-{last}")
                case TooWide():
                    self.sink.broken(GapCause.TOO_WIDE, str(outcome))
                case Readable(_, image):
                    self.sink.opened(image)


def started(recorder: Recorder, tape: Tape) -> HandFeed:
    """A feed whose segment begins with the tape's book as it is now."""
    feed = HandFeed(recorder.sink(tape.market))
    feed.snapshot(tape.snapshot())
    return feed


async def all_of(database: Database, collection: str, **query: object) -> list[dict[str, Any]]:
    """The documents of a collection."""
    return await database.collection(collection).find(query).to_list(None)


async def segments_of(database: Database) -> list[dict[str, Any]]:
    """The segments with a book in the order of their ids."""
    found = await all_of(database, "segments", book=True)
    return sorted(found, key=lambda one: int(one["snapshot_id"]))


async def bookless_of(database: Database, market: str = "BTCUSDT") -> list[tuple[int, ...]]:
    """The final ids of the events of each run without a book."""
    return [run.ids for run in await BooklessRuns(database).of(market)]


async def events_of(database: Database, market: str = "BTCUSDT") -> list[dict[str, Any]]:
    """The events of a market in the order of their ids, whether or not they are archived."""
    # Raw events first: else an event that is archived meanwhile would be missed.
    raw = await all_of(database, "depth_events", market=market)
    events = {}
    for chunk in await all_of(database, "depth_chunks", market=market):
        for one in decode_chunk(chunk_of(chunk)).diffs():
            events[one.final_id] = {
                "market": one.market,
                "U": one.first_id,
                "u": one.final_id,
                "time": one.event_ms,
                "received_ns": one.received_ns,
                "payload": one.payload.decode(),
            }
    for document in raw:
        text = payload_of(document).decode()
        events[document["u"]] = document | {"encoding": "text", "payload": text}
    return [events[key] for key in sorted(events)]


async def until_written(recorder: Recorder) -> None:
    """Wait until every event is acknowledged."""
    await eventually(lambda: not recorder.waiting)


async def until_more(recorder: Recorder, market: str, number: int) -> None:
    """Wait until so many further events are acknowledged."""
    counts = recorder.sink(market).counts
    wanted = counts.events + number
    await eventually(lambda: counts.events >= wanted)


async def until_stored(database: Database, number: int, **query: object) -> None:
    """Wait until `number` segments with a book are stored that match."""
    async with asyncio.timeout(60):
        while len(await all_of(database, "segments", book=True, **query)) != number:
            await asyncio.sleep(0.02)


class Followed:
    """A recording followed through the change stream, by the program's own driver."""

    def __init__(self, database: Database, market: str = "BTCUSDT") -> None:
        self.streams = WatchedStreams(database)
        self.snapshots = RecordedSnapshots(database)
        self.feed = BookFeed(market, self.snapshots, self.streams, SourceKind.MONGO, 0.02)

    async def until_equals(self, tape: Tape) -> None:
        """Wait until the followed book is the true one, at the last id."""
        await eventually(lambda: self.feed.book.last_update_id == tape.last_id)
        assert self.feed.status.state is FeedState.SYNCED
        assert shown(self.feed.book) == tape.book.levels


class WatchedStreams(RecordedStreams):
    """Keeps the items that it passes on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.seen: list[StreamItem] = []

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        async for item in super().items(stream):
            self.seen.append(item)
            yield item

    @property
    def ids(self) -> list[int]:
        return [item.final_id for item in self.seen if isinstance(item, DepthDiff)]

    async def until_more(self, number: int) -> None:
        """Wait until so many further events have been passed on."""
        wanted = len(self.ids) + number
        await eventually(lambda: len(self.ids) >= wanted)


@asynccontextmanager
async def following(database: Database, market: str = "BTCUSDT") -> AsyncIterator[Followed]:
    """Follow a recording."""
    followed = Followed(database, market)
    run = asyncio.create_task(followed.feed.run())
    try:
        yield followed
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await followed.streams.close()
