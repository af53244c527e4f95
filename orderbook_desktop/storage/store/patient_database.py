"""A database that is only read, and that repeats its reads when the server moves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.storage.store.database import DATABASE_TIMES, Database, DatabaseTimes
from orderbook_desktop.storage.store.schema import Document

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# If another copy of the program takes over our server, it is back after some seconds. A replica set
# needs about twelve seconds to elect a new primary.
PATIENCE_S: Final = 30.0
_READ_AT_ONCE: Final = 100
# MongoDB's codes of ShutdownInProgress, CursorNotFound, InterruptedAtShutdown and
# InterruptedDueToReplStateChange.
_PASSING: Final = (91, 43, 11600, 11602)


class PatientDatabase(Database):
    """A database that is only read, and whose readers continue after an outage.

    Our own server moves when the program that runs it ends and another copy takes over. A read that
    this interrupts is repeated at the new server. After `patience_s` without an answer PyMongo's
    error is raised.
    """

    def __init__(
        self,
        name: str,
        times: DatabaseTimes = DATABASE_TIMES,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, times)
        self._now = now
        self._patience_s = patience_s

    def collection(self, name: str) -> AsyncIOMotorCollection[Document]:
        """Return motor's collection, with patient reads."""
        return cast("AsyncIOMotorCollection[Document]", _PatientCollection(self, name))

    async def patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of `attempt`, repeated until it works."""
        delays = backoff_delays(first=0.1, cap=1.0)
        failing_since: float | None = None
        while True:
            try:
                return await attempt()
            except Exception as error:
                failing_since = failing_since or self._now()
                if not _is_passing(error) or self._now() - failing_since > self._patience_s:
                    raise
                _log.info("a read is repeated (%s: %s)", type(error).__name__, error)
            await asyncio.sleep(next(delays))


class _PatientCollection:
    """A collection of `database` whose reads are repeated, each at the server of that moment.

    All other calls go to motor's collection, and are not repeated.
    """

    def __init__(self, database: PatientDatabase, name: str) -> None:
        self._database = database
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database.motor[self._name], name)

    def find(self, *arguments: Any, **options: Any) -> _PatientCursor:
        """Find documents."""
        return _PatientCursor(self._database, self._name, "find", arguments, options)

    def aggregate(self, *arguments: Any, **options: Any) -> _PatientCursor:
        """Run a pipeline."""
        return _PatientCursor(self._database, self._name, "aggregate", arguments, options)

    async def find_one(self, *arguments: Any, **options: Any) -> Document | None:
        """Return a document, or None if there is none."""
        motor = self._database
        return await motor.patiently(
            lambda: motor.motor[self._name].find_one(*arguments, **options)
        )

    async def distinct(self, *arguments: Any, **options: Any) -> list[Any]:
        """Return the values of a field."""
        motor = self._database
        return await motor.patiently(
            lambda: motor.motor[self._name].distinct(*arguments, **options)
        )


class _PatientCursor:
    """A query that is repeated if its answer is interrupted.

    Iterating reads some documents at a time. After an outage it continues after the last document
    that it has yielded. Close an iterator that is not read to its end (`aclosing`).
    """

    def __init__(
        self,
        database: PatientDatabase,
        name: str,
        call: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self._database = database
        self._name = name
        self._steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
            (call, arguments, options)
        ]

    def sort(self, *arguments: Any) -> _PatientCursor:
        """Sort the documents."""
        self._steps.append(("sort", arguments, {}))
        return self

    def limit(self, count: int) -> _PatientCursor:
        """Return at most `count` documents."""
        self._steps.append(("limit", (count,), {}))
        return self

    async def to_list(self, length: int | None) -> list[Document]:
        """Return the documents."""

        async def attempt() -> list[Document]:
            found: list[Document] = await self._cursor().to_list(length)
            return found

        return await self._database.patiently(attempt)

    async def __aiter__(self) -> AsyncIterator[Document]:
        reading = _Reading(self._cursor)
        try:
            while found := await self._database.patiently(reading.next_new):
                for document in found:
                    yield document
        finally:
            await reading.close()

    def _cursor(self) -> Any:
        """Send the query; return motor's cursor."""
        cursor: Any = self._database.motor[self._name]
        for call, arguments, options in self._steps:
            cursor = getattr(cursor, call)(*arguments, **options)
        return cursor


class _Reading:
    """How far the answer to a query has been read. `query` returns a cursor at its beginning."""

    def __init__(self, query: Callable[[], Any]) -> None:
        self._query = query
        self._cursor: Any = None
        self._position = 0
        # The documents that were returned: by id, or by position if they have no id.
        self._returned: set[str] = set()

    async def next_new(self) -> list[Document]:
        """Return the next documents; none at the end. After an error it sends the query again."""
        if self._cursor is None:
            self._cursor, self._position = self._query(), 0
        try:
            while found := await self._cursor.to_list(_READ_AT_ONCE):
                keyed = [
                    (self._key_of(at, document), document) for at, document in enumerate(found)
                ]
                self._position += len(found)
                new = [document for key, document in keyed if key not in self._returned]
                self._returned.update(key for key, _ in keyed)
                if new:
                    return new
        except BaseException:
            self._cursor = None
            raise
        return []

    def _key_of(self, index: int, document: Document) -> str:
        if "_id" in document:
            return repr(document["_id"])
        return f"at {self._position + index}"

    async def close(self) -> None:
        """Close the cursor on the server."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

        if self._cursor is not None:
            with suppress(PyMongoError):
                await self._cursor.close()


def _is_passing(error: Exception) -> bool:
    """Whether `error` means that the server is away or has moved; a refusal does not pass."""
    from pymongo.errors import (  # noqa: PLC0415 (see storage.store.database)
        ConnectionFailure,
        InvalidOperation,
        OperationFailure,
    )

    if isinstance(error, OperationFailure):
        return error.code in _PASSING
    # The client was closed during the read, since the server has a new address.
    is_closed = isinstance(error, InvalidOperation) and "after close" in str(error)
    return is_closed or isinstance(error, ConnectionFailure)
