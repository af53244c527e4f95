"""A recording for programs: events and books as numpy arrays, without asyncio."""

from __future__ import annotations

import atexit
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex, TypeVar

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.process.background_loop import BackgroundLoop
from orderbook_desktop.app.settings import load_settings, symbol_and_market
from orderbook_desktop.core.archive.rows import LevelRows, RowStream
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.storage.exports.exporting import NothingRecorded
from orderbook_desktop.storage.failures import driver_failures_told
from orderbook_desktop.storage.reading.recording import Recording, books_at

_T = TypeVar("_T")
# The program that this is used by says what is shown of the log; else that is nothing.
logging.getLogger("orderbook_desktop").addHandler(logging.NullHandler())


class RecordingReader:
    """The recording of one symbol, open for reading; `orderbook_desktop.open_recording` opens it.

    Others may go on recording it meanwhile: what each call returns is as of that call. Close
    it, or use it as a context manager; a closed one raises `ValueError`. What can go wrong
    outside (no such recording, a database that fails, a damaged chunk) is raised as
    `core.errors.KnownError`, whose `str()` is a sentence. It is for one thread at a time.
    """

    def __init__(self, symbol: str, dsn: str | None, db_name: str | None, data_dir: Path | None):
        self.symbol, self.market = symbol_and_market(symbol, "symbol")
        settings = load_settings(
            mongo_dsn=dsn, db_name=db_name, data_dir=None if data_dir is None else str(data_dir)
        )
        self._loop = BackgroundLoop()
        self._stack = AsyncExitStack()
        # Before that of the loop: the server ends in order also where nobody closes this.
        atexit.register(self.close)
        try:
            opening = self._stack.enter_async_context(open_database(settings))
            self._recording = Recording(self._loop.run(opening), self.market)
            self._check_recorded()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def segments(self) -> list[Segment]:
        """The unbroken runs that were recorded, by their first update id; each has events."""
        stored = self._run(self._recording.segments())
        return [one.segment for one in stored if one.segment.event_count]

    @property
    def gaps(self) -> list[Gap]:
        """The times between the first event and the last at which the book isn't known, and why."""
        return list(self._run(self._recording.timeline()).gaps)

    def events(
        self, from_ms: SupportsIndex | None = None, to_ms: SupportsIndex | None = None
    ) -> Iterator[LevelRows]:
        """Iterate over the events from `from_ms` to before `to_ms` (None: all), in batches.

        A batch is some minutes' levels in the order in which they have to be set. Where an
        unbroken run begins, at the very first too, a batch with `is_snapshot` comes before:
        the whole book, with which to start anew.
        """
        begin, end = (None if one is None else index(one) for one in (from_ms, to_ms))
        return self._loop.iterate(_told(self._rows(begin, end)))

    def books(self, times_ms: Iterable[SupportsIndex]) -> Iterator[BookImage]:
        """Iterate over the books at `times_ms`, which ascend, reading everything once.

        As `book_at`; raises `NotCovered` before the first where one of them isn't known.
        """
        times = [index(one) for one in times_ms]
        return self._loop.iterate(_told(books_at(self._recording, times)))

    def book_at(self, event_ms: SupportsIndex) -> BookImage:
        """Return the book after the last event until `event_ms`, the exchange's time.

        `bids` and `asks` have `prices` and `quantities`, int64 in units of `scale`, best
        price first, and `total(count)` and `notional(count)`, sums that can't wrap. Raises
        `storage.reading.recording.NotCovered` where it isn't known; its `gap` says why.
        """
        return self._run(self._recording.book_at(index(event_ms)))

    def close(self) -> None:
        """Close the connection, and end the database server where it was started for this."""
        atexit.unregister(self.close)
        if self._loop.is_open:
            try:
                # While they read, the database must be there.
                self._loop.close_iterators()
                self._loop.run(self._stack.aclose())
            finally:
                self._loop.close()

    def _check_recorded(self) -> None:
        if not self.segments:
            raise NothingRecorded(self.symbol)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with driver_failures_told():
            return self._loop.run(work)

    async def _rows(self, from_ms: int | None, to_ms: int | None) -> AsyncGenerator[LevelRows]:
        stream = RowStream()
        async with aclosing(self._recording.slices(from_ms, to_ms)) as slices:
            async for part in slices:
                for rows in stream.take(part):
                    yield rows
        for rows in stream.finish():
            yield rows


async def _told(items: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
    """Iterate over `items`, telling the driver's errors in a sentence."""
    with driver_failures_told():
        async with aclosing(items):
            async for item in items:
                yield item
