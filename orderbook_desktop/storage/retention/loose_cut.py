"""Removing archived events that belong to no segment, and their lists.

A list goes before what it lists, or else events would seem to be lost. Before that the removal
is noted in `meta`, so that whoever comes next finishes it; a chunk of which there is neither
a list nor such a note is being written, and nobody's business yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orderbook_desktop.storage.retention.cuts import ChainLink, Cut, Wanted
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import DEPTH_CHUNKS, LOOSE_EVENTS, META, Document

_NOTE: Final = "removal:"
_FIELDS: Final = ("market", "first_id", "last_id", "from_event_ms", "to_event_ms", "event_count")


class LoosePiece:
    """A loose chunk as something to be cut: all of it, or nothing.

    `ages` says whether it goes by age: what was imported does not.
    """

    def __init__(self, database: Database, found: Document, *, ages: bool) -> None:
        self.ages = ages
        self._database = database
        self._found = found

    @property
    def market(self) -> str:
        """Whose it is."""
        return str(self._found["market"])

    @property
    def from_ms(self) -> int:
        """When it begins."""
        return int(self._found["from_event_ms"])

    async def cut(self, wanted: Wanted) -> Cut:
        """Remove it if it is wanted. Raises PyMongo's errors."""
        found = self._found
        link = ChainLink(
            found["first_id"] - 1,
            *(found["first_id"], found["last_id"]),
            *(found["from_event_ms"], found["to_event_ms"]),
            *(found["event_count"], found["bytes"]),
        )
        if not wanted(link):
            return Cut(is_last=True)
        note = {"_id": f"{_NOTE}{found['_id']}", "market": self.market, "chunk": found["_id"]}
        await self._database.collection(META).replace_one({"_id": note["_id"]}, note, upsert=True)
        await _remove(self._database, note)
        return Cut(link.events, link.bytes, is_last=True)


async def loose_pieces(database: Database) -> list[LoosePiece]:
    """Return the loose chunks of `database`, having removed those that were to be.

    Raises PyMongo's errors.
    """
    noted = {"_id": {"$gte": _NOTE, "$lt": _NOTE + "~"}}
    for note in await database.collection(META).find(noted).to_list(None):
        await _remove(database, note)
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"segment": None}},
        {"$project": {**dict.fromkeys(_FIELDS, 1), "bytes": {"$binarySize": "$data"}}},
    ]
    found = await database.collection(DEPTH_CHUNKS).aggregate(pipeline).to_list(None)
    archived = database.collection(LOOSE_EVENTS).find({"archived": True}, {"chunk": 1})
    # The list of an import has the name of its chunk.
    imported = {one["chunk"]: one["_id"] == one["chunk"] for one in await archived.to_list(None)}
    return [
        LoosePiece(database, one, ages=not imported[one["_id"]])
        for one in found
        if one["_id"] in imported
    ]


async def _remove(database: Database, note: Document) -> None:
    listed = {"market": note["market"], "archived": True, "chunk": note["chunk"]}
    await database.collection(LOOSE_EVENTS).delete_many(listed)
    await ChunkStore(database).drop_loose([note["chunk"]])
    await database.collection(META).delete_one({"_id": note["_id"]})
