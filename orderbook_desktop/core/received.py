"""Messages that another program's collector received, on their way into a recording."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct, field

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade

_T = TypeVar("_T")
_BREAKS_NOTED: Final = 20
# A time, and the order of items at the same time.
Time = tuple[int, ...]


class Received(Struct, frozen=True):
    """A message, and when it was received (ns since the epoch).

    A snapshot that `restarts` begins a new run, also where the book is known: its source says so,
    as Tardis does. Any other snapshot is used only where the book is not known. A trade that
    `is_made` was made of single ones, and its id is made up.
    """

    received_ns: int
    message: DepthDiff | DepthSnapshot | Trade
    restarts: bool = False
    is_made: bool = False


class Broken(Struct, frozen=True):
    """A file is broken here: messages of `markets` are missing.

    `detail` describes it; the time is that of the last message before the break. `cause` is
    MALFORMED if it is a message that can't be read.
    """

    received_ns: int
    markets: frozenset[str]
    detail: str
    cause: GapCause = GapCause.CRASH


class LeftOut(Struct):
    """How many lines of a file were left out, and the number and kind of the first of them."""

    count: int
    line: int
    what: str


class FileNotes(Struct):
    """What a person should know about the files of an import; filled while they are read.

    By path: where a file is broken, which lines were left out, how many lines of which streams
    were left out, and the unit of its times where that is not the usual one. By market: how many
    single trades were taken, where aggregated ones are made of them.
    """

    breaks: dict[Path, list[str]] = field(default_factory=dict)
    left_out: dict[Path, LeftOut] = field(default_factory=dict)
    streams: dict[Path, Counter[str]] = field(default_factory=dict)
    units: dict[Path, str] = field(default_factory=dict)
    single_trades: dict[str, int] = field(default_factory=dict)

    def note_break(self, path: Path, line: int, reason: str) -> str:
        """Note that `path` is broken; return that as a sentence."""
        sentence = f"{path.name} is broken in line {line}: {reason}."
        breaks = self.breaks.setdefault(path, [])
        if len(breaks) < _BREAKS_NOTED:
            breaks.append(sentence)
        return sentence

    def leave_out(self, path: Path, line: int, what: str) -> None:
        """Note that a line of `path` is left out."""
        known = self.left_out.setdefault(path, LeftOut(0, line, what))
        known.count += 1

    def leave_out_of_stream(self, path: Path, stream: str) -> None:
        """Note that a line of a stream is left out, such as one of `bookTicker`."""
        self.streams.setdefault(path, Counter())[stream] += 1


class UnusableFile(KnownError):
    """A file that cannot be imported: `reason` says why, `line` where (0: as a whole)."""

    path: Path
    reason: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line} of " if self.line else ""
        return f"Nothing was imported: {where}{self.path} {self.reason}."


def in_order_of_time(sources: Iterable[Iterable[tuple[Time, _T]]]) -> Iterator[_T]:
    """Merge `sources` of (time, item), each in its own order, by time.

    Where the times of a source go back, an item gets the latest earlier time.
    """
    merged = heapq.merge(*map(_never_back, sources), key=lambda timed: timed[0])
    return (item for _, item in merged)


def _never_back(source: Iterable[tuple[Time, _T]]) -> Iterator[tuple[Time, _T]]:
    latest: Time = ()
    for time, item in source:
        latest = max(latest, time)
        yield latest, item
