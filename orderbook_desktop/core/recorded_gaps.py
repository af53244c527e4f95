"""The gaps of one market's recording, as people look at them: of all causes, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from msgspec import Struct

from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.timeline import Gap

NOT_READ = "\N{EN DASH}"
"""The number of gaps while they are not read yet."""


class RecordedGaps(Struct, frozen=True, eq=False):
    """The gaps of a recording, the newest first; `in_session` of them began in this session.

    A session is that of the program: it begins with the first book that the program records of
    the market. A gap that was there before, or that ends with this book, is not of the session.
    """

    gaps: tuple[Gap, ...] = ()
    in_session: int = 0

    @classmethod
    def of(cls, gaps: Sequence[Gap], session_id: int) -> Self:
        """Return `gaps`, which ascend; `session_id` is the session's first update id, 0: none."""
        newest_first = tuple(reversed(gaps))
        in_session = sum(0 < session_id < gap.first_missing for gap in newest_first)
        return cls(newest_first, in_session)

    @property
    def text(self) -> str:
        """How many there are: `4`, `4 · 1 this session`."""
        total = f"{len(self.gaps):,}"
        return f"{total} · {self.in_session:,} this session" if self.gaps else total

    @property
    def sentence(self) -> str:
        """How many there are, in words: `4 gaps, 1 of them in this session`; without a stop."""
        if not self.gaps:
            return "No gaps"
        return f"{counted(len(self.gaps), 'gap')}, {self.in_session:,} of them in this session"


def gaps_text(gaps: RecordedGaps | None) -> str:
    """Return how many gaps there are, as short text; None: they are not read yet."""
    return NOT_READ if gaps is None else gaps.text
