"""The room that recordings take: what is kept, what there is, and how long that lasts."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

DAY_MS: Final = 86_400_000
GB: Final = 10**9

# Shares of the limit below which the disk is low: recording pauses, and resumes.
_STOP_BELOW: Final = 0.25
_RESUME_ABOVE: Final = 0.5
# A warning ends only when there is this much more than the limit.
_RELAX_ABOVE: Final = 1.1

# An archived event takes a seventh to a fifteenth of its text. This share is assumed until
# enough events are archived to measure it.
_USUAL_SHARE: Final = 0.09
_EVENTS_TO_KNOW: Final = 10_000
# A trade in the archive takes so many bytes, until it is known better.
USUAL_BYTES_A_TRADE: Final = 9.0
# The size of the archive's file for each byte of the archive, once the archive is large enough.
ON_DISK: Final = 1.1
# A limit is for recordings first: at most this share of it counts as working room.
_WORKING_SHARE: Final = 0.5

# What is shown changes if the pace, or the free space, has changed by more than this share of it.
_PACE_SHARE: Final = 0.15
_FREE_SHARE: Final = 0.02
_SETTLED_AFTER_S: Final = 60.0
_SHRUNK_AFTER_S: Final = 300.0


def bytes_text(count: int) -> str:
    """Return a number of bytes for a person: `512 B`, `1.5 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        # 999,960 bytes are 1.0 MB: "1000.0 kB" would be no number of this unit.
        if round(size, 1) < 1000:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Retention(Struct, frozen=True):
    """How much of a recording is kept: its last `days`, and at most so much; 0 is all of it."""

    days: int = 0
    gigabytes: float = 0.0

    @property
    def limit_bytes(self) -> int | None:
        """The most that a recording may take; None: there is no limit."""
        return round(self.gigabytes * GB) or None

    def room_bytes(self, working_bytes: int) -> int | None:
        """Return the part of the limit that the database does not need as working room.

        Removing recordings does not make the working room smaller. So it counts for half of the
        limit at most: otherwise a small limit would remove all recordings and still be exceeded.
        """
        limit = self.limit_bytes
        if limit is None:
            return None
        return limit - min(working_bytes, int(limit * _WORKING_SHARE))

    def horizon_ms(self, newest_ms: int) -> int | None:
        """Return the time before which nothing is kept if the newest event is at `newest_ms`."""
        return newest_ms - self.days * DAY_MS if self.days else None

    def text(self) -> str:
        """Return what is kept, in words such as `everything` or `the last 7 days`."""
        parts = []
        if self.days:
            parts.append("the last day" if self.days == 1 else f"the last {self.days:,} days")
        if self.gigabytes:
            parts.append(f"at most {self.gigabytes:g} GB")
        return ", ".join(parts) or "everything"

    @property
    def sentence(self) -> str:
        """What is kept, as a whole sentence, with its full stop."""
        if self == Retention():
            return "Everything is kept."
        first, comma, most = self.text().partition(", ")
        verb = "is" if self.days == 1 else "are"
        return f"{first[0].upper()}{first[1:]} {verb} kept{comma}{most}."


KEEP_EVERYTHING: Final = Retention()


class RecordingSize(Struct, frozen=True):
    """The size of a recording's contents.

    `archive_bytes` are those of the chunks, which hold `archived_events` in segments; `raw_bytes`
    is an estimate of the events that are not archived yet; `book_bytes` are those of checkpoints
    and witnesses; `trade_bytes` is about what the `trades` take once all are archived. A database's
    files are larger: see `FolderSize`.
    """

    archive_bytes: int = 0
    archived_events: int = 0
    raw_bytes: int = 0
    book_bytes: int = 0
    trades: int = 0
    trade_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """The sum of the four parts."""
        return self.archive_bytes + self.raw_bytes + self.book_bytes + self.trade_bytes

    @property
    def lasting_bytes(self) -> int:
        """About the size of the recording once all of it is archived; a limit applies to this size.

        Otherwise old recordings would be removed for events that take much room for minutes only.
        """
        parts = (self.archive_bytes, self.book_bytes, self.to_be_archived_bytes, self.trade_bytes)
        return sum(parts)

    @property
    def to_be_archived_bytes(self) -> int:
        """About the size that the events that are not archived yet will have in the archive."""
        return round(self.raw_bytes * _USUAL_SHARE)

    def lasting_share(self, payload_bytes: int, events: int) -> float:
        """Return how much of a received byte remains, where `events` were `payload_bytes` long."""
        if self.archived_events < _EVENTS_TO_KNOW or not payload_bytes:
            return _USUAL_SHARE
        return (self.archive_bytes / self.archived_events) / (payload_bytes / events)

    @property
    def bytes_a_trade(self) -> float:
        """About how many bytes a trade takes in the archive."""
        return self.trade_bytes / self.trades if self.trades else USUAL_BYTES_A_TRADE


class FolderSize(Struct, frozen=True):
    """The size of the database's folder on the disk.

    `archive_bytes` is the part of it that holds the archive. The rest is the room that a database
    needs to work: its log, its memory of changes, and events until they are archived. No file
    shrinks; room that becomes free in a file is used again.
    """

    file_bytes: int
    archive_bytes: int = 0

    @property
    def working_bytes(self) -> int:
        """The room that the database needs besides the archive."""
        return max(0, self.file_bytes - self.archive_bytes)

    def reusable_bytes(self, size: RecordingSize) -> int:
        """About how much room in the archive's file was used and is free again."""
        used = size.archive_bytes + size.trade_bytes
        return max(0, self.archive_bytes - round(used * ON_DISK))


class DiskLevel(Enum):
    """Whether there is room for recordings."""

    GOOD = "good"
    LOW = "low"
    FULL = "full"


class DiskGauge:
    """Finds from the free space whether the disk is low, or so full that nothing is recorded.

    With less than `low_bytes` free the disk is low (0: never). Recording ends at a quarter of that
    and resumes at half of it, so that it does not flicker.
    """

    def __init__(self, low_bytes: int) -> None:
        self.low_bytes = low_bytes
        self.level = DiskLevel.GOOD

    @property
    def stop_bytes(self) -> int:
        """Recording ends with less than this free."""
        return int(self.low_bytes * _STOP_BELOW)

    @property
    def resume_bytes(self) -> int:
        """Recording resumes with this much free."""
        return int(self.low_bytes * _RESUME_ABOVE)

    def look(self, free_bytes: int | None) -> DiskLevel:
        """Return the level for `free` bytes; None: the free space is not known."""
        is_stopped = self.level is DiskLevel.FULL
        warned = self.level is not DiskLevel.GOOD
        if free_bytes is None or not self.low_bytes:
            self.level = DiskLevel.GOOD
        elif free_bytes < (self.resume_bytes if is_stopped else self.stop_bytes):
            self.level = DiskLevel.FULL
        elif free_bytes < self.low_bytes * (_RELAX_ABOVE if warned else 1):
            self.level = DiskLevel.LOW
        else:
            self.level = DiskLevel.GOOD
        return self.level


class DiskStatus(Struct, frozen=True):
    """How much room recordings take, and how much is free; None where that is not known.

    `size` is that of the recordings, `folder` that of the database's files. `bytes_per_day` is the
    growth of the archive at the present rate. `problem` is a sentence, or empty.
    """

    size: RecordingSize | None = None
    folder: FolderSize | None = None
    free_bytes: int | None = None
    bytes_per_day: int | None = None
    level: DiskLevel = DiskLevel.GOOD
    problem: str = ""

    @property
    def disk_bytes_per_day(self) -> int | None:
        """The growth of the files a day, once the free room in them is used."""
        return None if self.bytes_per_day is None else round(self.bytes_per_day * ON_DISK)

    @property
    def reusable_bytes(self) -> int:
        """The free room inside the files; 0 where that is not known."""
        if self.folder is None or self.size is None:
            return 0
        return self.folder.reusable_bytes(self.size)

    def days_left(self, retention: Retention) -> int | None:
        """Return for about how many days there is room; None: unknown, or unlimited.

        It is unlimited where all that `retention` keeps fits into the free space. The number has
        two digits that count: a pace doesn't tell more about the future.
        """
        pace = self.disk_bytes_per_day
        if not pace or self.free_bytes is None:
            return None
        if self.fits(retention):
            return None
        days = (self.free_bytes + self.reusable_bytes) // pace
        return round(days, 2 - len(str(days)))

    def fits(self, retention: Retention) -> bool:
        """Whether all that `retention` lets a recording become certainly fits the disk."""
        if self.free_bytes is None or self.size is None:
            return False
        taken = self.size.total_bytes if self.folder is None else self.folder.file_bytes
        working = 0 if self.folder is None else self.folder.working_bytes
        room = self.free_bytes + taken
        limit = retention.limit_bytes
        if limit is not None and max(limit, working + limit // 2) <= room:
            return True
        grows_to = retention.days * (self.disk_bytes_per_day or 0)
        return grows_to > 0 and grows_to + working <= room


class _Shown:
    """A number as it is shown: it stays until the measured one is away from it by `share` of it."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._number: int | None = None

    def number(self, measured: int | None) -> int | None:
        """Return the number to show for `measured`."""
        before = self._number
        if measured is None or before is None or abs(measured - before) > self._share * before:
            self._number = measured
        return self._number


class SteadyDisk:
    """Makes of measured sizes and paces the numbers to show, which neither jump nor run back.

    Call `take` with what was measured, at any rate. A database makes and removes files of its log,
    so the size of its files that is shown is the least of the last minute, and becomes smaller only
    after five minutes with smaller files. The free space and the pace change on screen only if they
    have changed by a part that matters. While the disk is low, the free space is exact.
    """

    def __init__(self) -> None:
        self._pace = _Shown(_PACE_SHARE)
        self._free = _Shown(_FREE_SHARE)
        # (time in s, bytes of the files), one at most for each second.
        self._files: deque[tuple[float, int]] = deque()
        self._file_bytes = 0

    def take(self, measured: DiskStatus, now_s: float) -> DiskStatus:
        """Return the status to show at `now_s`, by a clock that never goes back."""
        free = self._free.number(measured.free_bytes)
        folder = measured.folder
        return replace(
            measured,
            folder=None if folder is None else self._take_files(folder, now_s),
            free_bytes=free if measured.level is DiskLevel.GOOD else measured.free_bytes,
            bytes_per_day=self._pace.number(measured.bytes_per_day),
        )

    def _take_files(self, folder: FolderSize, now_s: float) -> FolderSize:
        files = self._files
        if not files or now_s - files[-1][0] >= 1 or files[-1][1] != folder.file_bytes:
            files.append((now_s, folder.file_bytes))
        while now_s - files[0][0] > _SHRUNK_AFTER_S:
            files.popleft()
        least = min(size for then, size in files if now_s - then <= _SETTLED_AFTER_S)
        has_shrunk = now_s - files[0][0] >= _SHRUNK_AFTER_S - _SETTLED_AFTER_S
        most = max(size for _, size in files)
        if has_shrunk and most < self._file_bytes:
            self._file_bytes = most
        self._file_bytes = max(self._file_bytes, least)
        return replace(folder, file_bytes=self._file_bytes)


class RecordingStorage(Protocol):
    """Where recordings go, how much of them is kept, and what room there is."""

    @property
    def text(self) -> str:
        """The storage in words: `the folder …`."""
        ...

    @property
    def disk(self) -> DiskStatus:
        """The room, at most a few seconds old."""
        ...

    @property
    def retention(self) -> Retention:
        """What is kept."""
        ...

    def set_retention(self, retention: Retention) -> None:
        """Keep so much from now on, and in later runs."""
        ...
