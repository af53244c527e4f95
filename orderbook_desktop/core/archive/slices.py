"""Parts of chunks, as those who read a recording from one time to another get them."""

from __future__ import annotations

from dataclasses import dataclass

from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.checkpoint import BookImage


@dataclass(frozen=True, slots=True)
class ChunkSlice:
    """The events `begin`..`end - 1` of `chunk`.

    Slices follow each other without a hole until one `opens`: there an unbroken run begins,
    and the book has to be taken anew from `start_book()`. A slice may be empty: then it
    only opens.
    """

    chunk: DecodedChunk
    begin: int
    end: int
    opens: bool

    def start_book(self) -> BookImage:
        """Return the book before the first event; see `DecodedChunk.book_after`."""
        return self.chunk.book_after(self.begin - 1)
