"""Failures of the database: raised as one sentence, or reported while a call is repeated."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.storage.errors import DatabaseError, system_words
from orderbook_desktop.system.attempts import Attempts

_log = logging.getLogger(__name__)


class DatabaseFailed(DatabaseError):
    """The database failed during a command; `reason` is the driver's error."""

    reason: str

    def __str__(self) -> str:
        return f"The database failed ({self.reason}); try again when it works."


@contextmanager
def driver_failures_raised() -> Iterator[None]:
    """Raise PyMongo's errors as `DatabaseFailed` inside the context."""
    from pymongo.errors import PyMongoError  # noqa: PLC0415 (storage.store.database)

    try:
        yield
    except PyMongoError as error:
        # Not chained: the driver's text may be pages long, and may name the server's users.
        _log.warning("the database failed", exc_info=error)
        raise DatabaseFailed(driver_reason(error)) from None


def driver_reason(error: Exception) -> str:
    """Return why the driver failed, in few words that a person may read."""
    from pymongo.errors import (  # noqa: PLC0415 (storage.store.database)
        ConnectionFailure,
        OperationFailure,
    )

    if isinstance(error, ConnectionFailure):
        return "it does not answer"
    name = (error.details or {}).get("codeName") if isinstance(error, OperationFailure) else ""
    return str(system_words(str(error)) or name or type(error).__name__)


def is_driver_failure(error: Exception) -> bool:
    """Whether `error` says that the database failed, rather than this program."""
    from pymongo.errors import PyMongoError  # noqa: PLC0415 (storage.store.database)

    return isinstance(error, PyMongoError)


class Activity(Enum):
    """What the database is used for. The values say what happens while that fails."""

    WRITE = "events wait in memory"
    KEEP_LEDGER = "the beginnings and ends of recordings wait in memory"
    FOLLOW = "the recorded book stands still"
    ARCHIVE = "nothing is archived"


class Outages(Protocol):
    """A database that may be away, and that records failed and successful attempts."""

    @property
    def is_connected(self) -> bool:
        """Whether it has the address of a server."""
        ...

    async def until_connected(self) -> None:
        """Wait until it has the address of a server."""
        ...

    def failed(self, activity: Activity, error: Exception) -> None:
        """Record that a call failed."""
        ...

    def worked(self, activity: Activity) -> None:
        """Record that a call worked."""
        ...


async def until_it_works(
    database: Outages, activity: Activity, attempt: Callable[[], Awaitable[object]]
) -> None:
    """Call `attempt` until it succeeds, with growing pauses, and report each result to `database`.

    A fault of this program is logged with its traceback and reported to the user like any other
    failure, so that the recording never stops silently. While the database is closed, no attempt is
    made.
    """
    # By then a thread has imported the driver, so the import doesn't block the event loop.
    await database.until_connected()
    from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

    def failed(error: Exception, /, *, is_new: bool) -> None:
        # The database may have been closed during the attempt.
        if database.is_connected:
            if is_new and not isinstance(error, PyMongoError | KnownError):
                _log.error("writing the recording failed unexpectedly", exc_info=error)
            database.failed(activity, error)

    async def connected_attempt() -> None:
        await database.until_connected()
        await attempt()

    delays = backoff_delays(first=0.1, cap=1.0)
    await Attempts(Exception, failed, delays).until_it_works(connected_attempt)
    database.worked(activity)
