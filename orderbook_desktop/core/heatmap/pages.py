"""What a view sees of recorded heatmaps: what it can ask for, and what it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.facts import CellFacts
from orderbook_desktop.core.heatmap.flows import Flows
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.traded import TradedCells
from orderbook_desktop.core.replay_status import Coverage


class HeatmapWish(Struct, frozen=True):
    """The cells that a view wants: `bins` begin at multiples of their width, `steps` have rows."""

    market: str
    bins: TimeBins
    steps: PriceSteps
    statistic: Statistic
    side: Side = Side.BOTH


class HeatmapPart(Struct, frozen=True, eq=False):
    """What is known of a wish up to now.

    `heatmap` covers the whole time of the wish; its bins and steps may be coarser than wished.
    None: nothing has been read. Times in `pending` (ms, ascending) have not been read: a view shows
    them as such, neither as a gap nor as empty. `problem` is a sentence if reading failed.
    """

    heatmap: Heatmap | None = None
    pending: tuple[tuple[int, int], ...] = ()
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether no further answer comes."""
        return bool(self.problem) or (self.heatmap is not None and not self.pending)


class RecordedMarket(Struct, frozen=True):
    """What is recorded of a market, and the grid of its prices; None: no book is.

    `problem` is a sentence if reading failed.
    """

    market: str
    coverage: Coverage = Coverage()
    grid: PriceGrid | None = None
    problem: str = ""


class TradedPart(Struct, frozen=True, eq=False):
    """What was traded in the cells of a wish, as far as it has been read.

    `cells` is None if nothing has been; times in `pending` (ms) have not, and `problem` is a
    sentence if reading failed. Times with missing trades are those of `RecordedMarket.coverage`.
    """

    cells: TradedCells | None = None
    pending: tuple[tuple[int, int], ...] = ()
    problem: str = ""


class FlowPart(Struct, frozen=True):
    """What was added, traded and pulled; `flows` is None if reading failed, `problem` why."""

    flows: Flows | None = None
    problem: str = ""


class FactsPart(Struct, frozen=True):
    """What is exactly known of a cell; `facts` is None if reading failed, `problem` why.

    If it is not over, it is being read since when something has stood there.
    """

    facts: CellFacts | None = None
    is_over: bool = True
    problem: str = ""


class HeatmapRequest(Protocol):
    """Something that is being read."""

    def cancel(self) -> object:
        """Stop reading; no further answer comes."""
        ...


class HeatmapPages(Protocol):
    """The heatmaps of all that is recorded: of the database, or of the packed file being played.

    Methods return at once. `answered` is called later, in the thread of the caller, once or more;
    never after the request was cancelled or the program has ended.
    """

    def recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> HeatmapRequest:
        """Read what is recorded of a market; it may have grown since the last time.

        The first answer may lack the quiet stretches, which a second one has then.
        """
        ...

    def cells(self, wish: HeatmapWish, answered: Callable[[HeatmapPart], None]) -> HeatmapRequest:
        """Read cells: something true soon, and the whole wish in the end."""
        ...

    def traded(self, wish: HeatmapWish, answered: Callable[[TradedPart], None]) -> HeatmapRequest:
        """Read what was traded in the cells of a wish, the newest trades first.

        Its steps have rows; the statistic and the side do not matter.
        """
        ...

    def flows(self, wish: HeatmapWish, answered: Callable[[FlowPart], None]) -> HeatmapRequest:
        """Read what was added, traded and pulled from the begin to the end of a wish's bins.

        It is answered once. The statistic does not matter.
        """
        ...

    def facts(self, wish: HeatmapWish, answered: Callable[[FactsPart], None]) -> HeatmapRequest:
        """Read what is exactly known of the one cell of a wish; the statistic does not matter.

        The first answer has all but since when something has stood there.
        """
        ...


class TileStatus(Struct, frozen=True):
    """How far the tiles are, which are built in spare time; `is_on` is whether they are at all.

    Of `wanted` stretches of the recordings `done` have their tiles; both are 0 before they are
    counted. `market` is the one whose tiles are being built, if any. `waits` is whether other work
    comes first now. `problem` is a sentence if none can be built.
    """

    is_on: bool = True
    done: int = 0
    wanted: int = 0
    market: str = ""
    waits: bool = False
    problem: str = ""

    @property
    def percent(self) -> int | None:
        """How many of a hundred are done, rounded down; None: they were not counted yet."""
        return self.done * 100 // self.wanted if self.wanted else None

    @property
    def sentence(self) -> str:
        """What a person should know, as a sentence."""
        count = f"{self.done:,} of {self.wanted:,}"
        if self.problem:
            return self.problem
        if not self.wanted:
            return "It is not known yet which tiles are missing."
        if self.done >= self.wanted:
            return "All tiles are built."
        if not self.is_on:
            return f"{count} stretches have tiles; no more are built."
        if self.waits:
            return f"{count} stretches have tiles; recording and painting come first now."
        now = f"{self.market} is being built" if self.market else "more are built in spare time"
        return f"{count} stretches have tiles; {now}."


class TileBuilding(Protocol):
    """The tiles, which make heatmaps of long times quick: a cache, built in spare time."""

    @property
    def status(self) -> TileStatus:
        """How far they are; cheap enough to be asked a few times a second."""
        ...

    def switch(self, wanted: bool) -> None:
        """Build tiles from now on, or build no more; those that are there are used."""
        ...
