"""Runs of trades in a database: what a recorder, a repair or an import claims to have stored.

A document of `trade_runs` has three parts. Each part has one writer at a time and a seal of its
own. A recorder stores a run before its trades, without any, so that none of them lacks a run.

front     `market`, `origin` (`core.trade_coverage`), `first_id`, `from_time` (of the first trade),
          `cut_from` (the first id before a cut that is not finished yet, else None). Its writer
          stores it at the beginning; retention, and who finds earlier trades, change it.
progress  `last_id` (just before the first id while there is no trade), `to_time` (the latest),
          `end_cause`, `end_detail`, `to_archive` (true until all of it is archived), `owner` and
          `alive_ms` (the process that last wrote, and when). Its recorder writes it, within a
          second of the trades, and who closes it after a crash, continues it or archives its end.
archive   `archived_id`: chunks hold all trades of the run through this id. The archiver writes it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import WaitingSegment
from orderbook_desktop.storage.store.owner import is_gone, is_ours, owner_document
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import TRADE_RUNS, Document
from orderbook_desktop.storage.store.sealing import change_sealed, is_part_sealed, part_seal
from orderbook_desktop.storage.store.segment_documents import is_whole

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

# By seal, the fields that it covers.
_PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "front_sum": ("_id", "market", "origin", "first_id", "from_time", "cut_from"),
        "sum": (
            *("_id", "last_id", "to_time", "end_cause", "end_detail"),
            *("to_archive", "owner", "alive_ms"),
        ),
        "archive_sum": ("_id", "archived_id"),
    }
)
_NUMBERS: Final = ("first_id", "from_time", "last_id", "to_time", "archived_id")
_NAMES: Final = frozenset({*_PARTS, *(name for names in _PARTS.values() for name in names)})


class StoredRun(Struct, frozen=True):
    """A run as it is stored.

    Chunks hold its trades through `archived_id`; `to_archive` is false once these are all, and the
    run has ended. `cut_from` is its first id before a cut that is not finished yet. `beat` changes
    while its recorder runs, and is only compared. `is_ours` is whether this process wrote it,
    `is_gone` whether the process that did has certainly ended.
    """

    run: TradeRun
    archived_id: int
    to_archive: bool
    beat: object
    is_ours: bool
    is_gone: bool
    cut_from: int | None = None

    @property
    def id(self) -> str:
        """Its `_id`."""
        return self.run.id

    @property
    def is_running(self) -> bool:
        """Whether no end of it is stored."""
        return self.run.end_cause is None


class RunningRun(Struct, frozen=True):
    """A stored run without an end.

    `beat` changes while its recorder runs. `is_ours` and `is_gone`: see `StoredRun`. `unpack`
    returns the run, and raises `DamagedDocument`.
    """

    id: str
    beat: object
    is_ours: bool
    is_gone: bool
    unpack: Callable[[], StoredRun]


class TradeRuns:
    """The runs of trades in `database`. Its methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _runs(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(TRADE_RUNS)

    async def markets(self) -> list[str]:
        """Return the markets that have runs, in order of their names, without damaged names."""
        found = await self._runs.distinct("market")
        return sorted(market for market in found if isinstance(market, str))

    async def of(self, market: str) -> list[StoredRun]:
        """Return the runs of `market` in order of their first ids. Raises `DamagedDocument`."""
        found = await self._runs.find({"market": market}).to_list(None)
        # Hundreds of them are checked for longer than a frame.
        return await asyncio.to_thread(_in_order, found)

    async def get(self, run_id: str) -> StoredRun | None:
        """Return a run, if it is stored. Raises `DamagedDocument`."""
        document = await self._runs.find_one({"_id": run_id})
        return None if document is None else stored_run(document)

    async def stored(self, ids: Collection[str]) -> set[str]:
        """Return which of the runs `ids` are stored."""
        found = await self._runs.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    async def running(self) -> list[RunningRun]:
        """Return the runs without an end, of all recorders."""
        return [
            RunningRun(
                *(document["_id"], document.get("alive_ms")),
                *(is_ours(document), is_gone(document)),
                partial(stored_run, document),
            )
            for document in await self._runs.find({"end_cause": None}).to_list(None)
        ]

    async def waiting(self) -> list[WaitingSegment]:
        """Return the runs that are not archived completely."""
        fields = {"market": 1, "end_cause": 1}
        found = await self._runs.find({"to_archive": True}, fields).to_list(None)
        return [
            WaitingSegment(
                *(document["_id"], str(document.get("market"))),
                document.get("end_cause", "") is None,
                has_book=False,
            )
            for document in found
        ]

    async def put(self, runs: Sequence[TradeRun], *, new: bool) -> int:
        """Store how far `runs` have come; return how many of them were stored before.

        If `new` is true, the others are stored now. Repeating is harmless.
        """
        from pymongo import UpdateOne  # noqa: PLC0415 (see storage.store.database)

        writes: list[UpdateOne] = []
        for run in runs:
            update = {"$set": _without_id(_progress(run))}
            if new:
                update["$setOnInsert"] = _without_id(_front(run) | _archive(run.id, run.first_id))
            writes.append(UpdateOne({"_id": run.id}, update, upsert=new))
        return int((await self._runs.bulk_write(writes, ordered=False)).matched_count)

    async def change(
        self, stored: StoredRun, changes: Callable[[Document], Document] | Document
    ) -> bool:
        """Set fields of a run; return false, and change nothing, if it has changed meanwhile.

        Only the fields that an archiver, a recorder or retention change at the same time may have.
        """
        run = stored.run
        query: Document = {"_id": run.id, "first_id": run.first_id, "last_id": run.last_id}
        query["end_cause"] = None if run.end_cause is None else run.end_cause.value
        if stored.is_running:
            query["alive_ms"] = stored.beat
        fields = changes if callable(changes) else lambda _: changes
        return await change_sealed(self._runs, _PARTS, query, fields)

    async def close(self, stored: StoredRun, after: TradeRun) -> bool:
        """Store that a run has ended as `after`; false if its recorder goes on."""
        return await self.change(stored, progress_fields(after))

    async def extend(self, stored: StoredRun, after: TradeRun) -> bool:
        """Store that an ended run has earlier or later trades, too; false if it has changed."""
        return await self.change(
            stored,
            lambda document: {
                "first_id": after.first_id,
                "from_time": after.from_ms,
                **progress_fields(after),
                # Beginning earlier, all of it is looked at again.
                "archived_id": min(document["archived_id"], after.first_id - 1)
                if after.first_id < document["first_id"]
                else document["archived_id"],
            },
        )

    async def archived(self, run_id: str, before_id: int, archived_id: int) -> bool:
        """Store that the chunks hold a run's trades through `archived_id`, before `before_id`."""
        query = {"_id": run_id, "archived_id": before_id}
        return await change_sealed(
            self._runs, _PARTS, query, lambda _: {"archived_id": archived_id}
        )

    async def cut(self, stored: StoredRun, first_id: int, from_ms: int) -> bool:
        """Store that a run begins later, since its first trades are to be removed.

        False, and nothing is changed, if it has changed meanwhile; one that goes on may grow.
        """
        run = stored.run
        query: Document = {"_id": run.id, "first_id": run.first_id}
        if not stored.is_running:
            query["last_id"] = run.last_id

        def changes(document: Document) -> Document:
            known = document["cut_from"]
            return {
                "first_id": first_id,
                "from_time": from_ms,
                "cut_from": run.first_id if known is None else known,
                "archived_id": max(document["archived_id"], first_id - 1),
            }

        return await change_sealed(self._runs, _PARTS, query, changes)

    async def finish_cut(self, stored: StoredRun) -> bool:
        """Store that what lay before a run's beginning is removed; false if it has changed."""
        query = {"_id": stored.id, "first_id": stored.run.first_id, "cut_from": stored.cut_from}
        return await change_sealed(self._runs, _PARTS, query, lambda _: {"cut_from": None})

    async def drop_empty(self, stored: StoredRun) -> bool:
        """Remove a run that has no trade, unless its recorder goes on."""
        query = {"_id": stored.id, "end_cause": None, "alive_ms": stored.beat}
        done = await self._runs.delete_one(query)
        return bool(done.deleted_count)

    async def remove(self, stored: Sequence[StoredRun], within: TradeRun) -> None:
        """Remove runs; not one that another program has extended beyond the ids of `within`."""
        for one in stored:
            query: Document = {"_id": one.id, "first_id": {"$gte": within.first_id}}
            await self._runs.delete_one({**query, "last_id": {"$lte": within.last_id}})


def new_run_id() -> str:
    """Return an `_id` for a run."""
    return secrets.token_hex(12)


def _in_order(documents: Sequence[Document]) -> list[StoredRun]:
    runs = map(stored_run, documents)
    return sorted(runs, key=lambda stored: (stored.run.first_id, stored.run.last_id, stored.id))


def stored_run(document: Document) -> StoredRun:
    """Return the run that `document` stores. Raises `DamagedDocument`."""
    key = document.get("_id")
    if not all(is_part_sealed(document, seal, names) for seal, names in _PARTS.items()):
        raise DamagedDocument(f"run of trades {key}: a checksum does not match")
    if document.keys() - _NAMES or not all(is_whole(document[name]) for name in _NUMBERS):
        raise DamagedDocument(f"run of trades {key}: a field is unknown, or no whole number")
    if document["cut_from"] is not None and not is_whole(document["cut_from"]):
        raise DamagedDocument(f"run of trades {key}: cut_from is no whole number")
    try:
        cause = document["end_cause"]
        run = TradeRun(
            document["_id"],
            document["market"],
            *(document["first_id"], document["last_id"]),
            *(document["from_time"], document["to_time"]),
            TradeOrigin(document["origin"]),
            None if cause is None else GapCause(cause),
            document["end_detail"],
        )
    except ValueError as error:
        raise DamagedDocument(f"run of trades {key}: {error}") from error
    return StoredRun(
        run,
        document["archived_id"],
        document["to_archive"],
        document["alive_ms"],
        is_ours(document),
        is_gone(document),
        document["cut_from"],
    )


def progress_fields(run: TradeRun) -> Document:
    """Return the fields of the progress of a run that is to be archived, without a seal."""
    return {
        "last_id": run.last_id,
        "to_time": run.to_ms,
        "end_cause": None if run.end_cause is None else run.end_cause.value,
        "end_detail": run.end_detail,
        "to_archive": True,
        **owner_document(),
    }


def packed_run(run: TradeRun, *, is_archived: bool) -> Document:
    """Return the document of a run that no process writes, all of it archived or nothing."""
    progress = {
        "_id": run.id,
        **progress_fields(run),
        "to_archive": not is_archived,
        "owner": None,
        "alive_ms": 0,
    }
    archived_id = run.last_id if is_archived else run.first_id - 1
    archive = {"_id": run.id, "archived_id": archived_id}
    return _front(run) | _sealed(progress, "sum") | _sealed(archive, "archive_sum")


def _front(run: TradeRun) -> Document:
    front: Document = {
        "_id": run.id,
        "market": run.market,
        "origin": run.origin.value,
        "first_id": run.first_id,
        "from_time": run.from_ms,
        "cut_from": None,
    }
    return _sealed(front, "front_sum")


def _progress(run: TradeRun) -> Document:
    return _sealed({"_id": run.id, **progress_fields(run)}, "sum")


def _archive(run_id: str, first_id: int) -> Document:
    return _sealed({"_id": run_id, "archived_id": first_id - 1}, "archive_sum")


def _sealed(part: Document, seal: str) -> Document:
    return {**part, seal: part_seal(part, _PARTS[seal])}


def _without_id(fields: Document) -> Document:
    return {name: value for name, value in fields.items() if name != "_id"}
