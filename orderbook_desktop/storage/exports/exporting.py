"""Exports a recording, or a part of it, to a file: slice by slice, and complete or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from msgspec import Struct, field

from orderbook_desktop.core.archive.decoded import ChunkSlice
from orderbook_desktop.core.archive.rows import LevelRows, RowStream, Survey
from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.version import __version__
from orderbook_desktop.formats.hftbacktest import HftbacktestSurvey, HftbacktestWriter
from orderbook_desktop.formats.parquet import (
    ROWS_A_GROUP,
    ROWS_A_QUICK_GROUP,
    ParquetTradeWriter,
    ParquetWriter,
)
from orderbook_desktop.formats.tardis_writer import TardisTradeWriter, TardisWriter
from orderbook_desktop.system.atomic_file import atomic_file
from orderbook_desktop.system.tasks import in_thread

_CREATOR: Final = f"orderbook-desktop version {__version__}"
# A trade is received well before the levels of so much later.
_AHEAD_US: Final = 60_000_000


class ExportError(KnownError):
    """Root of the errors of exporting."""


class TargetExists(ExportError):
    """The file to be written exists already."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path} is there already; choose another file, or replace it with --force."


class TargetUnwritable(ExportError):
    """The file cannot be written; `reason` comes from the operating system."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.reason}); nothing was exported."


class NothingRecorded(ExportError):
    """There is nothing to export; `what` names the market and the time."""

    what: str

    def __str__(self) -> str:
        return f"Nothing is recorded of {self.what}; orderbook-desktop recordings lists what is."


class RecordingChanged(ExportError):
    """A part of the recording was deleted while it was exported."""

    def __str__(self) -> str:
        return "The recording was cut while it was exported; export it again."


async def no_trades() -> AsyncGenerator[TradeRows]:
    """Iterate over no trades."""
    nothing: tuple[TradeRows, ...] = ()
    for rows in nothing:
        yield rows


class ExportJob(Struct, frozen=True):
    """What to export: each call of `slices`, and of `trades`, reads the recording anew.

    A file at `path` is replaced only if `replace` is true. A Tardis file is gzipped if its name
    ends in `.gz`. `in_window` is whether a window has to paint meanwhile: then Parquet has smaller
    groups of rows.
    """

    market: str
    slices: Callable[[], AsyncGenerator[ChunkSlice]]
    format: ExportFormat
    path: Path
    replace: bool = False
    trades: Callable[[], AsyncGenerator[TradeRows]] = no_trades
    in_window: bool = False


class Exported(Struct, frozen=True):
    """What was written: how many rows, and how many books, each at the start of an unbroken run.

    `moved_ns` is by how much local times were moved forward (see `hftbacktest.py`). `trades` were
    written, of which `repaired` have no time of receipt.
    """

    rows: int
    books: int
    moved_ns: int
    trades: int = 0
    repaired: int = 0


class _Sink(Protocol):
    """What takes the rows of a recording: a survey, or a writer."""

    def take(self, rows: LevelRows) -> None: ...
    def take_trades(self, rows: TradeRows) -> None: ...
    def end(self) -> None: ...


async def export(job: ExportJob, progress: Callable[[int], None]) -> Exported:
    """Write the file; call `progress` with the event time (ms) that the current pass has reached.

    Needs the memory of one chunk, however long the recording is. Works in threads. Raises
    `ExportError`, and what reading the recording raises. If it raises or is cancelled, no file is
    left behind.
    """
    with export_target(job.path, replace=job.replace) as file:
        survey = HftbacktestSurvey() if job.format is ExportFormat.HFTBACKTEST else _Survey()
        if job.format.passes > 1:
            await _each(job, survey, progress)
            _check_recorded(job, survey.levels, survey.trades)
        written = _Written(job, file, survey)
        try:
            await _each(job, written, progress)
        finally:
            await in_thread(written.close)
        return written.result()


class _Survey(Struct):
    """The surveys of levels and of trades."""

    levels: Survey = field(default_factory=Survey)
    trades: TradeSurvey = field(default_factory=TradeSurvey)

    def take(self, rows: LevelRows) -> None:
        """Learn from levels."""
        self.levels.take(rows)

    def take_trades(self, rows: TradeRows) -> None:
        """Learn from trades."""
        self.trades.take(rows)

    def end(self) -> None:
        """Do nothing more."""


def _check_recorded(job: ExportJob, levels: Survey, trades: TradeSurvey) -> None:
    if job.format.has_levels and not levels.rows:
        raise NothingRecorded(job.market)
    if not job.format.has_levels and not trades.rows:
        raise NothingRecorded(trades_of(job.market))


def trades_of(what: str) -> str:
    """Name the trades of a market or symbol, as `NothingRecorded` does."""
    return f"the trades of {what}"


@contextmanager
def export_target(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open the file at `path` for writing. Raises `TargetExists` and `TargetUnwritable`."""
    try:
        with atomic_file(path, replace=replace) as file:
            yield file
    except FileExistsError as error:
        raise TargetExists(path) from error
    except OSError as error:
        raise TargetUnwritable(path, error.strerror or type(error).__name__) from error


class _Written:
    """Counts what is written, and writes no more than `survey` has counted, if it has."""

    def __init__(self, job: ExportJob, file: BinaryIO, survey: _Survey | HftbacktestSurvey) -> None:
        self._job = job
        self._survey = survey
        self._is_limited = job.format.passes > 1
        self._written = _Survey()
        self._moved_ns = 0
        self._write, self._write_trades, self.close = self._writer(file, survey)

    def take(self, rows: LevelRows) -> None:
        """Write `rows`, without those recorded since the survey."""
        if self._is_limited:
            rows = rows.head(self._survey.levels.rows - self._written.levels.rows)
        if len(rows):
            self._written.take(rows)
            self._write(rows)

    def take_trades(self, rows: TradeRows) -> None:
        """Write trades, without those recorded since the survey."""
        if self._is_limited:
            rows = rows.where(rows.ids <= self._survey.trades.last_id)
        if len(rows):
            self._written.take_trades(rows)
            self._write_trades(rows)

    def end(self) -> None:
        """Leave the rest to `close`."""

    def result(self) -> Exported:
        """Return what was written. Raises if rows are missing, or there are none."""
        levels, trades = self._written.levels, self._written.trades
        counted = self._survey.levels, self._survey.trades
        if self._is_limited and (levels, trades) != counted:
            raise RecordingChanged
        _check_recorded(self._job, levels, trades)
        return Exported(levels.rows, levels.books, self._moved_ns, trades.rows, trades.repaired)

    def _writer(
        self, file: BinaryIO, survey: _Survey | HftbacktestSurvey
    ) -> tuple[Callable[[LevelRows], None], Callable[[TradeRows], None], Callable[[], None]]:
        """Return what writes levels, what writes trades, and what writes the rest."""
        job = self._job
        zipped = job.path.suffix == ".gz"
        if isinstance(survey, HftbacktestSurvey):
            both = HftbacktestWriter(file, survey)
            self._moved_ns = both.moved_ns
            return both.write, both.write_trades, both.close
        rows_a_group = ROWS_A_QUICK_GROUP if job.in_window else ROWS_A_GROUP
        about = job.market, _CREATOR
        match job.format:
            case ExportFormat.TARDIS_TRADES:
                trades: TardisTradeWriter | ParquetTradeWriter
                trades = TardisTradeWriter(file, zipped=zipped)
                return _write_none, trades.write, trades.close
            case ExportFormat.PARQUET_TRADES:
                trades = ParquetTradeWriter(file, *about, survey.trades, rows_a_group)
                return _write_none, trades.write, trades.close
            case ExportFormat.PARQUET:
                levels: TardisWriter | ParquetWriter
                levels = ParquetWriter(file, *about, survey.levels, rows_a_group)
            case _:
                levels = TardisWriter(file, zipped=zipped)
        return levels.write, _write_none, levels.close


def _write_none(_rows: LevelRows | TradeRows) -> None:
    pass


async def _each(job: ExportJob, sink: _Sink, progress: Callable[[int], None]) -> None:
    """Pass all rows to `sink`, in a thread; trades come before the levels of their time."""
    stream = RowStream()

    def work(part: ChunkSlice) -> None:
        for rows in stream.take(part):
            sink.take(rows)

    def finish() -> None:
        for rows in stream.finish():
            sink.take(rows)

    async with _trades(job, sink) as trades:
        if job.format.has_levels:
            async with aclosing(job.slices()) as slices:
                async for part in slices:
                    to_ms = part.chunk.header.coverage.to_event_ms
                    await trades.until(to_ms * US_A_MS + _AHEAD_US)
                    await in_thread(work, part)
                    progress(to_ms)
            await trades.rest()
            await in_thread(finish)
        else:
            await trades.rest(progress)
    await in_thread(sink.end)


@asynccontextmanager
async def _trades(job: ExportJob, sink: _Sink) -> AsyncIterator[_Trades]:
    source = job.trades if job.format.has_trades else no_trades
    async with aclosing(source()) as found:
        yield _Trades(found, sink)


class _Trades:
    """The trades of a recording, on their way to `sink`."""

    def __init__(self, trades: AsyncGenerator[TradeRows], sink: _Sink) -> None:
        self._trades = trades
        self._sink = sink
        self._latest_us = 0

    async def until(self, event_us: int) -> None:
        """Pass on the trades up to a time, and perhaps more."""
        while self._latest_us <= event_us:
            if not await self._next():
                self._latest_us = INT64_MAX

    async def rest(self, progress: Callable[[int], None] | None = None) -> None:
        """Pass on all other trades, and report the times (ms) that are reached."""
        while await self._next():
            if progress is not None:
                progress(self._latest_us // US_A_MS)

    async def _next(self) -> bool:
        rows = await anext(self._trades, None)
        if rows is None:
            return False
        if len(rows):
            await in_thread(self._sink.take_trades, rows)
            self._latest_us = int(rows.event_us[-1])
        return True
