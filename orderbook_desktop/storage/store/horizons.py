"""A horizon (`core.horizon`) as a field of a document: its ends as exact decimals, by name.

None says that it is not known how deep the book is known. An end that is None is no end.
"""

from __future__ import annotations

from orderbook_desktop.core.horizon import Horizon

Ends = dict[str, str | None]


def horizon_document(horizon: Horizon | None) -> Ends | None:
    """Return the stored form of `horizon`."""
    if horizon is None:
        return None
    lowest_bid, highest_ask = horizon.texts(0)
    return {"from": lowest_bid, "to": highest_ask}


def horizon_of(ends: Ends | None) -> Horizon | None:
    """Return the horizon that is stored as `ends`.

    Raises `KeyError`, `TypeError` or `MalformedMessage` if they are damaged.
    """
    return None if ends is None else Horizon.of_texts(ends["from"], ends["to"])
