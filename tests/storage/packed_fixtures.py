"""Recordings of every kind of part, to be packed, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from orderbook_desktop.core.archive.rows import LevelRows, RowStream
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.formats.packed_file import (
    BOOKMARK_KINDS,
    KINDS,
    TRADE_KINDS,
    PackedFile,
    PackedWriter,
)
from orderbook_desktop.storage.exports.packed_file import PackedMarket, PackJob, pack
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import PackedStore
from orderbook_desktop.storage.store.recording_store import ProvableStore
from orderbook_desktop.storage.store.witnesses import Witnesses
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved, book_document

MARKET = "BTCUSDT"


async def record_all_kinds(database: Database, market: str = MARKET) -> list[Shelved]:
    """Store a recording of each kind of part: return its segments.

    Four segments: archived, partly archived, raw, and running; between them loose events, archived
    and raw ones, and events that nothing names; and a witness and a checkpoint.
    """
    tape, shelf = Tape(market, step_ms=10_000), Shelf(database)
    tape.diff()
    first = await shelf.put(tape, 40, GapCause.DISCONNECT)
    await shelf.archive(first)
    await shelf.change("segments", first.id, to_archive=False)
    await shelf.put_loose(tape.diffs(3), archived=True)
    second = await shelf.put(tape, 40, GapCause.CRASH)
    await shelf.archive(second, 24)
    snapshot = tape.snapshot()
    witness = Witness(snapshot, 1000, tape.now_ms, second.id, None)
    await Witnesses(database).put(witness)
    loose = tape.diffs(4)
    await shelf.write(loose)
    await shelf.put_loose(loose)
    third = await shelf.put(tape, 30)
    book = third.book_after(14)
    checkpoint = book_document(third.id, book)
    await database.collection("checkpoints").insert_one(checkpoint)
    await shelf.write(tape.diffs(2))
    running = await shelf.put(tape, 20, None)
    # Its recorder, which has ended, did not store these any more.
    more = tape.diffs(5)
    await shelf.write(more)
    running.events += more
    await shelf.change("segments", running.id, owner=None)
    return [first, second, third, running]


async def packed(
    database: Database,
    path: Path,
    *markets: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> list[PackedMarket]:
    """Pack `markets`, or the usual one."""
    symbols = {market: market for market in markets or (MARKET,)}
    job = PackJob(symbols, path, from_ms, to_ms, replace=True)
    return await pack(database, job, lambda *_: None)


Rows = dict[str, list[tuple[tuple[int, ...], bytes]]]


def rebuilt(path: Path, other: Path, change: Callable[[Rows], object]) -> None:
    """Write a packed file with other rows and records, whose checksums are right."""
    with PackedFile(path) as file, other.open("wb") as out:
        has_trades, has_bookmarks = (
            any(len(file.rows(market, kind)) for market in file.markets)
            for kind in ("trade_runs", "bookmarks")
        )
        kinds = {**KINDS, **(TRADE_KINDS if has_trades or has_bookmarks else {})}
        kinds |= BOOKMARK_KINDS if has_bookmarks else {}
        writer = PackedWriter(out, file.schema, has_trades=has_trades, has_bookmarks=has_bookmarks)
        for market in file.markets:
            rows: Rows = {
                kind: [
                    (tuple(int(row[name]) for name in names), file.record(row))
                    for row in file.rows(market, kind)
                ]
                for kind, names in kinds.items()
            }
            change(rows)
            writer.begin(market)
            for kind, some in rows.items():
                for numbers, record in some:
                    writer.add(kind, numbers, record)
            writer.end()
        writer.close()


async def rows_of(
    place: Database | ProvableStore, market: str = MARKET
) -> list[tuple[object, ...]]:
    """Every row that an export would write."""
    stream = RowStream()
    found: list[LevelRows] = []
    async with aclosing(Recording(place, market).slices()) as slices:
        async for part in slices:
            found += stream.take(part)
    found += stream.finish()
    return [
        (rows.is_snapshot, *row)
        for rows in found
        for row in zip(
            *(rows.first_ids, rows.final_ids, rows.event_ms, rows.received_ns, rows.asks),
            *(rows.prices, rows.quantities),
            strict=True,
        )
    ]


async def payloads_of(place: Database | ProvableStore, market: str = MARKET) -> list[bytes]:
    """The texts of all events, with a book and then without one."""
    recording = Recording(place, market)
    texts: list[bytes] = []
    for stored in await recording.segments():
        async with aclosing(recording.chunks(stored)) as chunks:
            async for chunk in chunks:
                texts += (event.payload for event in chunk.diffs())
    async with aclosing(recording.loose()) as loose:
        async for chunk in loose:
            texts += (event.payload for event in chunk.diffs())
    return texts


@contextmanager
def opened(path: Path) -> Iterator[PackedStore]:
    """The recordings in a file."""
    with PackedFile(path) as file:
        file.prove()
        yield PackedStore(file)
