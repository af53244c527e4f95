"""Lines of a capture file, `<receive time> <json>`, and reading them lazily, plain or gzipped.

Collectors differ, and are killed and started again. So the reader also accepts receive times in
seconds, milliseconds and microseconds (their digits show the unit), and finds the whole lines of a
broken file. Lines that are no message of a market are left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError, OtherMarket
from orderbook_desktop.core.received import FileNotes, UnusableFile
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.formats.capture_messages import (
    UNREADABLE,
    CaptureLine,
    LeftOut,
    Malformed,
    line_of,
    short_reason,
)
from orderbook_desktop.formats.lines import FileLines, UnreadablePart


class CaptureUnreadable(KnownError):
    """A capture file that cannot be played: `reason` says why, `line` where (0: as a whole)."""

    path: Path
    reason: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line} of " if self.line else ""
        return f"The capture cannot be played: {where}{self.path} {self.reason}."


class _NotOfTheFormat(ValueError):
    """The line has no receive time, or no message after it."""


_NS_DIGITS: Final = 19
_is_time: Final = re.compile(rb"(\d{1,19})(?:\.(\d{1,18}))?").fullmatch
_begins: Final = re.compile(rb"\d{9,}(?:\.\d+)? +\{").finditer
# The least digits of present times in each unit, and the number of zeros that turn the unit into
# nanoseconds. A time with fewer digits is that of a collector's own clock, in nanoseconds.
_UNITS: Final = ((17, "", 0), (14, "microseconds", 3), (11, "milliseconds", 6), (9, "seconds", 9))
_TRUNCATED: Final = "truncated"
_NO_END: Final = "the end of a line is missing"
_WRITTEN_OVER: Final = "a shorter file was written over a longer one, whose lines follow"
# A collector that appends to its file is started again within this time.
_RESTARTED_WITHIN_NS: Final = 366 * 86_400 * 10**9
_DAY_NS: Final = 86_400 * 10**9
# Lines may be out of order by less.
_OLDER_BY_NS: Final = 60 * 10**9


def read_lines(path: Path, notes: FileNotes | None = None) -> Generator[CaptureLine]:
    """Iterate over the lines of the capture at `path`.

    Empty lines are skipped, and so are messages of no market: answers to commands, and streams of
    all markets, whose data are arrays. `notes` gets the other lines that are left out, and the
    places where the file is broken. Raises `CaptureUnreadable` with the number of the first line
    that is not of the format.
    """
    notes = FileNotes() if notes is None else notes
    try:
        with FileLines(path) as lines:
            yield from _Lines(path, lines, notes).parsed()
    except UnusableFile as error:
        raise CaptureUnreadable(path, error.reason, error.line) from error


class _Lines:
    """Parses the lines of one file."""

    def __init__(self, path: Path, lines: FileLines, notes: FileNotes) -> None:
        self._path = path
        self._lines = lines
        self._notes = notes
        # The times of the first and the latest line, and how the latest one is spelt.
        self._first_ns: int | None = None
        self._latest_ns = 0
        self._stamp = b""

    def parsed(self) -> Iterator[CaptureLine]:
        """Iterate over the lines, including unreadable parts; raises `CaptureUnreadable`."""
        held: CaptureLine | None = None
        try:
            for line in self._read():
                if held is not None:
                    yield from self._between(held, line)
                held = line
        except CaptureUnreadable:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

    def _between(self, line: CaptureLine, following: CaptureLine) -> Iterator[CaptureLine]:
        """Iterate over `line`, or over the unreadable part between it and an older file's line.

        Half of `line` may be of a longer file over which a shorter one was written. It may be an
        event that the exchange never sent, so it is left out.
        """
        first_ns = self._first_ns or 0
        is_of_two = (
            following.recv_ns < first_ns - _OLDER_BY_NS <= line.recv_ns
            and not following.broken
            and bool(line.malformed or not line.broken)
        )
        is_next = following.number == line.number + 1
        if not is_of_two or not is_next:
            yield line
        if is_of_two:
            yield self._broken(line.number + (not is_next), _WRITTEN_OVER)

    def _read(self) -> Iterator[CaptureLine]:
        for number, raw in self._lines:
            if isinstance(raw, UnreadablePart):
                yield self._broken(number, raw.reason)
                continue
            try:
                line = self._parse(number, raw)
            except LeftOut as error:
                self._notes.leave_out(self._path, number, error.what)
                continue
            except Malformed as error:
                self._notes.leave_out(self._path, number, error.what)
                yield self._malformed(number, error)
                continue
            except OtherMarket as error:
                reason = f"is of the {error.kind} market; only the spot market is recorded here"
                raise CaptureUnreadable(self._path, reason, number) from error
            except UNREADABLE as error:
                yield from self._mended(number, raw, error)
                continue
            if line is not None:
                if self._first_ns is None:
                    self._first_ns = line.recv_ns
                self._latest_ns = max(self._latest_ns, line.recv_ns)
                yield line

    def _parse(self, number: int, raw: bytes) -> CaptureLine | None:
        if raw.isspace():
            return None
        stamp, _, text = raw.strip().partition(b" ")
        if len(stamp) == _NS_DIGITS and stamp.isdigit():
            recv_ns = int(stamp)
        else:
            recv_ns = self._time_ns(stamp)
        text = text.strip()
        if not text or not 0 <= recv_ns <= INT64_MAX:
            raise _NotOfTheFormat
        is_odd = len(stamp) < len(self._stamp) and abs(recv_ns - self._latest_ns) > _DAY_NS
        if is_odd and (self._lines.is_in_doubt or self._is_written_over(raw)):
            # It is the end of a receive time.
            raise _NotOfTheFormat
        self._stamp = stamp
        return line_of(number, recv_ns, text)

    def _time_ns(self, stamp: bytes) -> int:
        """Return a time in nanoseconds, or -1 where it is no time; its digits show its unit."""
        match = _is_time(stamp)
        if match is None:
            return -1
        whole, fraction = match[1], match[2] or b""
        for digits, unit, zeros in _UNITS:
            if len(whole) >= digits:
                if unit:
                    self._notes.units[self._path] = unit
                scale: int = 10**zeros
                return int(whole) * scale + int(fraction[:zeros].ljust(zeros, b"0") or b"0")
        return -1 if fraction else int(whole)

    def _broken(self, number: int, reason: str) -> CaptureLine:
        sentence = self._notes.note_break(self._path, number, reason)
        return CaptureLine(number, self._latest_ns, "", "", b"", b"", broken=sentence)

    def _malformed(self, number: int, error: Malformed) -> CaptureLine:
        sentence = f"Line {number} of {self._path.name} {error.what}."
        return CaptureLine(
            *(number, self._latest_ns, "", error.market, b"", b""),
            broken=sentence,
            malformed=error.what,
        )

    def _mended(self, number: int, raw: bytes, error: Exception) -> Iterator[CaptureLine]:
        """Iterate over the readable parts of a broken line; raises where it is wrong otherwise."""
        whole = self._behind_half_a_line(number, raw)
        if whole is not None:
            yield self._broken(number, _NO_END)
            yield whole
        elif self._is_written_over(raw):
            yield self._broken(number, _WRITTEN_OVER)
        elif self._lines.is_broken_here():
            return
        elif _TRUNCATED in str(error) or (raw.isdigit() and len(raw) <= _NS_DIGITS):
            yield self._broken(number, _NO_END)
        else:
            raise CaptureUnreadable(self._path, _reason(raw, error), number) from error

    def _is_written_over(self, raw: bytes) -> bool:
        """Whether `raw` is the rest of a line of a longer file, over which a shorter was written.

        The lines that follow are older than the first line of this file then. If none follows, it
        is enough that `raw` is the end of a line.
        """
        if self._first_ns is None:
            return False
        following = self._lines.following()
        if following is None:
            stamp = raw.strip().partition(b" ")[0]
            is_end = not stamp.isdigit() or len(stamp) < len(self._stamp)
            return is_end and raw.endswith(b"}") and not self._lines.is_in_doubt
        stamp = following.strip().partition(b" ")[0]
        return len(stamp) == len(self._stamp) and -1 < self._time_ns(stamp) < self._first_ns

    def _behind_half_a_line(self, number: int, raw: bytes) -> CaptureLine | None:
        """Return the whole line that a restarted collector wrote behind half a line."""
        *_, last = (None, *_begins(raw))
        if last is None or not self._stamp:
            return None
        digits = last[0].partition(b" ")[0]
        stamp = digits[-len(self._stamp) :]
        begin = last.start() + len(digits) - len(stamp)
        if not begin or not self._may_follow(raw[:begin], stamp):
            return None
        try:
            return self._parse(number, raw[begin:])
        except (*UNREADABLE, LeftOut, Malformed):
            return None

    def _may_follow(self, half: bytes, stamp: bytes) -> bool:
        """Whether a line may begin with `stamp`, behind `half` of a line."""
        if abs(self._time_ns(stamp) - self._latest_ns) > _RESTARTED_WITHIN_NS:
            return False
        # Half a receive time is the begin of one between the latest one and `stamp`.
        length = len(half)
        is_between = self._stamp[:length] <= half <= stamp[:length]
        return not half.isdigit() or (is_between and length < len(stamp))


def _reason(raw: bytes, error: Exception) -> str:
    """Return why a line can't be read."""
    if not isinstance(error, _NotOfTheFormat):
        return f"is not a message of the exchange ({short_reason(error)})"
    stamp = raw.strip().partition(b" ")[0]
    if stamp.isdigit() and len(stamp) > _NS_DIGITS:
        return f"begins with a number of {len(stamp)} digits; a receive time has at most 19, in ns"
    return "is not a receive time in ns and a JSON object"
