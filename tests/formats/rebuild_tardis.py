"""Rebuilds books from Tardis CSV by its published rules; knows nothing of this project."""

import csv
import gzip
import sys
from collections.abc import Iterator
from decimal import Decimal

Side = dict[Decimal, Decimal]


def books(path: object) -> Iterator[tuple[int, Side, Side]]:
    """Yield (timestamp in µs, bids, asks) whenever the book is consistent."""
    sides: dict[str, Side] = {}
    before: dict[str, str] = {}
    with (gzip.open if str(path).endswith(".gz") else open)(str(path), "rt") as file:
        for row in csv.DictReader(file):
            if before and row["local_timestamp"] != before["local_timestamp"]:
                yield int(before["timestamp"]), sides["bid"], sides["ask"]
            if row["is_snapshot"] == "true" and before.get("is_snapshot") != "true":
                sides = {"bid": {}, "ask": {}}
            sides[row["side"]][Decimal(row["price"])] = Decimal(row["amount"])
            if Decimal(row["amount"]) == 0:
                del sides[row["side"]][Decimal(row["price"])]
            before = row
    yield int(before["timestamp"]), sides["bid"], sides["ask"]


if __name__ == "__main__":
    for time, bids, asks in books(sys.argv[1]):
        print(time, max(bids), min(asks))
