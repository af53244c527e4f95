"""What a view sees of recorded heatmaps: what it can ask for, and what it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay_status import Coverage
from orderbook_desktop.core.units import Scale


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


class TradedCells(Struct, frozen=True, eq=False):
    """What was traded, by bin and price step: arrays of one length, in order of time, then price.

    `times_ms` and `prices` are where a cell begins, `bought` and `sold` the quantities of takers in
    units of `scale`, and `counts` how many aggregated trades they are. Sums are exact.
    """

    scale: Scale
    bin_ms: int
    step: int
    times_ms: Int64Array
    prices: Int64Array
    bought: npt.NDArray[np.object_] | Int64Array
    sold: npt.NDArray[np.object_] | Int64Array
    counts: Int64Array


class TradedPart(Struct, frozen=True, eq=False):
    """What was traded in a time; `cells` is None while it is read, `problem` why it can't be."""

    cells: TradedCells | None = None
    problem: str = ""


class TileProgress(Struct, frozen=True):
    """How far the tiles are that are built in spare time.

    `done` of `wanted` are there; `is_paused` is whether the person has stopped the building.
    `market` is what is built now, empty: nothing.
    """

    done: int = 0
    wanted: int = 0
    is_paused: bool = False
    market: str = ""


class RecordedMarket(Struct, frozen=True):
    """What is recorded of a market, and the grid of its prices; without a grid nothing is."""

    market: str
    coverage: Coverage = Coverage()
    grid: PriceGrid | None = None


class HeatmapRequest(Protocol):
    """Something that is being read."""

    def cancel(self) -> None:
        """Stop reading; no further answer comes."""
        ...


class HeatmapPages(Protocol):
    """The heatmaps of all that is recorded: of the database, or of the packed file being played.

    Methods return at once. `answered` is called later, in the thread of the caller, for `cells`
    more than once, and never after the request was cancelled or the program has ended.
    """

    @property
    def progress(self) -> TileProgress:
        """How far the tiles are; cheap enough to be asked a few times a second."""
        ...

    def pause(self, wanted: bool) -> None:
        """Stop building tiles in spare time, or go on."""
        ...

    def recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> HeatmapRequest:
        """Read what is recorded of a market; asked again after a while, it has grown."""
        ...

    def cells(self, wish: HeatmapWish, answered: Callable[[HeatmapPart], None]) -> HeatmapRequest:
        """Read cells: something true soon, and the whole wish in the end."""
        ...

    def traded(self, wish: HeatmapWish, answered: Callable[[TradedPart], None]) -> HeatmapRequest:
        """Read what was traded in the cells of a wish, whose statistic does not matter."""
        ...
