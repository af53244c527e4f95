"""How many trades are stored, and how much room they take, without reading them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.trade_coverage import Covered, TradeRun, counted_ids, covered
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import TRADE_RUNS
from orderbook_desktop.storage.store.segment_documents import is_whole
from orderbook_desktop.storage.store.trade_store import TradePart, TradeStore

# What is read to know the size: so many windows of so many ids, spread over all of them.
_WINDOWS: Final = 4
_IDS_A_WINDOW: Final = 5_000


class TradeSize(Struct, frozen=True):
    """How many trades there are, and how many bytes they take.

    The bytes are exact where all parts could be read, else estimated from some of them.
    `archived_each` is how many a trade takes in the archive; 0: none of those is there.
    """

    trades: int = 0
    stored_bytes: int = 0
    archived_each: float = 0.0


async def trade_size(store: TradeStore, market: str, runs: Iterable[TradeRun]) -> TradeSize:
    """Return the size of the trades of `market`, whose runs are `runs`.

    Raises what the store raises.
    """
    stretches = covered(runs)
    trades = sum(stretch.last_id - stretch.first_id + 1 for stretch in stretches)
    if not trades:
        return TradeSize()
    parts: dict[str, TradePart] = {}
    for first_id, last_id in _windows(stretches, trades):
        found = await store.parts(market, first_id, last_id)
        parts |= {part.key: part for part in found}
    stored_bytes = sum(part.size for part in parts.values())
    if trades > _WINDOWS * _IDS_A_WINDOW:
        stored_bytes = round(trades * _bytes_each(parts.values()))
    archived = [part for part in parts.values() if part.is_archived]
    return TradeSize(trades, stored_bytes, _bytes_each(archived))


async def trade_counts(database: Database) -> dict[str, int]:
    """Return how many trades of each market runs claim. Raises PyMongo's errors."""
    fields = {"market": 1, "first_id": 1, "last_id": 1}
    found = await database.collection(TRADE_RUNS).find({}, fields).to_list(None)
    runs: defaultdict[str, list[TradeRun]] = defaultdict(list)
    for document in found:
        market, first_id, last_id = (document.get(name) for name in fields)
        # `verify` tells of a damaged run.
        if isinstance(market, str) and is_whole(first_id) and is_whole(last_id):
            runs[market].append(TradeRun(document["_id"], market, first_id, last_id, 0, 0))
    return {market: counted_ids(some) for market, some in runs.items()}


def _bytes_each(parts: Collection[TradePart]) -> float:
    """Return how many bytes a trade of `parts` takes; 0 if there are none."""
    trades = sum(part.last_id - part.first_id + 1 for part in parts)
    return sum(part.size for part in parts) / trades if trades else 0.0


def _windows(stretches: Sequence[Covered], trades: int) -> Iterator[tuple[int, int]]:
    """Yield the ids to look at: all of them, or some windows that are spread evenly."""
    if trades <= _WINDOWS * _IDS_A_WINDOW:
        for stretch in stretches:
            for first_id in range(stretch.first_id, stretch.last_id + 1, _IDS_A_WINDOW):
                yield first_id, min(first_id + _IDS_A_WINDOW - 1, stretch.last_id)
        return
    for window in range(_WINDOWS):
        # The last window ends with the newest trade.
        at = window * (trades - _IDS_A_WINDOW) // (_WINDOWS - 1)
        for stretch in stretches:
            count = stretch.last_id - stretch.first_id + 1
            if at < count:
                first_id = stretch.first_id + at
                yield first_id, min(first_id + _IDS_A_WINDOW - 1, stretch.last_id)
                break
            at -= count
