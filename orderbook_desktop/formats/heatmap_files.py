"""Writes the exact cells of a heatmap: as CSV, and as numpy's `.npz`."""

from __future__ import annotations

import io
from typing import BinaryIO, Final

import numpy as np

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.units import format_units

CSV_HEADER: Final = "begin_ms,covered_ms,price,value,known"


def write_csv(heatmap: Heatmap, file: BinaryIO) -> None:
    """Write one row per cell that is not known to be empty.

    `begin_ms` is when its column begins, and `covered_ms` for how many ms of it the book is known.
    `price` is the lowest one of the cell and `value` an exact decimal, of an integral times ms.
    `known` is `yes`, `lower bound`, or `no`, with an empty `value`. A column without a known
    millisecond is one row, `gap`, with an empty `price`.
    """
    text = io.TextIOWrapper(file, encoding="ascii", newline="", write_through=True)
    text.write(f"{CSV_HEADER}\r\n")
    scale = heatmap.scale
    prices = [format_units(price, scale.price, 0) for price in heatmap.prices.tolist()]
    unknown, bounds = heatmap.unknown, heatmap.lower_bound
    columns = zip(heatmap.times_ms.tolist(), heatmap.covered_ms.tolist(), strict=True)
    for number, (begin_ms, covered_ms) in enumerate(columns):
        if not covered_ms:
            text.write(f"{begin_ms},0,,,gap\r\n")
            continue
        values = heatmap.values[number]
        for row in ((values != 0) | unknown[number]).nonzero()[0].tolist():
            if unknown[number, row]:
                value, known = "", "no"
            else:
                value = format_units(int(values[row]), scale.quantity, 0)
                known = "lower bound" if bounds[number, row] else "yes"
            text.write(f"{begin_ms},{covered_ms},{prices[row]},{value},{known}\r\n")
    text.detach()


def write_npz(heatmap: Heatmap, file: BinaryIO) -> None:
    """Write all arrays of `heatmap`, named as in Python; a value is `high * 2**32 + low`.

    `best_bids` and `best_asks` are -1 where a side is empty. Prices are units of
    10^-`price_exponent`, values of 10^-`quantity_exponent`, of an integral times ms.
    """
    columns = heatmap.columns
    np.savez_compressed(
        file,
        market=np.array(heatmap.market),
        statistic=np.array(str(heatmap.statistic)),
        price_exponent=np.array(heatmap.scale.price),
        quantity_exponent=np.array(heatmap.scale.quantity),
        step=np.array(heatmap.step),
        bin_ms=np.array(heatmap.bin_ms),
        to_ms=np.array(heatmap.to_ms),
        times_ms=heatmap.times_ms,
        prices=heatmap.prices,
        high=heatmap.high,
        low=heatmap.low,
        covered_ms=heatmap.covered_ms,
        gap=heatmap.gap,
        unknown=heatmap.unknown,
        lower_bound=heatmap.lower_bound,
        first_ids=columns.first_ids,
        last_ids=columns.last_ids,
        best_bids=columns.best_bids,
        best_asks=columns.best_asks,
        known_from=columns.known_from,
        known_to=columns.known_to,
    )
