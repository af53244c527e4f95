"""Failures of the database: told in a sentence, or tried again until it works, never in silence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.storage.errors import DatabaseError, system_words
from orderbook_desktop.system.attempts import Attempts

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class DatabaseFailed(DatabaseError):
    """The database failed during a command; `reason` is the driver's error."""

    reason: str

    def __str__(self) -> str:
        return f"The database failed ({self.reason}); try again when it works."


@contextmanager
def driver_failures_told() -> Iterator[None]:
    """Raise PyMongo's errors as `DatabaseFailed` while the context lasts."""
    from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415 (storage.store.database)

    try:
        yield
    except PyMongoError as error:
        # Not chained: the driver's text may be pages long, and name the server's users.
        _log.warning("the database failed", exc_info=error)
        name = (error.details or {}).get("codeName") if isinstance(error, OperationFailure) else ""
        reason = system_words(str(error)) or name or type(error).__name__
        raise DatabaseFailed(str(reason)) from None


def is_driver_failure(error: Exception) -> bool:
    """Whether `error` says that the database failed, rather than this program."""
    from pymongo.errors import PyMongoError  # noqa: PLC0415 (storage.store.database)

    return isinstance(error, PyMongoError)


class Activity(Enum):
    """What the database is used for. The values say what becomes of it while that fails."""

    WRITE = "events wait in memory"
    KEEP_LEDGER = "the beginnings and ends of recordings wait in memory"
    FOLLOW = "the recorded book stands still"
    ARCHIVE = "nothing is archived"


class Outages(Protocol):
    """What is tried again: a database that may be away, and is told how the attempts went."""

    @property
    def is_connected(self) -> bool:
        """Whether it has been given a server to speak to."""
        ...

    async def until_connected(self) -> None:
        """Wait until it has."""
        ...

    def failed(self, activity: Activity, error: Exception) -> None:
        """Note that a call failed."""
        ...

    def worked(self, activity: Activity) -> None:
        """Note that a call worked."""
        ...


async def until_it_works(
    database: Outages, activity: Activity, attempt: Callable[[], Awaitable[object]]
) -> None:
    """Call `attempt` until it succeeds, ever more slowly, telling `database` how it went.

    A failure that is a fault of ours is logged with its trace and told to the person like
    any other: the recording must not end because of it without anybody noticing. While the
    database is closed nothing is attempted.
    """
    # By then the driver has been imported, in a thread: the loop need not wait for that.
    await database.until_connected()
    from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

    def failed(error: Exception, /, *, is_new: bool) -> None:
        # It may have been closed under the attempt.
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
