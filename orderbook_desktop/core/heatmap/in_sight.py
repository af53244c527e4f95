"""The exact cells that a view shows, put together from all that is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.cells import Columns, Heatmap
from orderbook_desktop.core.heatmap.exact import product
from orderbook_desktop.core.heatmap.sources import Source
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import Scale


def alike_sources(sources: Sequence[Source]) -> list[Source]:
    """Return those of the bins and rows of the last one: the others can't be saved beside it."""
    return [one for one in sources if _is_alike(one.heatmap, sources[-1].heatmap)]


def cells_in_sight(
    sources: Sequence[Source], view: View, over_ms: int | None = None
) -> Heatmap | None:
    """Return the cells of `view`; None: there are none.

    Of sources that overlap a later one counts, as on screen, where it has a book. Those in other
    bins or price steps than the last one are left out, and so are columns that nothing was read of,
    and those that are not over at `over_ms`, the clock of a replay (None: live).
    """
    if not sources:
        return None
    last, alike = sources[-1].heatmap, alike_sources(sources)
    bin_ms = last.bin_ms
    starts = np.arange(view.from_ms // bin_ms * bin_ms, view.to_ms, bin_ms)
    of, columns = _chosen(alike, starts, bin_ms, over_ms)
    prices = last.prices / 10.0 ** (last.scale.price - view.exponent)
    step = last.step / 10.0 ** (last.scale.price - view.exponent)
    rows = (prices + step > view.low) & (prices < view.high)
    if not (of >= 0).any() or not rows.any():
        return None
    parts = []
    for begin, end in _runs(of):
        if of[begin] >= 0:
            source = alike[of[begin]]
            parts.append(_part(source.heatmap, columns[begin:end], rows))
    return _joined(parts)


def _is_alike(one: Heatmap, other: Heatmap) -> bool:
    same = (one.statistic, one.scale.price, one.step, one.bin_ms) == (
        other.statistic,
        other.scale.price,
        other.step,
        other.bin_ms,
    )
    return same and np.array_equal(one.prices, other.prices)


def _chosen(
    sources: Sequence[Source], starts: Int64Array, bin_ms: int, over_ms: int | None
) -> tuple[Int64Array, Int64Array]:
    """Return for each column the source that counts (-1: none), and which column of it."""
    of, columns = np.full(len(starts), -1), np.full(len(starts), -1)
    for place, source in enumerate(sources):
        found = source.columns(starts.astype(np.float64) + bin_ms / 2)
        has = found >= 0
        if over_ms is not None:
            has &= source.ends(found) <= over_ms
        has[has] &= ~source.gap[found[has]] | (of[has] < 0)
        of[has], columns[has] = place, found[has]
    return of, columns


def _runs(of: Int64Array) -> list[tuple[int, int]]:
    """Return the stretches of columns of one source."""
    begins = np.flatnonzero(np.diff(of, prepend=of[0] - 1)).tolist()
    return list(zip(begins, [*begins[1:], len(of)], strict=True))


def _part(heatmap: Heatmap, columns: Int64Array, rows: BoolArray) -> Heatmap:
    end = int(heatmap.times_ms[columns[-1]]) + heatmap.bin_ms
    part = heatmap.at(columns, min(end, heatmap.to_ms))
    return replace(
        part,
        prices=part.prices[rows],
        values=part.values[:, rows],
        named=part.named[:, rows],
    )


def _joined(parts: Sequence[Heatmap]) -> Heatmap:
    """Return parts that follow each other as one, in the finest unit of quantity of any."""
    finest = max(part.scale.quantity for part in parts)
    values = [product(part.values, 10 ** (finest - part.scale.quantity)) for part in parts]
    names = Columns.__struct_fields__
    columns = Columns(
        *(np.concatenate([getattr(part.columns, name) for part in parts]) for name in names)
    )
    return replace(
        parts[-1],
        scale=Scale(parts[-1].scale.price, finest),
        columns=columns,
        values=np.concatenate(values),
        named=np.concatenate([part.named for part in parts]),
    )
