"""The answers of the exchange that were joined to the recorded books of a market.

From the update id at which an answer was joined, the book is known deeper. The archive begins a
chunk there, whose start book has the levels of the answer. A reader of raw events joins it itself.
An answer at which an archived chunk doesn't begin came too late, and is a witness only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from orderbook_desktop.core.archive import DecodedChunk
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.widening import widened
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.recording_store import SegmentStore

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 50


class JoinedAnswers:
    """The answers that were joined to books of `market`, in `store`.

    Its methods raise what the store raises.
    """

    def __init__(self, store: SegmentStore, market: str) -> None:
        self._store = store
        self._market = market

    async def among(
        self, after_id: int, events: Sequence[DepthDiff]
    ) -> tuple[list[str], int | None]:
        """Return the keys of the answers that were joined at `after_id`, and a count of `events`.

        It counts them through the first at which an answer was joined; None: at none of them.
        """
        last_id = events[-1].final_id if events else after_id
        joined = await self._store.joined(self._market, after_id, last_id)
        ids = {at for at, _ in joined}
        counts = (count for count, event in enumerate(events, 1) if event.final_id in ids)
        return [key for at, key in joined if at == after_id], next(counts, None)

    async def book_after(self, chunk: DecodedChunk, keys: Sequence[str] | None = None) -> BookImage:
        """Return the book after the last event of `chunk`, with the answers joined there.

        `keys` are those of the answers, where they are known. A damaged one is left out, since
        `verify` reports it. Raises `DamagedChunk`.
        """
        if keys is None:
            keys, _ = await self.among(chunk.header.coverage.last_id, ())
        answers = [witness.snapshot for witness in await self._unpacked(keys)]
        return await asyncio.to_thread(joined_after, chunk, answers)

    async def after(self, update_id: int) -> dict[int, list[DepthSnapshot]]:
        """Return the answers that were joined at `update_id` or later, by the ids of their books.

        There may be a few since the newest book of a running recording.
        """
        joined = await self._store.joined(self._market, update_id, INT64_MAX)
        answers: dict[int, list[DepthSnapshot]] = {}
        for witness in await self._unpacked([key for _, key in joined]):
            if witness.joined_id is not None:
                answers.setdefault(witness.joined_id, []).append(witness.snapshot)
        return answers

    async def _unpacked(self, keys: Sequence[str]) -> list[Witness]:
        found = await self._store.witnesses(keys[:_AT_ONCE]) if keys else {}
        witnesses: list[Witness] = []
        for stored in found.values():
            try:
                witnesses.append(await asyncio.to_thread(stored.unpack))
            except DamagedDocument as error:
                _log.info("%s: an answer can't be joined: %s", self._market, error)
        return witnesses


def joined_after(chunk: DecodedChunk, answers: Sequence[DepthSnapshot]) -> BookImage:
    """Return the book after the last event of `chunk`, with `answers` that were joined there.

    It takes milliseconds, so call it in a thread. Raises `DamagedChunk`.
    """
    book = chunk.final_book()
    # An answer may lie inside the last event.
    return widened(book, deque(chunk.diffs(), maxlen=1), answers) if answers else book
