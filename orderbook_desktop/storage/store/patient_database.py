"""A database that is only read, and that repeats its reads when the server moves."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.storage.store.database import DATABASE_TIMES, Database, DatabaseTimes
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.system.attempts import Attempts

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# If another copy of the program takes over our server, it is back after some seconds. A replica set
# needs about twelve seconds to elect a new primary.
PATIENCE_S: Final = 30.0
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
        return await Attempts(Exception, _unless_lasting, self._delays()).until_it_works(attempt)

    def _delays(self) -> Iterator[float]:
        """Yield growing delays until the patience is over, from the first failure on."""
        failing_since = self._now()
        for delay_s in backoff_delays(first=0.1, cap=1.0):
            if self._now() - failing_since > self._patience_s:
                return
            yield delay_s


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
    """A query that is repeated if its answer is interrupted; its answer is read as a list."""

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

    def _cursor(self) -> Any:
        """Send the query; return motor's cursor."""
        cursor: Any = self._database.motor[self._name]
        for call, arguments, options in self._steps:
            cursor = getattr(cursor, call)(*arguments, **options)
        return cursor


def _unless_lasting(error: Exception, /, *, is_new: bool) -> None:
    """Log that a read is repeated after `error`; raise it if it will not pass."""
    if not _is_passing(error):
        raise error
    level = logging.INFO if is_new else logging.DEBUG
    _log.log(level, "a read is repeated (%s: %s)", type(error).__name__, error)


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
