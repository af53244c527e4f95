"""The exact cells of a heatmap in files: what is there, what is not known, and gaps."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.formats.heatmap_files import write_csv, write_npz
from tests.core.heatmap.test_cells import made_of, span_with


def test_csv_has_a_row_for_each_cell_that_is_not_empty() -> None:
    known = Horizon(10_000, 10_200)
    levels = [(10_000, 150_000_000, False), (10_200, 7, True), (10_500, 3, True)]
    span = span_with(levels, until_ms=130, horizon=known)
    heatmap = made_of([span], TimeBins(0, 300, 100), 100, Statistic.INTEGRAL, rows=(100, 7))
    file = io.BytesIO()
    write_csv(heatmap, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue().decode())))
    assert [list(row.values()) for row in rows] == [
        ["0", "100", "0.0001", "150", "yes"],
        ["0", "100", "0.000102", "0.000007", "yes"],
        ["0", "100", "0.000103", "", "no"],
        ["0", "100", "0.000104", "", "no"],
        ["0", "100", "0.000105", "0.000003", "lower bound"],
        ["0", "100", "0.000106", "", "no"],
        ["100", "30", "0.0001", "45", "yes"],
        ["100", "30", "0.000102", "0.0000021", "yes"],
        ["100", "30", "0.000103", "", "no"],
        ["100", "30", "0.000104", "", "no"],
        ["100", "30", "0.000105", "0.0000009", "lower bound"],
        ["100", "30", "0.000106", "", "no"],
        ["200", "0", "", "", "gap"],
    ]


@pytest.mark.parametrize("statistic", list(Statistic))
def test_npz_has_all_arrays_also_of_sums_beyond_64_bits(statistic: Statistic) -> None:
    span = span_with([(100 + n, INT64_MAX, True) for n in range(9)], horizon=Horizon(None, 103))
    heatmap = made_of([span], TimeBins(0, 200, 50), 5, statistic)
    file = io.BytesIO()
    write_npz(heatmap, file)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        values = found["high"].astype(object) * 2**32 + found["low"]
        assert values.tolist() == heatmap.values.tolist()
        assert str(found["statistic"]) == statistic
        for name in ("prices", "times_ms", "covered_ms", "gap", "unknown", "lower_bound"):
            assert found[name].tolist() == getattr(heatmap, name).tolist()
        for name in ("first_ids", "last_ids", "best_bids", "best_asks", "known_from", "known_to"):
            assert found[name].tolist() == getattr(heatmap.columns, name).tolist()
        assert (int(found["step"]), int(found["bin_ms"])) == (5, 50)
        assert (int(found["price_exponent"]), str(found["market"])) == (8, "BTCUSDT")
