"""The journal of imports: it makes an import complete, or undoes it.

An import first writes a document into `meta`, with an `_id` `import:…`, that names all it will
write: segments, whose chunks and books are written before them, and witnesses. In the state
"writing" all of that has to be undone. When all chunks are written the state
is "committing": the document then holds the segments, which have to be written too. After a crash
the next import or recorder undoes or completes the import (`settle_imports`). Until then readers
don't see it, since they ignore chunks without a segment. Two imports at a time never have a market
in common, since each could take the ids that the other found free. An import that crashed on
another machine while "writing" stays until a program runs on that machine.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

import msgspec

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.storage.store.checkpoints import Checkpoints
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, owner_document
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import (
    IMPORT,
    META,
    SEGMENTS,
    Document,
)
from orderbook_desktop.storage.store.sealing import is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import (
    UNOWNED,
    StoredIds,
    archive_document,
    bookless_document,
    front_document,
    progress_document,
    sealed_parts,
)
from orderbook_desktop.storage.store.witnesses import Witnesses

_log = logging.getLogger(__name__)

_PREFIX: Final = "import:"
_WRITING: Final = "writing"
_COMMITTING: Final = "committing"


class ImportBusy(KnownError):
    """Another import of `market` is running."""

    market: str

    def __str__(self) -> str:
        return (
            f"Nothing was imported: another import of {self.market} is running; try again when "
            "it is done."
        )


class ImportedSegment(NamedTuple):
    """A segment of an import, archived completely in `archived_bytes`.

    `loose` are the events of a run without a book; None for one with a book. `back_ms` is the most
    that its times went back. `origin` and `cut_events` are those of another segment if it is the
    rest of that, or a copy.
    """

    id: str
    segment: Segment
    back_ms: int | None
    archived_bytes: int
    origin: str = IMPORT
    cut_events: int = 0
    loose: tuple[StoredIds, ...] | None = None


class ImportEntry(msgspec.Struct, frozen=True):
    """What the journal says about an import, as it is stored.

    `segments` are ids of segments. `known` are the segments themselves, as documents, once all
    chunks are written. `witnesses` are keys of witnesses that were not stored before.
    """

    key: str = msgspec.field(name="_id")
    state: Literal["writing", "committing"]
    markets: list[str]
    segments: list[str]
    known: list[Document] = []
    witnesses: list[str] = []


class ImportJournal:
    """The journal of one import. All methods raise PyMongo's errors."""

    def __init__(self, database: Database, key: str | None = None) -> None:
        self._database = database
        self._key = key or _PREFIX + secrets.token_hex(8)

    async def begin(self, markets: Iterable[str]) -> None:
        """Claim `markets`. Raises `ImportBusy` if another import has claimed one of them."""
        claimed = set(markets)
        document = {
            "_id": self._key,
            "state": _WRITING,
            "markets": sorted(claimed),
            "segments": [],
            "known": [],
            **owner_document(),
        }
        await self._meta.insert_one(sealed(document))
        for other in await _entries(self._database):
            common = claimed.intersection(other.markets)
            if common and other.key != self._key:
                raise ImportBusy(min(common))

    async def plan(self, segments: Sequence[str], witnesses: Sequence[str] = ()) -> None:
        """Write down the ids of the segments and the keys of the witnesses to be written."""
        await self._change({"segments": list(segments), "witnesses": list(witnesses)})

    async def commit(self, segments: Iterable[ImportedSegment]) -> None:
        """Complete the import, whose chunks are all written."""
        known = [archived_document(segment) for segment in segments]
        await self._change({"state": _COMMITTING, "known": known})
        await self.finish()

    async def _change(self, fields: Document) -> None:
        """Set fields of the journal; only its own import does so."""
        document = await self._meta.find_one({"_id": self._key})
        if document is not None:
            await self._meta.replace_one({"_id": self._key}, sealed(document | fields))

    async def settle(self, entry: ImportEntry) -> None:
        """Complete or undo the import of the journal's `entry`, according to its state."""
        if entry.state == _COMMITTING:
            await self._write_segments(entry.known)
        else:
            store, books = ChunkStore(self._database), Checkpoints(self._database)
            for segment_id in entry.segments:
                spans = await store.spans(segment_id)
                await store.drop(segment_id, [start_id for start_id, _ in spans])
                await books.drop(segment_id, None)
            await Witnesses(self._database).drop_some(entry.witnesses)
        await self._meta.delete_one({"_id": self._key})

    async def finish(self) -> None:
        """Undo the import, or complete it if it is committing; does nothing if it is settled."""
        document = await self._meta.find_one({"_id": self._key})
        if document is not None:
            await self.settle(_entry_of(document))

    async def _write_segments(self, segments: Sequence[Document]) -> None:
        for segment in segments:
            fields = {name: value for name, value in segment.items() if name != "_id"}
            await self._database.collection(SEGMENTS).update_one(
                {"_id": segment["_id"]}, {"$setOnInsert": fields}, upsert=True
            )

    @property
    def _meta(self) -> Any:
        return self._database.collection(META)


def archived_document(imported: ImportedSegment) -> Document:
    """Return the document of a segment that is archived completely, and that no process owns."""
    key, segment = imported.id, imported.segment
    if imported.loose is not None:
        return sealed_parts(
            {
                **bookless_document(key, segment.market, imported.loose, imported.origin, UNOWNED),
                "to_archive": False,
                "archived_id": segment.last_id,
                "archived_events": segment.event_count,
                "archived_bytes": imported.archived_bytes,
            }
        )
    events, size = segment.event_count, imported.archived_bytes
    progress = progress_document(key, segment, imported.back_ms, UNOWNED, to_archive=False)
    return sealed_parts(
        {
            **front_document(key, segment, imported.origin),
            "cut_events": imported.cut_events,
            **progress,
            "event_count": events + imported.cut_events,
            **archive_document(key, segment.last_id, events + imported.cut_events, size),
        }
    )


async def settle_imports(database: Database, reported: set[str]) -> int:
    """Complete or undo the imports whose process has ended; return how many these are.

    Call it before an import, and when a recorder starts. An import that can't be settled, since
    what is stored of it is damaged, stays as it is; it is logged once, and added to `reported`.
    Raises PyMongo's errors.
    """
    count = 0
    for document in await _documents(database):
        key = str(document["_id"])
        try:
            entry = _entry_of(document)
            # To complete an import is harmless, even if its own process does it, too.
            if is_gone(document) or entry.state == _COMMITTING:
                await ImportJournal(database, key).settle(entry)
        except KnownError as error:
            if key not in reported:
                _log.error("the import %s can't be settled: %s", key, error)
            reported.add(key)
            continue
        if is_gone(document):
            _log.warning("an import was interrupted while %s", entry.state)
            count += 1
    return count


async def being_imported(database: Database) -> set[str]:
    """Return the ids of segments that are being imported: their chunks are stored before them.

    Raises PyMongo's errors.
    """
    return {segment_id for entry in await _entries(database) for segment_id in entry.segments}


async def _entries(database: Database) -> list[ImportEntry]:
    """Return the imports that are not settled, without damaged ones."""
    entries: list[ImportEntry] = []
    for document in await _documents(database):
        with suppress(DamagedDocument):
            entries.append(_entry_of(document))
    return entries


async def _documents(database: Database) -> list[Document]:
    begun = {"_id": {"$gte": _PREFIX, "$lt": _PREFIX + "~"}}
    return await database.collection(META).find(begun).to_list(None)


def _entry_of(document: Document) -> ImportEntry:
    """Return the journal that `document` stores. Raises `DamagedDocument`."""
    if not is_sealed(document):
        raise DamagedDocument(f"journal {document['_id']}: its checksum does not match")
    try:
        return msgspec.convert(document, ImportEntry)
    except msgspec.ValidationError as error:
        raise DamagedDocument(f"journal {document['_id']}: {error}") from error
