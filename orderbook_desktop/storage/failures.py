"""What the driver raises, told in a sentence, where a command works with the database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from orderbook_desktop.storage.errors import DatabaseError, system_words

_log = logging.getLogger(__name__)


class DatabaseFailed(DatabaseError):
    """The database failed during a command; `reason` is the driver's error."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

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
