"""Messages as somebody else's collector received them, on their way into a recording."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, Self, TypeVar

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, level_texts
from orderbook_desktop.core.levels import EMPTY, fitting_exponent
from orderbook_desktop.core.units import DEFAULT_EXPONENT

_T = TypeVar("_T")
# With eight places 64 bits hold less than 2^63 / 10^8.
_SURELY_HELD_BELOW: Final = 9e10
# A time, and what tells the order of things at the same time.
Time = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A message, and when it was received (ns since the epoch).

    Where a snapshot `restarts`, it begins a run of its own whatever is known of the book: its
    source says so, as Tardis does. Any other is of use only where the book is not known.
    """

    received_ns: int
    message: DepthDiff | DepthSnapshot
    restarts: bool = False


class UnusableFile(KnownError):
    """A file that cannot be imported: `reason` says why, `line` where (0: as a whole)."""

    def __init__(self, path: Path, reason: str, line: int = 0) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        super().__init__(path, reason, line)

    @classmethod
    def inexact(cls, path: Path, text: str, line: int) -> Self:
        """Return that the value `text` is too large, or has too many digits."""
        return cls(path, f"has the value {text[:40]}, which 64 bits don't hold exactly", line)

    def __str__(self) -> str:
        where = f"line {self.line} of " if self.line else ""
        return f"Nothing was imported: {where}{self.path} {self.reason}."


def check_exact(message: DepthDiff | DepthSnapshot) -> None:
    """Raise `InexactValue` for a price or quantity that 64 bits hold at no scale.

    Whether one scale holds all values of a book is another matter.
    """
    values = chain.from_iterable(chain(message.bids, message.asks))
    if message.plain and max(values, default=0.0) < _SURELY_HELD_BELOW:
        return
    for levels in level_texts(message.payload):
        for text in chain.from_iterable(levels):
            fitting_exponent([text], EMPTY, DEFAULT_EXPONENT)


def in_order_of_time(sources: Iterable[Iterable[tuple[Time, _T]]]) -> Iterator[_T]:
    """Merge `sources` of (time, item), each in its own order, by time.

    Where the times of a source go back, an item counts as late as the latest one before it.
    """
    merged = heapq.merge(*map(_never_back, sources), key=lambda timed: timed[0])
    return (item for _, item in merged)


def _never_back(source: Iterable[tuple[Time, _T]]) -> Iterator[tuple[Time, _T]]:
    latest: Time = ()
    for time, item in source:
        latest = max(latest, time)
        yield latest, item
