"""The library of recordings: what is stored of each market, and the long jobs on it.

An *entry* is the recording of one market, in the database or in a packed file that was opened. A
*job* reads or changes recordings for a person who need not wait for it. Jobs run in the background,
one after another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.timeline import Timeline

# A share of time is told in hundredths of a percent.
_WHOLE: Final = 10_000


class Span(Struct, frozen=True):
    """A stretch of time from `from_ms` to before `to_ms`; None: from the first, to the last."""

    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether it has no limit."""
        return self.from_ms is None and self.to_ms is None


ALL: Final = Span()


class EntryKey(NamedTuple):
    """Which recording an entry is: that of `market` in the packed `file`; empty: the database."""

    market: str
    file: str = ""


class LibraryEntry(Struct, frozen=True):
    """The recording of one market, in numbers.

    `events`, in so many `segments`, are those of the book. Of the `trades`, `repaired` ones were
    asked for afterwards; `trade_span_ms` are the times of the first and of the last one.
    `stored_bytes` is about what events and trades take. `is_recorded` is whether a live process
    records it, which may be another one.
    """

    key: EntryKey
    symbol: str
    timeline: Timeline
    segments: int
    events: int
    stored_bytes: int
    gaps: RecordedGaps
    trades: int = 0
    repaired: int = 0
    trade_span_ms: tuple[int, int] | None = None
    is_recorded: bool = False

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """From when to when there is a book, or else trades; None without either."""
        if self.timeline.covers:
            return self.timeline.from_ms, self.timeline.to_ms
        return self.trade_span_ms

    @property
    def covered_share(self) -> int | None:
        """How much of its time the book is known, in hundredths of a percent, rounded down.

        None without a book. It is the whole only where there is no gap.
        """
        timeline = self.timeline
        if not timeline.covers:
            return None
        whole_ms = timeline.covered_ms + timeline.gap_ms
        if not timeline.gaps or not whole_ms:
            return _WHOLE
        return min(_WHOLE - 1, _WHOLE * timeline.covered_ms // whole_ms)

    @property
    def covered_text(self) -> str:
        """How much of its time is covered, such as `99.98 %`; empty without a book."""
        share = self.covered_share
        if share is None:
            return ""
        return "100 %" if share == _WHOLE else f"{share // 100}.{share % 100:02} %"


def gap_columns(timeline: Timeline, columns: int) -> bytes:
    """Return for each of `columns` equal parts of a recording's time whether a gap is in it.

    A gap without a length counts, too.
    """
    found = bytearray(columns)
    begin_ms, whole_ms = timeline.from_ms, max(1, timeline.to_ms - timeline.from_ms)
    gaps = timeline.gaps
    at = 0
    while at < len(gaps) and columns:
        first = min(columns - 1, (gaps[at].from_ms - begin_ms) * columns // whole_ms)
        last = min(columns - 1, max(first, (gaps[at].to_ms - begin_ms) * columns // whole_ms))
        found[first : last + 1] = b"\1" * (last + 1 - first)
        # All gaps that end in the same column are told with it: there may be many thousands.
        until_ms = begin_ms + ((last + 1) * whole_ms + columns - 1) // columns
        at = max(at + 1, bisect_left(gaps, until_ms, key=lambda gap: gap.to_ms))
    return bytes(found)


class LibraryFile(Struct, frozen=True):
    """A packed file at `path`, which has `size` bytes, and the recordings in it."""

    path: str
    size: int
    entries: tuple[LibraryEntry, ...]

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return Path(self.path).name


class JobKind(Enum):
    """What a job does; the values are what a person reads while it does it."""

    OPEN = "Opening"
    VERIFY = "Verifying"
    EXPORT = "Exporting"
    IMPORT = "Importing"
    PACK = "Packing"
    UNPACK = "Unpacking"
    REMOVE = "Removing"


class JobState(Enum):
    """How far a job is; the values are what a person reads.

    One that is STOPPING was asked to end, and takes back what it had begun.
    """

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self in (JobState.DONE, JobState.FAILED, JobState.STOPPED)


class Job(Struct, frozen=True):
    """A job as it is now. `number` tells jobs apart, `what` names what it works on.

    `progress` is which part of it is done, from 0 to 1; None: not known. `step` says what it is
    doing at present, or is empty. At its end `sentence` says how it ended, and `remarks` are
    further sentences about the result.
    """

    number: int
    kind: JobKind
    what: str
    state: JobState = JobState.WAITING
    progress: float | None = None
    step: str = ""
    sentence: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it does, such as `Verifying BTC/USDT`."""
        return f"{self.kind.value} {self.what}"

    @property
    def text(self) -> str:
        """How it is doing, as one line."""
        if self.sentence:
            return self.sentence
        if self.state is not JobState.RUNNING:
            return f"{self.title}: {self.state.value}"
        return f"{self.title}: {self.step}" if self.step else self.title


class RemovalPreview(Struct, frozen=True):
    """What a removal would take: `what` as words, or the sentence `problem` why nothing can go."""

    what: str = ""
    problem: str = ""


class RecordingLibrary(Protocol):
    """All recordings, and the jobs on them. Commands return at once; look at `jobs` for the rest.

    A job that reads or writes the database waits until there is one. All jobs end with the program.
    """

    @property
    def entries(self) -> Sequence[LibraryEntry] | None:
        """The recordings in the database by name, then those of opened files by file.

        None while the database was never read. It is the same object until it changes, and is kept
        up to date while this is asked for every few seconds.
        """
        ...

    @property
    def problem(self) -> str:
        """Why the database's recordings can't be read, as a sentence; empty: they can."""
        ...

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs, in the order of their start; ended ones until they are dismissed."""
        ...

    def open_file(self, path: Path) -> None:
        """Show the recordings of a packed file among the entries; a job says why it can't be."""
        ...

    def show_file(self, file: LibraryFile) -> None:
        """Show the recordings of a packed file that has been read."""
        ...

    def close_file(self, path: str) -> None:
        """Show the recordings of a packed file no longer."""
        ...

    def verify(self, key: EntryKey, span: Span = ALL) -> None:
        """Prove a recording, or a part of it."""
        ...

    def export(
        self, key: EntryKey, form: ExportFormat, path: Path, span: Span, *, replace: bool
    ) -> None:
        """Write a recording, or a part of it, to the file at `path`."""
        ...

    def import_files(self, paths: Sequence[Path], form: ImportFormat | None) -> None:
        """Make a recording of other collectors' files; None: find their format."""
        ...

    def pack(self, markets: Sequence[str], path: Path, span: Span, *, replace: bool) -> None:
        """Write the recordings of `markets` into one packed file."""
        ...

    def unpack(self, path: Path) -> None:
        """Merge the recordings of a packed file into the database."""
        ...

    def preview_removal(
        self, market: str, span: Span, answered: Callable[[RemovalPreview], None]
    ) -> None:
        """Find what `remove` would take; `answered` is called later, or never at the end."""
        ...

    def remove(self, market: str, span: Span) -> None:
        """Remove a recording, or a part of it, for ever."""
        ...

    def stop(self, number: int) -> None:
        """Stop a job that waits or runs; what it had begun is taken back."""
        ...

    def dismiss(self, number: int) -> None:
        """Take a job that has ended off the list."""
        ...
