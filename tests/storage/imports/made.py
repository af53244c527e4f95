"""Messages as a collector would have received them, and recordings made of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path

from orderbook_desktop.core.archive.rows import LevelRows, RowStream
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.received import Broken, Received
from orderbook_desktop.storage.imports.importing import (
    IMPORT_TIMES,
    ImportedMarket,
    ImportTimes,
    import_messages,
)
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from tests.core.reference_book import Pairs
from tests.storage.recording_fixtures import Tape, all_of


class Collected:
    """The messages of a tape that a collector received, with the true book after every event."""

    def __init__(self, tape: Tape | None = None) -> None:
        self.tape = tape or Tape(step_ms=700)
        self.messages: list[Received] = []
        self.books: dict[int, tuple[Pairs, Pairs]] = {}

    def snapshot(self) -> Collected:
        snapshot = self.tape.snapshot()
        self.books[snapshot.last_update_id] = self.tape.book.levels
        self.messages.append(Received(self.tape.now_ms * 1_000_000 + 2, snapshot))
        return self

    def events(self, count: int) -> Collected:
        for _ in range(count):
            diff = self.tape.diff()
            self.messages.append(Received(diff.received_ns, diff))
            self.books[diff.final_id] = self.tape.book.levels
        return self

    def gap(self) -> Collected:
        self.tape.diffs(3)
        return self

    def lines(self) -> list[bytes]:
        """The same as lines of a capture."""
        return [_line(one) for one in self.messages]

    @property
    def diffs(self) -> list[DepthDiff]:
        return [one.message for one in self.messages if isinstance(one.message, DepthDiff)]


def _line(received: Received) -> bytes:
    payload = received.message.payload
    if isinstance(received.message, DepthDiff):
        stream = json.dumps(f"{received.message.market.lower()}@depth@100ms").encode()
        payload = b'{"stream":%b,"data":%b}' % (stream, payload)
    return b"%d %b\n" % (received.received_ns, payload)


async def imported(
    database: Database,
    messages: Iterable[Received | Broken],
    folder: Path,
    times: ImportTimes = IMPORT_TIMES,
) -> list[ImportedMarket]:
    """Import `messages`."""
    return await import_messages(database, messages, folder, lambda *_: None, times)


async def recorded_rows(database: Database, market: str = "BTCUSDT") -> AsyncIterator[LevelRows]:
    """The rows of the whole recording."""
    stream = RowStream()
    async with aclosing(Recording(database, market).slices()) as slices:
        async for part in slices:
            for rows in stream.take(part):
                yield rows
    for rows in stream.finish():
        yield rows


async def contents(database: Database) -> dict[str, list[object]]:
    """All stored documents, without the times of our own clock, and the seals of these."""
    names = ("segments", "depth_chunks", "depth_events", "checkpoints", "meta")
    return {
        name: [
            {key: value for key, value in one.items() if key not in ("alive_ms", "owner", "sum")}
            for one in sorted(await all_of(database, name), key=lambda one: str(one["_id"]))
        ]
        for name in names
    }
