"""Trades put into a database by hand: in batches, in the archive, and claimed by runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

import msgspec

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_chunks import proven_document
from orderbook_desktop.storage.store.trade_documents import batch_document
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from tests.storage.made_trades import received

_numbers = count()


async def claim(
    database: Database,
    trades: Sequence[Trade],
    cause: GapCause | None = GapCause.USER,
    origin: TradeOrigin = TradeOrigin.RECORDER,
) -> TradeRun:
    """Store the run of `trades`."""
    times = [trade.event_ms for trade in trades]
    ids = trades[0].trade_id, trades[-1].trade_id
    key, market = f"{next(_numbers):024x}", trades[0].market
    run = TradeRun(key, market, *ids, min(times), max(times), origin, cause)
    await TradeRuns(database).put([run], new=True)
    return run


async def archive(
    database: Database, trades: Sequence[Trade], run: TradeRun, size: int = 10
) -> None:
    """Put `trades` into chunks of `size`, as an archiver leaves the run of them."""
    for begin in range(0, len(trades), size):
        await put(database, trades[begin : begin + size], archived=True)
    runs = TradeRuns(database)
    await runs.archived(run.id, run.first_id - 1, trades[-1].trade_id)
    if run.end_cause is not None and trades[-1].trade_id == run.last_id:
        (stored,) = [one for one in await runs.of(run.market) if one.id == run.id]
        await runs.change(stored, {"to_archive": False})


async def put(database: Database, trades: Sequence[Trade], *, archived: bool = False) -> None:
    """Store a part of a recording, without a run."""
    name = "trade_chunks" if archived else "trade_events"
    document = proven_document(trades) if archived else batch_document(trades)
    await database.collection(name).insert_one(document)


async def recorded(database: Database, trades: Sequence[Trade]) -> None:
    """Store a run: the first half in the archive, the rest in two batches that overlap."""
    middle, later = len(trades) // 2, 3 * len(trades) // 4
    await put(database, trades[:middle], archived=True)
    await put(database, trades[middle:later])
    await put(database, trades[later - 2 :])
    await claim(database, trades)


def traded(trade_id: int, event: DepthDiff, price: str, before_ms: int = 50) -> Trade:
    """A trade at `price`, shortly before a depth event."""
    return received(trade_id, p=price, T=event.event_ms - before_ms)


def touching(events: Iterable[DepthDiff], first_id: int = 1) -> list[Trade]:
    """A trade for each event, at a price that the event changes."""
    return [
        traded(
            trade_id, event, msgspec.json.decode(event.payload)["b" if event.bids else "a"][0][0]
        )
        for trade_id, event in enumerate(events, first_id)
    ]
