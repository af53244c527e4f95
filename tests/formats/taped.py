"""Recorded runs of a made-up market, as slices, with the true book after every event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from orderbook_desktop.core.archive import ChunkSlice, decode_chunk, encode_minutes
from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.exports.exporting import Exported, ExportJob, export
from tests.core.reference_book import Pairs, ReferenceBook
from tests.storage.recording_fixtures import Tape


@dataclass
class Taped:
    """Slices, and by final update id the true book: after each event, and where runs open.

    There is a trade with each event, received with it; every seventh one is repaired.
    """

    tape: Tape = field(default_factory=lambda: Tape(step_ms=700))
    parts: list[ChunkSlice] = field(default_factory=list)
    books: dict[int, tuple[Pairs, Pairs]] = field(default_factory=dict)

    def run(self, count: int) -> Taped:
        """Record an unbroken run of `count` events, chunk by chunk."""
        book = Book()
        book.load(self.tape.snapshot())
        self._note()
        diffs = []
        for _ in range(count):
            diffs.append(self.tape.diff())
            self._note()
        opens = True
        for chunk, _ in encode_minutes(image_of(book, self.tape.market), diffs):
            decoded = decode_chunk(chunk)
            self.parts.append(ChunkSlice(decoded, 0, decoded.header.event_count, opens))
            opens = False
        return self

    def gap(self) -> Taped:
        """Let events go by unrecorded."""
        self.tape.diffs(3)
        return self

    def emptied(self) -> Taped:
        """Let all levels go, unseen: the next run begins with an empty book."""
        self.gap()
        self.tape.book = ReferenceBook()
        return self

    async def slices(self) -> AsyncGenerator[ChunkSlice]:
        for part in self.parts:
            yield part

    def trades(self) -> AsyncGenerator[TradeRows]:
        return traded(self.slices)

    def write(self, form: ExportFormat, path: Path, *, replace: bool = False) -> Exported:
        """Export everything."""
        job = ExportJob(self.tape.market, self.slices, form, path, replace, self.trades)
        return asyncio.run(export(job, lambda _: None))

    def _note(self) -> None:
        self.books[self.tape.last_id] = self.tape.book.levels


async def traded(slices: Callable[[], AsyncGenerator[ChunkSlice]]) -> AsyncGenerator[TradeRows]:
    """The trades that there are with the events of some slices."""
    async with aclosing(slices()) as parts:
        async for part in parts:
            numbers = part.chunk.numbers
            ids = numbers.final_ids
            repaired = np.arange(len(ids)) % 7 == 3
            yield TradeRows(
                part.chunk.header.market,
                Scale(),
                *(ids, 2 * ids, 2 * ids + 1, numbers.event_ms * 1_000),
                np.where(repaired, 0, numbers.received_ns),
                *(6_000_000_000_000 + ids % 50 * 1_000_000, 1_000_000 + ids),
                *(ids % 2 == 0, repaired),
            )


def two_runs() -> Taped:
    """A run of some minutes, a gap, and another run."""
    return Taped().run(300).gap().run(120)
