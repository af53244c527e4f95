"""Loose events are accounted for in parts, beside a recorder that wants to write."""

from __future__ import annotations

from typing import Final

import pytest

from orderbook_desktop.storage.archive.bookless_archive import BooklessArchive
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import Document
from tests.storage.recording_fixtures import Tape, bookless_of
from tests.storage.shelf import Shelf

MARKET: Final = "BTCUSDT"
LATER_NS: Final = 2**62


async def test_waiting_events_are_read_in_parts_and_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.prepare()
    events = Tape().diffs(1_000)
    await Shelf(database).write(events)
    ids = [event.final_id for event in events]
    await Shelf(database).put_loose(events[:500])
    await Shelf(database).put_loose(events[500:990])
    answers: list[int] = []
    between = RawEvents._between

    async def counted(
        raw: RawEvents, after_id: int, last_id: int, at_most: int = 0
    ) -> list[Document]:
        found = await between(raw, after_id, last_id, at_most)
        answers.append(len(found))
        return found

    monkeypatch.setattr(RawEvents, "_between", counted)
    archive = BooklessArchive(database, ArchiveLease(database), lambda: LATER_NS)
    await archive.account(MARKET)
    assert sum(answers) == 1_000
    assert max(answers) <= 310
    assert {u for run in await bookless_of(database) for u in run} == set(ids)
