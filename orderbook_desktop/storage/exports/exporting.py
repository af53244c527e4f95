"""Exports a recording, or a part of it, to a file: slice by slice, and complete or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from orderbook_desktop.core.archive.decoded import ChunkSlice
from orderbook_desktop.core.archive.rows import LevelRows, RowStream, Survey
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.version import __version__
from orderbook_desktop.formats.hftbacktest import HftbacktestWriter
from orderbook_desktop.formats.names import ExportFormat
from orderbook_desktop.formats.parquet import ParquetWriter
from orderbook_desktop.formats.tardis_writer import TardisWriter
from orderbook_desktop.system.atomic_file import atomic_file
from orderbook_desktop.system.tasks import in_thread


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


class ExportJob(Struct, frozen=True):
    """What to export: each call of `slices` reads the recording from its beginning.

    A file at `path` is replaced only if `replace` is true. A Tardis file is gzipped if its name
    ends in `.gz`.
    """

    market: str
    slices: Callable[[], AsyncGenerator[ChunkSlice]]
    format: ExportFormat
    path: Path
    replace: bool = False


class Exported(Struct, frozen=True):
    """What was written: how many rows, and how many books, each at the start of an unbroken run.

    `moved_ns` is by how much local times were moved forward (see `hftbacktest.py`).
    """

    rows: int
    books: int
    moved_ns: int


class _Writer(Protocol):
    def write(self, rows: LevelRows) -> None: ...
    def close(self) -> None: ...


async def export(job: ExportJob, progress: Callable[[int], None]) -> Exported:
    """Write the file; call `progress` with the event time (ms) that the current pass has reached.

    Needs the memory of one chunk, however long the recording is. Works in threads. Raises
    `ExportError`, and what reading the recording raises. If it raises or is cancelled, no file is
    left behind.
    """
    with export_target(job.path, replace=job.replace) as file:
        survey = Survey()
        if job.format.passes > 1:
            await _each(job, survey.take, progress)
            if not survey.rows:
                raise NothingRecorded(job.market)
        written = _Counted(job.market, _writer(job, file, survey), survey)
        try:
            await _each(job, written.take, progress)
        finally:
            await in_thread(written.close)
        return written.result()


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


class _Counted:
    """Counts the rows that `writer` writes, and passes on no more than the survey counted."""

    def __init__(self, market: str, writer: _Writer, survey: Survey) -> None:
        self._market = market
        self._writer = writer
        self._survey = survey
        self._written = Survey()

    def take(self, rows: LevelRows) -> None:
        """Write `rows`, without those recorded since the survey."""
        if self._survey.rows:
            rows = rows.head(self._survey.rows - self._written.rows)
        if len(rows):
            self._written.take(rows)
            self._writer.write(rows)

    def close(self) -> None:
        """Write what the writer still holds."""
        self._writer.close()

    def result(self) -> Exported:
        """Return what was written. Raises if rows are missing, or there are none."""
        if self._survey.rows and self._written != self._survey:
            raise RecordingChanged
        if not self._written.rows:
            raise NothingRecorded(self._market)
        moved_ns = self._writer.moved_ns if isinstance(self._writer, HftbacktestWriter) else 0
        return Exported(self._written.rows, self._written.books, moved_ns)


def _writer(job: ExportJob, file: BinaryIO, survey: Survey) -> _Writer:
    match job.format:
        case ExportFormat.TARDIS:
            return TardisWriter(file, zipped=job.path.suffix == ".gz")
        case ExportFormat.PARQUET:
            creator = f"orderbook-desktop version {__version__}"
            return ParquetWriter(file, job.market, creator, survey)
        case ExportFormat.HFTBACKTEST:
            return HftbacktestWriter(file, survey)


async def _each(
    job: ExportJob, take: Callable[[LevelRows], None], progress: Callable[[int], None]
) -> None:
    """Pass all rows to `take`, in a thread."""
    stream = RowStream()

    def work(part: ChunkSlice) -> None:
        for rows in stream.take(part):
            take(rows)

    def finish() -> None:
        for rows in stream.finish():
            take(rows)

    async with aclosing(job.slices()) as slices:
        async for part in slices:
            await in_thread(work, part)
            progress(part.chunk.header.coverage.to_event_ms)
    await in_thread(finish)
