"""How long `verify` takes for stored data that is hostile to it, against events / 50,000 + 10 s.

Names on the command line limit it to some kinds; `--times N` makes each kind N times as large.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.verification import verify
from tests.bench.targets import Targets
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved, book_document

_EVENTS_A_SECOND: Final = 50_000
_BESIDES_S: Final = 10.0
_WIDE: Final = 9_900_000

Fill = Callable[[Database, int], Awaitable[int]]


async def _tiny_segments(database: Database, times: int) -> int:
    """Store segments of one event each, with a gap between them."""
    shelf, tape = Shelf(database), Tape()
    for _ in range(1_000 * times):
        await shelf.put(tape, 1)
        tape.diff()
    return 1_000 * times


async def _wide_ids(database: Database, times: int) -> int:
    """Store events of which each takes almost as many update ids as one may."""
    tape = Tape()
    shelf, base = Shelf(database), tape.last_id
    events = [_moved(event, number, base) for number, event in enumerate(tape.diffs(2_000 * times))]
    tape = Tape()
    await shelf.put(tape, events)
    return len(events)


def _moved(event: DepthDiff, number: int, base: int) -> DepthDiff:
    first, final = base + number * _WIDE + 1, base + (number + 1) * _WIDE
    payload = event.payload.replace(b'"U":%d' % event.first_id, b'"U":%d' % first)
    payload = payload.replace(b'"u":%d' % event.final_id, b'"u":%d' % final)
    return decode_diff(payload, event.received_ns)


async def _quiet_minutes(database: Database, times: int) -> int:
    """Archive an event a minute."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=60_000), 1_000 * times)
    await shelf.archive(shelved)
    return 1_000 * times


async def _raw_events(database: Database, times: int) -> int:
    """Store a segment of which nothing is archived."""
    shelved = await Shelf(database).put(Tape(), 10_000 * times)
    return len(shelved.events)


async def _loose_events(database: Database, times: int) -> int:
    """Store raw events in runs without a book, ten each."""
    shelf, tape = Shelf(database), Tape()
    await database.prepare()
    events = tape.diffs(10_000 * times)
    await shelf.write(events)
    for start in range(0, len(events), 10):
        await shelf.put_loose(events[start : start + 10])
    await shelf.put(tape, 1_000)
    return len(events)


async def _loose_chunks(database: Database, times: int) -> int:
    """Archive loose events one by one."""
    shelf = Shelf(database)
    for event in Tape().diffs(1_000 * times):
        await shelf.put_loose([event], archived=True)
    return 1_000 * times


async def _unlisted_events(database: Database, times: int) -> int:
    """Store events that no segment or list names."""
    await database.prepare()
    await Shelf(database).write(Tape().diffs(10_000 * times))
    return 10_000 * times


async def _checkpoints(database: Database, times: int) -> int:
    """Store the book after every second event of a segment."""
    shelved = await Shelf(database).put(Tape(), 1_000 * times)
    documents = [book_document(shelved.id, book) for book in _books(shelved)]
    await database.collection("checkpoints").insert_many(documents)
    return len(shelved.events)


async def _witnesses(database: Database, times: int) -> int:
    """Store the exchange's snapshot after every second event."""
    shelved = await Shelf(database).put(Tape(), 1_000 * times)
    for book in _books(shelved):
        snapshot = decode_snapshot(encode_image(book), shelved.market)
        witness = Witness(snapshot, 5_000, 1, shelved.id, Horizon())
        await Witnesses(database).put(witness)
    return len(shelved.events)


def _books(shelved: Shelved) -> Iterator[BookImage]:
    book = Book()
    book.load(decode_snapshot(encode_image(shelved.base), shelved.market))
    for number, event in enumerate(shelved.events):
        book.apply(event)
        if number % 2:
            yield image_of(book, shelved.market)


async def _strays(database: Database, times: int) -> int:
    """Store minutes and a journal of an import that is never settled."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=60_000), 1_000)
    await shelf.archive(shelved)
    chunk = await database.collection("depth_chunks").find_one({})
    assert chunk is not None
    strays = [
        {**chunk, "_id": f"x:{number}", "segment": f"x{number}", "minute": number}
        for number in range(2_000 * times)
    ]
    for start in range(0, len(strays), 500):
        await database.collection("depth_chunks").insert_many(strays[start : start + 500])
    keys = [stray["segment"] for stray in strays]
    journal = {"_id": "import:1", "state": "writing", "markets": ["BTCUSDT"], "known": []}
    await database.collection("meta").insert_one(sealed({**journal, "segments": keys}))
    return 1_000


async def _deleted(database: Database, times: int) -> int:
    """Archive events, and leave their deleted documents to the server."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 20_000 * times)
    await shelf.archive(shelved)
    return 20_000 * times


async def _far_segments(database: Database, times: int) -> int:
    """Store segments that are centuries and trillions of ids apart."""
    shelf = Shelf(database)
    tape = Tape()
    for number in range(100 * times):
        tape.last_id += 10**12
        tape.now_ms = 1_000_000_000_000 + number * 7_000_000_000 % 790_000_000_000
        await shelf.put(tape, 1)
    return 100 * times


KINDS: Final[Mapping[str, Fill]] = {
    fill.__name__.lstrip("_").replace("_", "-"): fill
    for fill in (
        *(_tiny_segments, _wide_ids, _quiet_minutes, _raw_events),
        *(_loose_events, _loose_chunks),
        *(_unlisted_events, _checkpoints, _witnesses, _strays, _deleted, _far_segments),
    )
}


async def _run(kinds: list[str], times: int) -> int:
    targets = Targets()
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            async with DatabaseServer(Path(folder)) as server:
                database = Database("bench")
                database.connect(server.dsn)
                stored = await KINDS[kind](database, times)
                bound_s = stored / _EVENTS_A_SECOND + _BESIDES_S
                began = time.perf_counter()
                found = await verify(database, "BTCUSDT")
                took_s = time.perf_counter() - began
                database.close()
        held = "holds" if found.fault is None else str(found.fault)
        print(
            f"{kind} of {stored:,}: {took_s:.2f} s of {bound_s:.2f} "
            f"{targets.at_most(took_s, bound_s)}, load {os.getloadavg()[0]:.1f}; {held}",
            flush=True,
        )
    return targets.exit_code


def main() -> int:
    """Measure the kinds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    parser.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    return asyncio.run(_run(given.kinds or list(KINDS), given.times))


if __name__ == "__main__":
    sys.exit(main())
