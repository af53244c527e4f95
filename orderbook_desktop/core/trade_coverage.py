"""What a recording of a market's trades covers: runs of their ids, and the gaps between them.

A *run* is an unbroken stretch of ids of aggregated trades that one source stored: a recorder, a
repair or an import. Runs may overlap. A market's coverage is the union of its runs, and a *gap* is
what lies between two stretches of it. Consecutive ids without a trade for an hour are no gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from orderbook_desktop.core.segments import GapCause


class TradeOrigin(Enum):
    """Where the trades of a run came from. The values are stored."""

    RECORDER = "recorder"
    REPAIR = "repair"
    IMPORT = "import"


class TradeRun(Struct, frozen=True):
    """An unbroken run of ids of aggregated trades of one market, all of them stored.

    `first_id` and `last_id` are those of its trades; a run that has none yet ends just before its
    first id. Times (ms) are the earliest and the latest of its trades. `end_cause` is why it ended:
    None while it goes on, or where that is not known.
    """

    id: str
    market: str
    first_id: int
    last_id: int
    from_ms: int
    to_ms: int
    origin: TradeOrigin = TradeOrigin.RECORDER
    end_cause: GapCause | None = None
    end_detail: str = ""

    @property
    def count(self) -> int:
        """How many trades it has."""
        return self.last_id - self.first_id + 1


class Covered(NamedTuple):
    """A stretch of ids that runs cover without a hole, and the times (ms) of its trades."""

    first_id: int
    last_id: int
    from_ms: int
    to_ms: int


class TradeGap(Struct, frozen=True):
    """The trades after `after_id` and before `before_id` are not stored.

    `from_ms` and `to_ms` are the times of the trades beside them.
    """

    after_id: int
    before_id: int
    from_ms: int
    to_ms: int
    cause: GapCause
    detail: str = ""

    @property
    def missing(self) -> int:
        """How many trades are missing."""
        return self.before_id - self.after_id - 1

    @property
    def sentence(self) -> str:
        """The cause as a sentence, with the detail that was noted; without a stop."""
        sentence = self.cause.sentence
        if self.cause is GapCause.FEED_GAP:
            sentence = "the exchange's stream left out trades"
        detail = self.detail.removesuffix(".")
        return f"{sentence} ({detail})" if detail else sentence

    @property
    def account(self) -> str:
        """The sentence, and which trades are missing."""
        first, last = self.after_id + 1, self.before_id - 1
        if first == last:
            return f"{self.sentence}; the trade {first} is missing"
        return f"{self.sentence}; {self.missing:,} trades are missing, {first} to {last}"


def covered(runs: Iterable[TradeRun]) -> list[Covered]:
    """Return what `runs`, all of one market, cover together, in order of ids."""
    stretches: list[Covered] = []
    for run in sorted(runs, key=lambda run: run.first_id):
        if not run.count:
            continue
        ids = Covered(run.first_id, run.last_id, run.from_ms, run.to_ms)
        if not stretches or run.first_id > stretches[-1].last_id + 1:
            stretches.append(ids)
            continue
        last = stretches[-1]
        stretches[-1] = Covered(
            last.first_id,
            max(last.last_id, ids.last_id),
            min(last.from_ms, ids.from_ms),
            max(last.to_ms, ids.to_ms),
        )
    return stretches


def counted_ids(runs: Iterable[TradeRun]) -> int:
    """Return how many trades `runs`, all of one market, have together."""
    return sum(stretch.last_id - stretch.first_id + 1 for stretch in covered(runs))


def gaps_between(runs: Iterable[TradeRun]) -> list[TradeGap]:
    """Return the gaps between `runs`, all of one market, in order of ids.

    The cause is that of the run that ends where a gap begins. A recorder that ended without a
    cause has crashed.
    """
    runs = list(runs)
    ends: dict[int, TradeRun] = {}
    for run in runs:
        known = ends.get(run.last_id)
        if known is None or known.end_cause is None:
            ends[run.last_id] = run
    stretches = covered(runs)
    gaps: list[TradeGap] = []
    for before, after in pairwise(stretches):
        end = ends[before.last_id]
        cause = end.end_cause or GapCause.CRASH
        gaps.append(
            TradeGap(
                *(before.last_id, after.first_id, before.to_ms, after.from_ms),
                *(cause, end.end_detail),
            )
        )
    return gaps
