"""The library of a program: its entries are read, and its jobs run, in a thread of their own.

The thread has an event loop and connections to the database of its own, so that neither long jobs
nor large answers keep the window from painting.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.library_jobs import (
    ALL,
    EntryKey,
    Job,
    JobKind,
    JobState,
    LibraryEntry,
    LibraryFile,
    RemovalPreview,
    Span,
)
from orderbook_desktop.core.wording import counted
from orderbook_desktop.desk.job_queue import JobList, JobQueue
from orderbook_desktop.desk.library_reader import LibraryReader
from orderbook_desktop.desk.library_work import (
    JobResult,
    Place,
    Show,
    TilesOf,
    Work,
    export_entry,
    find_part,
    import_paths,
    no_tiles,
    pack_markets,
    read_file,
    remove_part,
    sentence_of,
    symbol_of,
    unpack_file,
    verify_entry,
)
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.system.background_loop import BackgroundLoop
from orderbook_desktop.system.tasks import Workers, end_tasks

_log = logging.getLogger(__name__)

# The end of the program waits so long for what a stopped job takes back.
_CLOSE_WITHIN_S: Final = 1.0
# A window that shows the jobs looks at them more often.
_LOOKS_S: Final = 2.0
# Python's usual 5 ms, once for each of some busy threads, are longer than a frame.
_SWITCH_S: Final = 0.001


class _Background:
    """The thread of the library, with what it reads and runs there.

    While it lives, Python's threads take turns more often, so that the window's thread never waits
    for long.
    """

    def __init__(
        self,
        jobs: JobList,
        name: str,
        folder: Path,
        tiles: TilesOf,
        failed: Callable[[BaseException], None],
        ended: Callable[[int], None],
    ) -> None:
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self.loop = BackgroundLoop("library", Workers())
        made: Future[tuple[Place, JobQueue, LibraryReader]] = Future()
        self._serving = self.loop.start(self._serve(made, jobs, name, folder, tiles, failed, ended))
        self.place, self.queue, self.reader = made.result()

    def connect(self, dsn: str) -> None:
        """Use the server at `dsn` from now on."""
        self.loop.call(self.place.reading.connect, dsn)
        self.loop.call(self.place.writing.connect, dsn)

    async def close(self) -> None:
        """Stop all jobs, and end the thread."""
        sys.setswitchinterval(self._switch_s)
        self._serving.cancel()
        closing = asyncio.ensure_future(asyncio.to_thread(self.loop.close))
        done, _ = await asyncio.wait({closing}, timeout=_CLOSE_WITHIN_S)
        if not done:
            _log.warning("a job of the library did not end within %.1f s", _CLOSE_WITHIN_S)

    async def _serve(
        self,
        made: Future[tuple[Place, JobQueue, LibraryReader]],
        jobs: JobList,
        name: str,
        folder: Path,
        tiles: TilesOf,
        failed: Callable[[BaseException], None],
        ended: Callable[[int], None],
    ) -> None:
        place = Place(PatientDatabase(name), Database(name), folder, tiles)
        reader = LibraryReader(place.reading)

        def job_ended(number: int) -> None:
            reader.refresh()
            ended(number)

        queue = JobQueue(jobs, place, failed, job_ended)
        made.set_result((place, queue, reader))
        try:
            # The driver takes long to load.
            await asyncio.to_thread(importlib.import_module, "motor.motor_asyncio")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.run())
                tasks.create_task(reader.run())
        finally:
            place.reading.close()
            place.writing.close()


class ProgramLibrary:
    """The library of a program; it is a `RecordingLibrary`. Nothing runs until it is used.

    Call `begin` with the name of the database and the data folder, `connect` with the address of
    its server, as often as that changes, and await `end()`; all in the thread of the window's loop.
    It may begin again with another database. `failed` is called with an exception that is a bug,
    and `notify` with each job that ends while nothing looks at the jobs.
    """

    def __init__(
        self,
        failed: Callable[[BaseException], None],
        notify: Callable[[Job], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failed = failed
        self._notify = notify
        self._now = now
        self._looked_at = now()
        self._list = JobList()
        self._files: dict[str, LibraryFile] = {}
        self._place: tuple[str, Path, TilesOf] | None = None
        self._dsn = ""
        self._background: _Background | None = None
        self._shown: tuple[LibraryEntry, ...] | None = None
        self._shown_of: tuple[object, object] = None, self._files
        self._waiting: list[tuple[int, Work]] = []
        self._asked: set[asyncio.Task[None]] = set()

    def begin(self, db_name: str, folder: Path, tiles: TilesOf = no_tiles) -> None:
        """Use the database `db_name`, and the heatmap's `tiles`, from now on."""
        self._place = db_name, folder, tiles
        if self._waiting:
            self._wake()

    def connect(self, dsn: str) -> None:
        """Use the server at `dsn` from now on; empty: there is none yet."""
        if dsn not in ("", self._dsn):
            self._dsn = dsn
            if self._background is not None:
                self._background.connect(dsn)

    async def end(self) -> None:
        """Stop all jobs, and leave the database."""
        self._place, self._dsn = None, ""
        await end_tasks(*self._asked)
        background, self._background = self._background, None
        if background is not None:
            for job in self._list.jobs:
                background.loop.call(background.queue.stop, job.number)
            await background.close()

    @property
    def entries(self) -> Sequence[LibraryEntry] | None:
        """The recordings (see `RecordingLibrary`)."""
        background = self._wake()
        stored = None if background is None else background.reader.entries
        files = self._files
        if stored is not self._shown_of[0] or files is not self._shown_of[1]:
            self._shown_of = stored, files
            of_files = [entry for path in sorted(files) for entry in files[path].entries]
            self._shown = tuple(of_files) or None if stored is None else (*stored, *of_files)
        return self._shown

    @property
    def problem(self) -> str:
        """Why the database's recordings can't be read; empty: they can."""
        return "" if self._background is None else self._background.reader.problem

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs (see `RecordingLibrary`)."""
        self._looked_at = self._now()
        return self._list.jobs

    def open_file(self, path: Path) -> None:
        """Show the recordings of a packed file (see `RecordingLibrary`)."""

        async def opened(_place: Place, _show: Show) -> JobResult:
            file = await read_file(path)
            self.show_file(file)
            return JobResult(f"{file.name} has {counted(len(file.entries), 'recording')}.")

        self._start(JobKind.OPEN, path.name, opened)

    def show_file(self, file: LibraryFile) -> None:
        """Show the recordings of a packed file that has been read."""
        self._files = {**self._files, file.path: file}

    def close_file(self, path: str) -> None:
        """Show the recordings of a packed file no longer."""
        self._files = {key: file for key, file in self._files.items() if key != path}

    def verify(self, key: EntryKey, span: Span = ALL) -> None:
        """Prove a recording, or a part of it."""
        self._start(JobKind.VERIFY, _named(key), partial(verify_entry, key, span))

    def export(
        self, key: EntryKey, form: ExportFormat, path: Path, span: Span, *, replace: bool
    ) -> None:
        """Write a recording, or a part of it, to a file."""
        work = partial(export_entry, key, form, path, span, replace)
        self._start(JobKind.EXPORT, _named(key), work)

    def import_files(self, paths: Sequence[Path], form: ImportFormat | None) -> None:
        """Make a recording of other collectors' files."""
        what = paths[0].name if len(paths) == 1 else counted(len(paths), "file")
        self._start(JobKind.IMPORT, what, partial(import_paths, tuple(paths), form))

    def pack(self, markets: Sequence[str], path: Path, span: Span, *, replace: bool) -> None:
        """Write recordings into one packed file."""
        some = counted(len(markets), "recording")
        what = symbol_of(markets[0]) if len(markets) == 1 else some
        self._start(JobKind.PACK, what, partial(pack_markets, tuple(markets), path, span, replace))

    def unpack(self, path: Path) -> None:
        """Merge the recordings of a packed file into the database."""
        self._start(JobKind.UNPACK, path.name, partial(unpack_file, path))

    def remove(self, market: str, span: Span) -> None:
        """Remove a recording, or a part of it, for ever."""
        self._start(JobKind.REMOVE, symbol_of(market), partial(remove_part, market, span))

    def preview_removal(
        self, market: str, span: Span, answered: Callable[[RemovalPreview], None]
    ) -> None:
        """Find what `remove` would take (see `RecordingLibrary`)."""
        background = self._wake()
        if background is not None:
            task = asyncio.ensure_future(self._preview(background, market, span, answered))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    def stop(self, number: int) -> None:
        """Stop a job that waits or runs."""
        if self._background is not None:
            self._list.change(number, state=JobState.STOPPING)
            self._background.loop.call(self._background.queue.stop, number)
        elif any(waiting == number for waiting, _ in self._waiting):
            self._waiting = [one for one in self._waiting if one[0] != number]
            self._list.end(number, JobState.STOPPED, self._list.stopped(number))

    def dismiss(self, number: int) -> None:
        """Take a job that has ended off the list."""
        self._list.take_off(number)

    async def _preview(
        self,
        background: _Background,
        market: str,
        span: Span,
        answered: Callable[[RemovalPreview], None],
    ) -> None:
        async def find() -> RemovalPreview:
            try:
                with driver_failures_raised():
                    what = await find_part(market, span, background.place)
            except KnownError as error:
                return RemovalPreview(problem=sentence_of(error))
            when = "" if span.is_all else " at that time"
            problem = "" if what else f"Nothing of {symbol_of(market)} is recorded{when}."
            return RemovalPreview(what, problem)

        answered(await asyncio.wrap_future(background.loop.start(find())))

    def _ended(self, number: int) -> None:
        job = self._list.get(number)
        if job is not None and self._now() - self._looked_at > _LOOKS_S:
            self._notify(job)

    def _start(self, kind: JobKind, what: str, work: Work) -> None:
        self._waiting.append((self._list.add(kind, what), work))
        self._wake()

    def _wake(self) -> _Background | None:
        """Return the background, which begins with its first use; None without a database."""
        if self._background is None and self._place is not None:
            name, folder, tiles = self._place
            loop = asyncio.get_running_loop()

            def failed(error: BaseException) -> None:
                loop.call_soon_threadsafe(self._failed, error)

            def ended(number: int) -> None:
                loop.call_soon_threadsafe(self._ended, number)

            self._background = _Background(self._list, name, folder, tiles, failed, ended)
            if self._dsn:
                self._background.connect(self._dsn)
        if self._background is not None:
            self._background.reader.want()
            for number, work in self._waiting:
                self._background.loop.call(self._background.queue.put, number, work)
            self._waiting.clear()
        return self._background


def _named(key: EntryKey) -> str:
    where = f" in {Path(key.file).name}" if key.file else ""
    return f"{symbol_of(key.market)}{where}"
