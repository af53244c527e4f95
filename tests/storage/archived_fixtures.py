"""Recordings that are archived by the minute, for retention to cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import RECORDER
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Archived, Shelf, Shelved

EVENTS_A_MINUTE = 6


@dataclass(frozen=True)
class Stored:
    """A segment as it was stored: its events, its chunks, and its true books."""

    shelved: Shelved
    chunks: list[Archived]

    @property
    def id(self) -> str:
        return self.shelved.id

    @property
    def events(self) -> list[DepthDiff]:
        return self.shelved.events

    @property
    def chunk_ids(self) -> list[int]:
        return [one.start_id for one in self.chunks]

    @property
    def chunk_bytes(self) -> list[int]:
        return [one.size for one in self.chunks]

    @cached_property
    def books(self) -> dict[int, BookImage]:
        """The book after each event, by its final id."""
        base, book = self.shelved.base, Book()
        book.load(decode_snapshot(encode_image(base), base.market, base.event_ms))
        books: dict[int, BookImage] = {}
        for event in self.events:
            book.apply(event)
            books[event.final_id] = image_of(book, base.market)
        return books


async def store_segment(
    database: Database,
    tape: Tape,
    key: str,
    *,
    minutes: int,
    raw: int = 0,
    running: bool = False,
    origin: str = RECORDER,
) -> Stored:
    """Store a segment that begins with the tape's book as it is now.

    `minutes` of it, each with `EVENTS_A_MINUTE` events, are archived; `raw` further events
    are not.
    """
    tape.step_ms = 60_000 // EVENTS_A_MINUTE
    # At the beginning of a minute.
    tape.now_ms += -(tape.now_ms + tape.step_ms) % 60_000
    shelf, archived = Shelf(database), minutes * EVENTS_A_MINUTE
    cause = None if running else GapCause.USER
    shelved = await shelf.put(tape, archived + raw, cause, key=key)
    chunks = await shelf.prepare_archive(shelved, archived) if archived else []
    for one in chunks:
        await shelf.commit(shelved, one)
        await shelf.sweep(shelved, one)
    await shelf.change("segments", key, origin=origin, to_archive=running or bool(raw))
    return Stored(shelved, chunks)


async def store_witness(database: Database, market: str, update_id: int) -> None:
    """Store a witness, without its book."""
    document = {"_id": f"{market}:{update_id}", "market": market, "update_id": update_id}
    rest = {"taken_ms": 0, "payload": b"", "depth": 1000}
    await database.collection("witnesses").insert_one({**document, **rest})
