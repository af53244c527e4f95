"""A library without a database: entries made up, commands noted, jobs changed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

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
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap

BEGIN_MS = 1_723_100_000_250
HOUR_MS = 3_600_000


def entry(
    symbol: str, gaps: int = 0, trade_gaps: int = 0, *, file: str = "", recorded: bool = False
) -> LibraryEntry:
    """Return an entry of some hours, with so many gaps of nine minutes each."""
    covers, missing, at = [], [], BEGIN_MS
    for number, cause in zip(range(gaps + 1), GapCause, strict=False):
        covers.append(Cover(str(number), number, number, at, at + HOUR_MS))
        at += HOUR_MS
        if number < gaps:
            missing.append(Gap(at, at + 540_000, number, number + 1, cause, ""))
            at += 540_000
    lost = tuple(
        TradeGap(10 * number, 10 * number + 5, BEGIN_MS + number, at, GapCause.DISCONNECT)
        for number in range(trade_gaps)
    )
    return LibraryEntry(
        EntryKey(symbol.replace("/", ""), file),
        symbol,
        Timeline(tuple(covers), tuple(missing)),
        gaps + 1,
        36_000 * (gaps + 1),
        3_600_000 * (gaps + 1),
        RecordedGaps.of(missing, 0, trades=lost),
        12_345,
        45,
        (BEGIN_MS, at),
        is_recorded=recorded,
    )


class FakeLibrary:
    """A `RecordingLibrary` that notes its commands."""

    def __init__(self, *entries: LibraryEntry) -> None:
        self.entries: Sequence[LibraryEntry] | None = entries
        self.problem = ""
        self.jobs: Sequence[Job] = ()
        self.commands: list[tuple[str, object]] = []
        self.preview = RemovalPreview("12 events of BTC/USDT, about 1.2 kB")
        self._answers: list[Callable[[RemovalPreview], None]] = []

    def open_file(self, path: Path) -> None:
        self.commands.append(("open_file", path))

    def show_file(self, file: LibraryFile) -> None:
        self.entries = (*(self.entries or ()), *file.entries)

    def close_file(self, path: str) -> None:
        self.commands.append(("close_file", path))
        self.entries = tuple(one for one in self.entries or () if one.key.file != path)

    def verify(self, key: EntryKey, span: Span = ALL) -> None:
        self.commands.append(("verify", (key, span)))
        self.jobs = (*self.jobs, Job(len(self.jobs) + 1, JobKind.VERIFY, key.market))

    def export(
        self, key: EntryKey, form: ExportFormat, path: Path, span: Span, *, replace: bool
    ) -> None:
        self.commands.append(("export", (key, form, path, span, replace)))

    def import_files(self, paths: Sequence[Path], form: ImportFormat | None) -> None:
        self.commands.append(("import_files", (list(paths), form)))

    def pack(self, markets: Sequence[str], path: Path, span: Span, *, replace: bool) -> None:
        self.commands.append(("pack", (list(markets), path, span, replace)))

    def unpack(self, path: Path) -> None:
        self.commands.append(("unpack", path))

    def preview_removal(
        self, market: str, span: Span, answered: Callable[[RemovalPreview], None]
    ) -> None:
        self.commands.append(("preview_removal", (market, span)))
        self._answers.append(answered)

    def answer(self) -> None:
        """Answer all questions about a removal."""
        answers, self._answers = self._answers, []
        for answered in answers:
            answered(self.preview)

    def remove(self, market: str, span: Span) -> None:
        self.commands.append(("remove", (market, span)))

    def stop(self, number: int) -> None:
        self.commands.append(("stop", number))
        self.change(number, state=JobState.STOPPING)

    def dismiss(self, number: int) -> None:
        self.commands.append(("dismiss", number))
        self.jobs = tuple(job for job in self.jobs if job.number != number)

    def change(self, number: int, **fields: object) -> None:
        """Change a job."""
        self.jobs = tuple(
            replace(job, **fields) if job.number == number else job for job in self.jobs
        )
