"""A database that counts the queries of a test, by collection."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orderbook_desktop.storage.store.database import Database
from tests.storage.recording_fixtures import PATIENT

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection


class CountedDatabase(Database):
    """Connected to the database of a test; `queries` has how often each collection was used."""

    def __init__(self, name: str, dsn: str) -> None:
        super().__init__(name, PATIENT)
        self.connect(dsn)
        self.queries = Counter[str]()

    def collection(self, name: str) -> AsyncIOMotorCollection[dict[str, Any]]:
        self.queries[name] += 1
        return super().collection(name)
