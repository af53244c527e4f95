"""The recording's database through motor, and whether it can be reached.

motor is imported when the connection is made, so that the window doesn't wait for it. The program
uses only calls that PyMongo's own `AsyncMongoClient` has too, so that it can replace motor.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.storage.errors import system_words
from orderbook_desktop.storage.failures import Activity
from orderbook_desktop.storage.store.schema import Document, has_schema, is_current

if TYPE_CHECKING:
    from motor.motor_asyncio import (
        AsyncIOMotorClient,
        AsyncIOMotorCollection,
        AsyncIOMotorDatabase,
    )
    from pymongo.monitoring import (
        ServerClosedEvent,
        ServerDescriptionChangedEvent,
        ServerListener,
        ServerOpeningEvent,
    )

_log = logging.getLogger(__name__)

_OUT_OF_DISK: Final = 14031


class DatabaseTimes(Struct, frozen=True):
    """Time limits of a call to the database, in seconds.

    `find_s` is the limit for finding a server: short enough to notice soon that it is dead, and
    long enough for one that restarts. `connect_s` is the limit for a connection, and `answer_s`
    the one for an answer.
    """

    find_s: float = 1.5
    connect_s: float = 5.0
    answer_s: float = 15.0


DATABASE_TIMES: Final = DatabaseTimes()


class Database:
    """One database on one server. Call `close()` when done.

    `prepared` is true while indexes and schema are known to be right. `interruptions` counts how
    often the server was lost or changed: it may have lost what it acknowledged shortly before.
    """

    def __init__(self, name: str, times: DatabaseTimes = DATABASE_TIMES) -> None:
        self.name = name
        self._times = times
        self.prepared = False
        self.interruptions = 0
        self._problems: dict[Activity, str] = {}
        self._client: AsyncIOMotorClient[Document] | None = None
        self._connected = asyncio.Event()

    @property
    def problem(self) -> str:
        """A sentence for the user about the last failed call, until a call of its kind works.

        If several kinds fail, it is about the first one in the order of `Activity`.
        """
        failing = (activity for activity in Activity if activity in self._problems)
        return next((self._problems[activity] for activity in failing), "")

    def connect(self, dsn: str) -> None:
        """Use the server at `dsn` from now on. The server may start later."""
        from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415

        self.close()
        self._interrupted()
        self._client = AsyncIOMotorClient(
            dsn,
            serverSelectionTimeoutMS=round(self._times.find_s * 1000),
            connectTimeoutMS=round(self._times.connect_s * 1000),
            socketTimeoutMS=round(self._times.answer_s * 1000),
            appname="orderbook-desktop",
            event_listeners=[_server_watch(self._interrupted)],
        )
        self._connected.set()

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called, and `close` was not called after it."""
        return self._connected.is_set()

    async def until_connected(self) -> None:
        """Wait until `connect` is called."""
        await self._connected.wait()

    async def prepare(self) -> None:
        """Create indexes and migrate an earlier schema.

        Raises PyMongo's errors, `NewerSchema`, `UnknownSchema` and `OlderRecorder`.
        """
        # Imported here because it knows the other modules of the store, which know this one.
        from orderbook_desktop.storage.store.migration import prepare_schema  # noqa: PLC0415

        await prepare_schema(self.motor)
        self.prepared = True

    @property
    def motor(self) -> AsyncIOMotorDatabase[Document]:
        """Motor's database. A write is acknowledged when no failover can undo it.

        Reads always go to the primary, even if the DSN prefers another server: a document that a
        secondary doesn't have yet would count as missing.
        """
        from pymongo import ReadPreference, WriteConcern  # noqa: PLC0415

        if self._client is None:
            raise BugError("the database was used before connect()")
        return self._client.get_database(
            self.name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority"),
        )

    async def has_recordings(self) -> bool:
        """Whether anything was ever recorded here. An earlier schema is migrated first.

        Raises what `prepare` raises.
        """
        if not await has_schema(self.motor):
            return False
        if not self.prepared and not await is_current(self.motor):
            await self.prepare()
        return True

    def watch(
        self, pipeline: Sequence[Document], token: Mapping[str, Any] | None, await_ms: int
    ) -> Any:
        """Return motor's change stream, which begins after the change that `token` names.

        The server answers within `await_ms`, even if nothing has changed. The return type is `Any`,
        since motor's types declare the property `alive` as a method.
        """
        return self.motor.watch(pipeline, resume_after=token, max_await_time_ms=await_ms)

    def collection(self, name: str) -> AsyncIOMotorCollection[Document]:
        """Return motor's collection."""
        return self.motor[name]

    def failed(self, activity: Activity, error: Exception) -> None:
        """Record that a call failed, and log it once."""
        sentence = _sentence(activity, error)
        if self._problems.get(activity) != sentence:
            _log.warning("%s (%s: %s)", sentence, type(error).__name__, error)
        self._problems[activity] = sentence

    def worked(self, activity: Activity) -> None:
        """Record that a call worked."""
        if self._problems.pop(activity, None) is not None:
            _log.info("the database works again")

    def _interrupted(self) -> None:
        self.interruptions += 1

    def close(self) -> None:
        """Close the connections, without waiting for a server that doesn't answer."""
        self._connected.clear()
        self.prepared = False
        client, self._client = self._client, None
        if client is not None:
            # It ends its sessions on the server, and blocks if the server is away.
            threading.Thread(target=client.close, name="database-leave", daemon=True).start()


def _server_watch(lost: Callable[[], None]) -> ServerListener:
    """Return what the driver tells of servers; `lost` is called, in a thread, when one is lost."""
    from pymongo.monitoring import ServerListener  # noqa: PLC0415

    class Watch(ServerListener):
        def opened(self, event: ServerOpeningEvent) -> None:
            pass

        def closed(self, event: ServerClosedEvent) -> None:
            pass

        def description_changed(self, event: ServerDescriptionChangedEvent) -> None:
            if event.previous_description.is_server_type_known:
                lost()

    return Watch()


def _sentence(activity: Activity, error: Exception) -> str:
    from pymongo.errors import (  # noqa: PLC0415
        ConnectionFailure,
        InvalidOperation,
        OperationFailure,
        PyMongoError,
    )

    if isinstance(error, KnownError):
        return str(error)
    if isinstance(error, OperationFailure):
        if error.code == _OUT_OF_DISK or "No space left" in str(error):
            return f"The database's disk is full; free some space. Meanwhile {activity.value}."
        return f"The database refuses to work ({_reason(error)}); {activity.value} until it does."
    # InvalidOperation: the server has a new address, and the old connections were closed.
    if isinstance(error, ConnectionFailure | InvalidOperation):
        return f"The database can't be reached; {activity.value} until it is back."
    if isinstance(error, PyMongoError):
        return f"The database failed ({type(error).__name__}); {activity.value}."
    return (
        f"A fault of this program keeps it from recording ({type(error).__name__}, see its log); "
        f"{activity.value}."
    )


def _reason(error: Any) -> str:
    """Return the server's name for an `OperationFailure`, or for the first of several."""
    details: Any = error.details or {}
    faults = details.get("writeErrors") or details.get("writeConcernErrors") or [details]
    first = faults[0]
    if words := system_words(str(first.get("errmsg"))):
        return words
    return str(first.get("codeName") or first.get("errmsg") or f"code {error.code}")[:80]


async def database_names(dsn: str) -> list[str]:
    """Return the names of the databases of the server at `dsn`. Raises PyMongo's errors."""
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415

    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(dsn)
    try:
        return await client.list_database_names()
    finally:
        client.close()
