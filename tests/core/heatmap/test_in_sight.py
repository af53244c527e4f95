"""The exact cells of a view are those that it shows, from whichever source that is."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.in_sight import cells_in_sight
from orderbook_desktop.core.heatmap.sources import Source
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.units import Scale
from tests.core.heatmap.made_cells import cells_for, recorded
from tests.core.heatmap.test_plot import BEGIN, COVERAGE, MID, wish

WIDE = View(BEGIN, BEGIN + 100_000, 9_000, 11_000)


def seen(view: View, *sources: Source) -> Heatmap:
    found = cells_in_sight(sources, view)
    assert found is not None
    return found


def test_a_view_has_the_columns_and_rows_that_it_touches() -> None:
    cells = cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID)
    view = View(BEGIN + 10_500, BEGIN + 20_001, 9_995, 10_020)
    part = seen(view, Source(cells, exponent=8))
    assert part.times_ms.tolist() == list(range(BEGIN + 10_000, BEGIN + 21_000, 1_000))
    assert part.prices.tolist() == [9_990, 10_000, 10_010]
    assert part.to_ms == BEGIN + 21_000
    rows = np.searchsorted(cells.prices, part.prices)
    assert (part.values == cells.values[10:21][:, rows]).all()
    assert (part.named == cells.named[10:21][:, rows]).all()
    # A view in finer units shows the same.
    fine = View(view.from_ms, view.to_ms, view.low * 100, view.high * 100, 10)
    assert (seen(fine, Source(cells, exponent=10)).values == part.values).all()


def test_the_later_source_counts_where_it_has_a_book() -> None:
    older = cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID)
    newer = cells_for(wish(WIDE, 10, 1_000), recorded("BTCUSDT", BEGIN + 50_000, BEGIN + 90_000), 0)
    part = seen(View(BEGIN, BEGIN + 100_000, 0, 20_000), Source(older), Source(newer))
    is_newer = (part.times_ms >= BEGIN + 50_000) & (part.times_ms < BEGIN + 90_000)
    assert (part.values[is_newer] == newer.values[50:90]).all()
    assert (part.values[~is_newer] == np.delete(older.values, np.s_[50:90], axis=0)).all()


def test_what_was_not_read_is_left_out_and_so_are_other_bins() -> None:
    coarse = cells_for(wish(WIDE, 10, 5_000), COVERAGE, MID)
    fine = cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID)
    pending = ((BEGIN, BEGIN + 60_000),)
    part = seen(WIDE, Source(coarse), Source(fine, pending))
    assert part.bin_ms == 1_000
    assert part.times_ms.tolist() == list(range(BEGIN + 60_000, BEGIN + 100_000, 1_000))


def test_sources_of_other_units_of_quantity_are_saved_in_the_finest() -> None:
    older = cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID)
    newer = cells_for(wish(WIDE, 10, 1_000), recorded("BTCUSDT", BEGIN + 50_000, BEGIN + 90_000), 0)
    finer = replace(
        newer, scale=Scale(newer.scale.price, newer.scale.quantity + 3), values=newer.values * 1_000
    )
    for sources in ((older, finer), (replace(older, scale=finer.scale), newer)):
        factors = [10 ** (finer.scale.quantity - one.scale.quantity) for one in sources]
        part = seen(View(BEGIN, BEGIN + 100_000, 0, 20_000), *map(Source, sources))
        assert part.scale == finer.scale
        is_newer = (part.times_ms >= BEGIN + 50_000) & (part.times_ms < BEGIN + 90_000)
        assert is_newer.sum() == 40
        assert (~is_newer).any()
        assert (part.values[is_newer] == sources[1].values[50:90] * factors[1]).all()
        expected = np.delete(sources[0].values, np.s_[50:90], axis=0) * factors[0]
        assert (part.values[~is_newer] == expected).all()


def test_nothing_of_after_the_clock_is_saved() -> None:
    cells = Source(cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID))
    for over_ms, count in ((59_500, 59), (60_000, 60)):
        part = cells_in_sight([cells], WIDE, BEGIN + over_ms)
        assert part is not None
        assert len(part.columns) == count
        assert part.to_ms == BEGIN + count * 1_000
    assert cells_in_sight([cells], WIDE, BEGIN + 500) is None


def test_there_may_be_nothing() -> None:
    cells = Source(cells_for(wish(WIDE, 10, 1_000), COVERAGE, MID))
    assert cells_in_sight([], WIDE) is None
    assert cells_in_sight([cells], View(0, 1_000, 9_000, 11_000)) is None
    assert cells_in_sight([cells], View(BEGIN, BEGIN + 1_000, 50_000, 51_000)) is None
