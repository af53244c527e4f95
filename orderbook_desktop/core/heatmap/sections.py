"""Heatmaps of stretches of time that are joined: how a run goes on from one to the next.

A price that was named stays named until another run begins (`core.heatmap.cells`). So a section
says how far the run before it reaches, and what is named after it.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.spans import BoolArray


class Section(Struct, frozen=True, eq=False):
    """The `heatmap` of a stretch of time, built as if nothing was named before it.

    The run before it goes on in the columns before `carried`. `breaks` is whether a run begins in
    it. `named_after` is of each row whether it was named in the run that is there at the end.
    """

    heatmap: Heatmap
    carried: int
    breaks: bool
    named_after: BoolArray

    def between(self, from_ms: int, to_ms: int) -> Section:
        """Return the columns that begin from `from_ms` to before `to_ms`; there is one at least.

        They may know of more prices that were named: of those before `from_ms`, too.
        """
        heatmap = self.heatmap
        begin, end = heatmap.times_ms.searchsorted((from_ms, to_ms)).tolist()
        if (begin, end) == (0, len(heatmap.columns)):
            return self
        is_end = end == len(heatmap.columns)
        ends_ms = heatmap.to_ms if is_end else int(heatmap.times_ms[end])
        cut = heatmap.at(slice(begin, end), ends_ms)
        carried = min(max(self.carried - begin, 0), end - begin)
        breaks = self.breaks and self.carried < end
        return Section(cut, carried, breaks, self.named_after if is_end else cut.named[-1])

    def in_bins(self, bin_ms: int) -> Section:
        """Return the section with columns of `bin_ms`, a multiple of its bin, bit for bit.

        Columns begin at multiples of it; the first one where the section begins.
        """
        heatmap = self.heatmap
        if heatmap.bin_ms == bin_ms:
            return self
        begins = np.flatnonzero(np.diff(heatmap.times_ms // bin_ms, prepend=-1))
        carried = int(begins.searchsorted(self.carried))
        return replace(self, heatmap=heatmap.in_groups(begins, bin_ms), carried=carried)

    def in_price(self, count: int) -> Section:
        """Return the section with rows of `count` times the height (see `Heatmap.in_price`)."""
        if count == 1:
            return self
        heatmap = self.heatmap.in_price(count)
        begins = np.unique(self.heatmap.prices // heatmap.step, return_index=True)[1]
        named_after = self.named_after
        if len(begins):
            named_after = np.logical_or.reduceat(named_after, begins)
        return replace(self, heatmap=heatmap, named_after=named_after)
