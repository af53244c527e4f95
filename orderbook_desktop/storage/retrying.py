"""Writing and reading through outages: the same attempt until it works, never in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError

_log = logging.getLogger(__name__)


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

    delays = backoff_delays(first=0.1, cap=1.0)
    told = ""
    while True:
        await database.until_connected()
        try:
            await attempt()
        except Exception as error:  # noqa: BLE001 - told and logged, whatever it is
            # It may have been closed under the attempt.
            if database.is_connected:
                is_known = isinstance(error, PyMongoError | KnownError)
                if not is_known and repr(error) != told:
                    told = repr(error)
                    _log.exception("writing the recording failed unexpectedly")
                database.failed(activity, error)
        else:
            database.worked(activity)
            return
        await asyncio.sleep(next(delays))
