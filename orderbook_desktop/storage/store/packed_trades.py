"""The trades of a packed file: their runs, and the chunks and batches of them.

A record is the canonical bytes of a document of `trade_runs`, `trade_chunks` or `trade_events`. A
row of a chunk or a batch says which of the two it is. `CopiedTrades` writes them into a database.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive.trades import DecodedTrades, fitting_runs
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.formats.packed_file import (
    TRADE_KINDS,
    DamagedPackedFile,
    PackedFile,
    PackedWriter,
    Rows,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import (
    TRADE_CHUNKS,
    TRADE_EVENTS,
    TRADE_RUNS,
    Document,
)
from orderbook_desktop.storage.store.sealing import canonical_bytes
from orderbook_desktop.storage.store.trade_chunks import TradeChunks, chunk_of, proven_document
from orderbook_desktop.storage.store.trade_documents import (
    batch_document,
    batches_of,
    decoded_batch,
)
from orderbook_desktop.storage.store.trade_reader import TradeReader
from orderbook_desktop.storage.store.trade_runs import packed_run, stored_run
from orderbook_desktop.storage.store.trade_store import TradePart

_PARTS: Final = "trade_parts"
_RUNS: Final = "trade_runs"
_AT_ONCE: Final = 20
_KEYS_AT_ONCE: Final = 50


def put_trade_part(writer: PackedWriter, part: TradePart) -> None:
    """Write the next part, in order of first and last ids."""
    numbers = part.first_id, part.last_id, part.from_ms, part.to_ms, int(part.is_archived)
    writer.add(_PARTS, numbers, canonical_bytes(part.document))


def put_trade_run(writer: PackedWriter, run: TradeRun, *, is_archived: bool) -> None:
    """Write the next run, all of whose trades are archived, or none."""
    numbers = run.first_id, run.last_id, run.from_ms, run.to_ms
    writer.add(_RUNS, numbers, canonical_bytes(packed_run(run, is_archived=is_archived)))


class PackedRun(Struct, frozen=True):
    """A run in a file; `is_archived`: all of its trades are in chunks."""

    run: TradeRun
    is_archived: bool


class PackedTrades(TradeReader):
    """Reads the trades of `file`. It is a `TradeStore`.

    `document_of` returns the document of a row. Its methods raise what the file raises.
    """

    def __init__(self, file: PackedFile, document_of: Callable[[Any], Document]) -> None:
        self._file = file
        self._document_of = document_of

    async def markets(self) -> list[str]:
        """See `TradeStore`."""
        return [market for market in self._file.markets if len(self._file.rows(market, _RUNS))]

    async def runs(self, market: str) -> list[TradeRun]:
        """See `TradeStore`."""
        return [packed.run for packed in await self.packed_runs(market)]

    async def packed_runs(self, market: str) -> list[PackedRun]:
        """Return the runs of `market` in order of their first ids."""
        rows = self._file.rows(market, _RUNS)
        return await asyncio.to_thread(lambda: [self._run(market, row) for row in rows])

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """See `TradeStore`."""
        rows = self._file.rows(market, _PARTS)
        found = rows[(rows["last_id"] >= first_id) & (rows["first_id"] <= last_id)]
        parts = await asyncio.to_thread(self._parts_in, found)
        return sorted(parts, key=lambda part: (part.first_id, not part.is_archived))

    async def all_parts(self, market: str) -> AsyncGenerator[TradePart]:
        """Iterate over the parts of `market`, in order of their first and last ids."""
        rows = self._file.rows(market, _PARTS)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            for part in await asyncio.to_thread(self._parts_in, some):
                yield part

    def _parts_in(self, rows: Rows) -> list[TradePart]:
        return [self._part(row) for row in rows]

    def _run(self, market: str, row: Any) -> PackedRun:
        stored = stored_run(self._document_of(row))
        run = stored.run
        numbers = run.first_id, run.last_id, run.from_ms, run.to_ms
        named = tuple(int(row[name]) for name in TRADE_KINDS[_RUNS])
        if numbers != named or run.market != market:
            raise DamagedPackedFile(self._file.path, "a run of trades is not what its table says")
        return PackedRun(run, not stored.to_archive)

    def _part(self, row: Any) -> TradePart:
        document, is_archived = self._document_of(row), bool(row["archived"])
        contents = document.get("data" if is_archived else "payload")
        first_id, last_id, from_ms, to_ms, _ = (int(row[name]) for name in TRADE_KINDS[_PARTS])
        return TradePart(
            str(document.get("_id")),
            is_archived,
            first_id,
            last_id,
            from_ms,
            to_ms,
            len(contents) if isinstance(contents, bytes) else 0,
            partial(_pieces_of, document, is_archived=is_archived),
            document,
        )


def _pieces_of(document: Document, *, is_archived: bool) -> list[DecodedTrades]:
    return [chunk_of(document)] if is_archived else decoded_batch(document)


class CopiedTrades:
    """Writes trades of a file into `database`: parts first, which `claim` then makes visible.

    Its methods raise PyMongo's errors.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chunks = TradeChunks(database)
        self._written: list[tuple[str, str]] = []

    async def put(self, part: TradePart) -> None:
        """Write a part as it is."""
        await self._put(dict(part.document), is_archived=part.is_archived)

    async def put_trades(self, trades: Sequence[Trade], *, is_archived: bool) -> None:
        """Write some trades of a part, in order of ids, in the archive or as batches."""
        for batch in batches_of(trades):
            pieces = await asyncio.to_thread(fitting_runs, batch) if is_archived else [batch]
            for piece in pieces:
                document_of = proven_document if is_archived else batch_document
                document = await asyncio.to_thread(document_of, piece)
                await self._put(document, is_archived=is_archived)

    async def claim(self, packed: PackedRun) -> None:
        """Write a run. If its id is taken it gets another, the same for the same ids."""
        runs, run = self._database.collection(TRADE_RUNS), packed.run
        if await runs.find_one({"_id": run.id}) is not None:
            name = f"{run.id}:{run.first_id}:{run.last_id}".encode()
            run = replace(run, id=hashlib.blake2b(name, digest_size=12).hexdigest())
        document = packed_run(run, is_archived=packed.is_archived)
        await runs.replace_one({"_id": run.id}, document, upsert=True)

    async def undo(self) -> None:
        """Remove the parts that were written."""
        for name in (TRADE_CHUNKS, TRADE_EVENTS):
            keys = [key for collection, key in self._written if collection == name]
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = {"_id": {"$in": keys[start : start + _KEYS_AT_ONCE]}}
                await self._database.collection(name).delete_many(some)
        self._written = []

    async def _put(self, document: Document, *, is_archived: bool) -> None:
        name, key = TRADE_CHUNKS if is_archived else TRADE_EVENTS, document["_id"]
        self._written.append((name, key))
        if is_archived:
            await self._chunks.put_document(document)
        else:
            batches = self._database.collection(name)
            await batches.replace_one({"_id": key}, document, upsert=True)
