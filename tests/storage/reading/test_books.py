"""Books at many times are those at each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.core.archive import same_book
from orderbook_desktop.storage.reading.books import books_at
from orderbook_desktop.storage.reading.recording import NotCovered, Recording
from orderbook_desktop.storage.store.database import Database
from tests.storage.imports.made import Collected, imported
from tests.storage.recording_fixtures import Tape, database, server

__all__ = ["database", "server"]


def _made() -> Collected:
    made = Collected(Tape(step_ms=700)).snapshot().events(200).gap().events(9).snapshot()
    return made.events(150)


async def test_every_time_that_is_covered(database: Database, tmp_path: Path) -> None:
    made = _made()
    await imported(database, made.messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    times: list[int] = []
    for cover in (await recording.timeline()).covers:
        times.extend((cover.from_ms, cover.from_ms, *range(cover.from_ms, cover.to_ms, 333)))
        times.extend((cover.to_ms - 1, cover.to_ms))
    times.sort()
    books = [book async for book in books_at(recording, times)]
    assert len(books) == len(times) > 600
    for time, book in list(zip(times, books, strict=True))[::23]:
        assert same_book(book, await recording.book_at(time)), time
    for cover in (await recording.timeline()).covers:
        for time in (cover.from_ms, cover.to_ms):
            found = books[times.index(time)]
            assert same_book(found, await recording.book_at(time)), time


async def test_nothing_is_read_where_one_is_not_known(database: Database, tmp_path: Path) -> None:
    await imported(database, _made().messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    timeline = await recording.timeline()
    (gap,) = timeline.gaps
    with pytest.raises(NotCovered) as caught:
        await anext(books_at(recording, [timeline.from_ms, gap.from_ms + 1, gap.to_ms]))
    assert caught.value.event_ms == gap.from_ms + 1
    with pytest.raises(ValueError, match="ascend"):
        await anext(books_at(recording, [timeline.to_ms, timeline.from_ms]))
    assert [book async for book in books_at(recording, [])] == []
