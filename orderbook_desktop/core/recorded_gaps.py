"""The gaps of one market's recording, as people look at them: of all causes, the newest first.

Gaps of the book and gaps of the trades are told apart: the one can be missing without the other.

A *healed* gap is one of a single recorder that another source has filled, so the recording has none
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from msgspec import Struct

from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.wording import counted

_SOURCES_NAMED: Final = 3
NOT_READ = "\N{EN DASH}"
"""The number of gaps while they are not read yet."""


class HealedGap(Gap, frozen=True):
    """A gap of one recorder that another source has filled: `by` an import, or another recorder.

    `to_ms` is when the book would have been known again without that source.
    """

    by: str


class RecordedGaps(Struct, frozen=True, eq=False):
    """The gaps of a recording, the newest first; `in_session` of them began in this session.

    A session is that of the program: it begins with the first book that the program records of
    the market. A gap that was there before, or that ends with this book, is not of the session.
    `session_id` is the update id of that book, and `session_ms` its time; 0: there is no session.
    `healed` gaps are those of single recorders that others have filled, the newest first. All of
    these are gaps of the book. `trades` are the gaps of the trades, the newest first.
    """

    gaps: tuple[Gap, ...] = ()
    in_session: int = 0
    healed: tuple[HealedGap, ...] = ()
    session_id: int = 0
    trades: tuple[TradeGap, ...] = ()
    session_ms: int = 0

    @classmethod
    def of(
        cls,
        gaps: Sequence[Gap],
        session_id: int,
        healed: Sequence[HealedGap] = (),
        trades: Sequence[TradeGap] = (),
        session_ms: int = 0,
    ) -> Self:
        """Return the `gaps`, the `healed` ones and those of `trades`, all of which ascend."""
        newest_first = tuple(reversed(gaps))
        in_session = sum(0 < session_id < gap.first_missing for gap in newest_first)
        rest = tuple(reversed(healed)), session_id, tuple(reversed(trades)), session_ms
        return cls(newest_first, in_session, *rest)

    @property
    def rows(self) -> tuple[Gap | TradeGap, ...]:
        """All gaps together, the newest first."""
        of_book = sorted(
            [*self.gaps, *self.healed], key=lambda gap: gap.first_missing, reverse=True
        )
        if not self.trades:
            return tuple(of_book)
        return tuple(sorted([*of_book, *self.trades], key=lambda gap: gap.from_ms, reverse=True))

    def is_of_session(self, gap: Gap | TradeGap) -> bool:
        """Whether `gap`, one of the rows, began in this session."""
        if isinstance(gap, TradeGap):
            return 0 < self.session_ms <= gap.from_ms
        return 0 < self.session_id < gap.first_missing

    @property
    def healed_text(self) -> str:
        """How many are healed, and by what: `2 healed (by an import)`; empty for none."""
        sources = list(dict.fromkeys(gap.by for gap in self.healed))
        named = ", ".join(sources[:_SOURCES_NAMED])
        more = len(sources) - _SOURCES_NAMED
        others = f" and {more:,} more" if more > 0 else ""
        return f"{len(self.healed):,} healed (by {named}{others})" if sources else ""

    @property
    def text(self) -> str:
        """How many there are: `4`, `4 · 1 this session`, `4 · 1 this session · 2 of trades`."""
        parts = [f"{len(self.gaps):,}"]
        if self.gaps:
            parts.append(f"{self.in_session:,} this session")
        if self.trades:
            parts.append(f"{len(self.trades):,} of trades")
        return " · ".join(parts)

    @property
    def sentence(self) -> str:
        """How many there are, in words: `4 gaps, 1 of them in this session`; without a stop."""
        if not self.gaps:
            return "No gaps"
        return f"{counted(len(self.gaps), 'gap')}, {self.in_session:,} of them in this session"

    @property
    def others_text(self) -> str:
        """How many healed gaps there are, and how many of trades; empty for none."""
        of_trades = f"{counted(len(self.trades), 'gap')} of trades" if self.trades else ""
        return ", ".join(filter(None, (self.healed_text, of_trades)))


def gaps_text(gaps: RecordedGaps | None) -> str:
    """Return how many gaps there are, as short text; None: they are not read yet."""
    return NOT_READ if gaps is None else gaps.text
