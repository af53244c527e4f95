"""What the coverage bar of a replay shows: each of its columns of pixels is a stretch of time.

A column that has the smallest part of a gap says so, and how much of it is missing. So a gap that
is narrower than a pixel is still seen, and a day with a thousand short gaps isn't one long gap.
The work is that of the columns, plus a search in sorted times.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final, NamedTuple, Self, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import Bookmark, Coverage, Quiet
from orderbook_desktop.core.time_text import duration_text, moment_text
from orderbook_desktop.core.timeline import Cover, Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.wording import counted

SHORTEST_NS: Final = 1_000_000_000
"""The shortest time that the bar's whole width can be."""

_Times = NDArray[np.int64]
_Flags = NDArray[np.bool_]
_Named = TypeVar("_Named")


class Span(Struct, frozen=True):
    """The time from `from_ns` to `to_ns`, which is later."""

    from_ns: int
    to_ns: int

    @property
    def length_ns(self) -> int:
        """How long it is."""
        return self.to_ns - self.from_ns

    def share_of(self, at_ns: int) -> float:
        """Return where a time is: 0 at the beginning, 1 at the end, beyond them outside."""
        return (at_ns - self.from_ns) / self.length_ns

    def at(self, share: float) -> int:
        """Return the time at a share of the length."""
        return self.from_ns + round(self.length_ns * share)

    def holds(self, at_ns: int) -> bool:
        """Whether a time lies within, the ends included."""
        return self.from_ns <= at_ns <= self.to_ns

    def zoomed(self, factor: float, around_ns: int, whole: Span) -> Span:
        """Return what is `factor` times as long, with `around_ns` in its place, within `whole`."""
        length = max(SHORTEST_NS, round(self.length_ns * factor))
        if length >= whole.length_ns:
            return whole
        begin = around_ns - round(length * self.share_of(around_ns))
        return Span(begin, begin + length).moved(0, whole)

    def moved(self, by_ns: int, whole: Span) -> Span:
        """Return what is as long, and begins so much later, within `whole`."""
        begin = max(whole.from_ns, min(self.from_ns + by_ns, whole.to_ns - self.length_ns))
        return Span(begin, begin + self.length_ns)


class Columns(NamedTuple):
    """The columns of a bar, from left to right.

    `covered` and `missing` are the shares (0 to 1) of a column's time in which the book is known,
    and in which it is not. `has_cover` is whether the book is known in some of it, even if only for
    a moment, `has_gap` whether some of it is in a gap, `has_trade_gap` whether in
    a gap of the trades, and `is_quiet` whether nothing happened in all that is covered.
    """

    covered: NDArray[np.float64]
    missing: NDArray[np.float64]
    has_cover: _Flags
    has_gap: _Flags
    has_trade_gap: _Flags
    is_quiet: _Flags


class Found(NamedTuple):
    """What lies in a stretch of time; of each kind the first ones, and how many there are."""

    gaps: Sequence[Gap]
    gap_count: int
    trade_gaps: Sequence[TradeGap]
    trade_gap_count: int
    quiet: Sequence[Quiet]
    bookmarks: Sequence[Bookmark]
    bookmark_count: int

    def lines(self, zone: tzinfo | None = None) -> list[str]:
        """Return it in lines, with times in `zone` (default: local)."""
        lines: list[str] = []
        for gap in self.gaps:
            lines += _of_gap("Gap", gap, zone)
        lines += _more(self.gap_count - len(self.gaps), "gap")
        for trade_gap in self.trade_gaps:
            lines += _of_gap("Gap of trades", trade_gap, zone)
        lines += _more(self.trade_gap_count - len(self.trade_gaps), "trade gap")
        for quiet in self.quiet:
            length = duration_text(quiet.to_ms - quiet.from_ms)
            lines.append(f"Quiet for {length}: nothing happened.")
            lines += _edges(quiet, zone)
        for bookmark in self.bookmarks:
            note = f": {bookmark.note}" if bookmark.note else ""
            lines.append(f"Bookmark, {moment_text(bookmark.event_ms, zone)}{note}")
        return lines + _more(self.bookmark_count - len(self.bookmarks), "bookmark")


def _of_gap(what: str, gap: Gap | TradeGap, zone: tzinfo | None) -> list[str]:
    """Return length, cause, edges and what is missing of a gap."""
    missing = gap.account.removeprefix(f"{gap.sentence}; ")
    length = duration_text(gap.to_ms - gap.from_ms)
    first = f"{what} of {length}: {gap.sentence}."
    return [first, *_edges(gap, zone), f"{missing[0].upper()}{missing[1:]}."]


def _edges(stretch: Gap | TradeGap | Quiet, zone: tzinfo | None) -> list[str]:
    return [
        f"From {moment_text(stretch.from_ms, zone)}",
        f"to {moment_text(stretch.to_ms, zone)}.",
    ]


def _more(count: int, what: str) -> list[str]:
    """Return the line that says how many more there are, if there are any."""
    return [f"{counted(count, f'more {what}')} here."] if count > 0 else []


_NAMED: Final = 3


class CoverageMap:
    """Answers what of a recording's `coverage`, and of its `bookmarks`, lies where in a bar."""

    def __init__(self, coverage: Coverage, bookmarks: Sequence[Bookmark] = ()) -> None:
        self.coverage = coverage
        self.bookmarks = bookmarks
        timeline = coverage.timeline
        self._covers = _Stretches.of(timeline.covers)
        self._gaps = _Stretches.of(timeline.gaps)
        self._quiet = _Stretches.of(coverage.quiet)
        self._of_trades = _Stretches.of(coverage.trade_gaps)
        self._marked = np.array([one.event_ms for one in bookmarks], np.int64) * NS_A_MS

    @property
    def whole(self) -> Span | None:
        """From the first moment to the last, at least a second; None: nothing is recorded."""
        timeline = self.coverage.timeline
        if not timeline.covers and not timeline.gaps:
            return None
        begin, end = timeline.from_ms * NS_A_MS, timeline.to_ms * NS_A_MS
        return Span(begin, max(end, begin + SHORTEST_NS))

    def columns(self, span: Span, count: int) -> Columns:
        """Return the `count` columns that show `span`."""
        edges = np.linspace(0.0, span.length_ns, count + 1)
        covered = self._covers.length_in(span.from_ns, edges)
        quiet = self._quiet.length_in(span.from_ns, edges)
        width = span.length_ns / count
        return Columns(
            covered / width,
            self._gaps.length_in(span.from_ns, edges) / width,
            self._covers.any_in(span.from_ns, edges),
            self._gaps.any_in(span.from_ns, edges),
            self._of_trades.any_in(span.from_ns, edges),
            # Of float sums that should be equal, one may be a few ns larger.
            (covered > 0) & (quiet >= covered * 0.999_999),
        )

    def marks(self, span: Span) -> list[float]:
        """Return where in `span` the bookmarks are, as shares of its length."""
        first, after = np.searchsorted(self._marked, (span.from_ns, span.to_ns + 1))
        return [span.share_of(int(at)) for at in self._marked[first:after]]

    def found(self, span: Span, near_ns: int = 0) -> Found:
        """Return what lies in `span`, and the bookmarks also up to `near_ns` beside it."""
        coverage, timeline = self.coverage, self.coverage.timeline
        gaps, gap_count = self._gaps.named(timeline.gaps, span)
        of_trades, of_trades_count = self._of_trades.named(coverage.trade_gaps, span)
        quiet, _ = self._quiet.named(coverage.quiet, span)
        first, after = np.searchsorted(
            self._marked, (span.from_ns - near_ns, span.to_ns + near_ns + 1)
        )
        marked = self.bookmarks[first : min(after, first + _NAMED)]
        counts = int(after - first)
        return Found(gaps, gap_count, of_trades, of_trades_count, quiet, marked, counts)


class _Stretches(NamedTuple):
    """Stretches of time in ns, ascending: where they begin and end."""

    begins: _Times
    ends: _Times

    @classmethod
    def of(cls, stretches: Sequence[Cover | Gap | TradeGap | Quiet]) -> Self:
        begins = np.array([one.from_ms for one in stretches], np.int64)
        ends = np.array([one.to_ms for one in stretches], np.int64)
        return cls(begins * NS_A_MS, ends * NS_A_MS)

    def length_in(self, base_ns: int, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much of the time between each two edges (ns after `base_ns`) is in them."""
        if not len(self.begins):
            return np.zeros(len(edges) - 1)
        points = np.stack((self.begins, self.ends), axis=1).ravel() - base_ns
        lengths = np.stack((np.zeros_like(self.begins), self.ends - self.begins), axis=1)
        passed = np.interp(edges, points.astype(np.float64), np.cumsum(lengths.ravel()))
        return np.diff(passed)

    def any_in(self, base_ns: int, edges: NDArray[np.float64]) -> _Flags:
        """Return whether the time between each two edges has a part of one of them.

        A stretch without a length counts as one of a millisecond.
        """
        # For this count neither the order of the stretches nor their overlaps matter.
        begins = np.sort(self.begins - base_ns)
        ends = np.sort(np.maximum(self.ends, self.begins + NS_A_MS) - base_ns)
        begun = np.searchsorted(begins, edges[1:], side="left")
        ended = np.searchsorted(ends, edges[:-1], side="right")
        return begun > ended

    def named(self, stretches: Sequence[_Named], span: Span) -> tuple[Sequence[_Named], int]:
        """Return the first of `stretches`, which these are, that meet `span`, and their number."""
        ends = np.maximum(self.ends, self.begins + NS_A_MS)
        places = np.flatnonzero((self.begins < span.to_ns) & (ends > span.from_ns))
        return [stretches[place] for place in places[:_NAMED].tolist()], len(places)
