"""A heatmap by brute force, from the rows of an export (Tardis' `incremental_book_L2`)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from orderbook_desktop.core.heatmap.cells import Heatmap

Cells = dict[tuple[int, int], Decimal]
Covers = Iterable[tuple[int, int]]


def heatmap_of_csv(
    path: Path, covers: Covers, span: tuple[int, int], step: Decimal, bin_ms: int
) -> dict[str, Cells]:
    """The quantities by column and row, and under "covered" the covered ms of columns (row 0).

    `covers` are the times in which the book is known: a file of rows does not say when a run ends.
    """
    moments: list[tuple[int, bool, dict[int, Decimal]]] = []
    book: dict[tuple[str, Decimal], Decimal] = {}
    with path.open(newline="") as file:
        keys = ("timestamp", "local_timestamp", "is_snapshot")
        for key, rows in groupby(csv.DictReader(file), lambda row: [row[name] for name in keys]):
            if key[2] == "true":
                book.clear()
            for row in rows:
                book[row["side"], Decimal(row["price"])] = Decimal(row["amount"])
            sums: dict[int, Decimal] = {}
            for (_, price), amount in book.items():
                sums[int(price // step)] = sums.get(int(price // step), Decimal()) + amount
            moments.append((int(key[0]) // 1000, key[2] == "false", sums))
    cells: dict[str, Cells] = {"last": {}, "max": {}, "integral": {}, "covered": {}}
    until = [time for time, _, _ in moments[1:]] + [span[1]]
    for (time, is_event, sums), end in zip(moments, until, strict=True):
        stands = [(max(a, time, span[0]), min(b, end, span[1])) for a, b in covers]
        stands = [(a, b) for a, b in stands if a < b]
        columns = {(time - span[0]) // bin_ms} if is_event and span[0] <= time < span[1] else set()
        for a, b in stands:
            columns |= set(range((a - span[0]) // bin_ms, (b - 1 - span[0]) // bin_ms + 1))
        for column in sorted(columns):
            first = span[0] + column * bin_ms
            ms = sum(max(0, min(b, first + bin_ms) - max(a, first)) for a, b in stands)
            cells["covered"][column, 0] = cells["covered"].get((column, 0), Decimal()) + ms
            for old in [cell for cell in cells["last"] if cell[0] == column]:
                del cells["last"][old]
            for step_number, amount in sums.items():
                at = column, step_number
                cells["last"][at] = amount
                cells["max"][at] = max(amount, cells["max"].get(at, amount))
                cells["integral"][at] = cells["integral"].get(at, Decimal()) + amount * ms
    return {
        name: {at: value for at, value in kind.items() if value} for name, kind in cells.items()
    }


def decimal_cells(heatmap: Heatmap) -> Cells:
    """The cells of a heatmap that are not 0."""
    rows, scale = (heatmap.prices // heatmap.step).tolist(), heatmap.scale.quantity
    return {
        (column, rows[row]): Decimal(value).scaleb(-scale)
        for column, values in enumerate(heatmap.values.tolist())
        for row, value in enumerate(values)
        if value
    }
