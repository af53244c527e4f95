"""Removes trades of a span of time, or an import of them, on a person's request.

Whole chunks are removed. Of each run that reaches into them, what comes before is first stored as
an ended run of its own; then the run itself begins after them, or has no trades any more. The rest
is a cut like any other (`storage.store.trade_cuts`), so a kill at any point does no harm, and the
same request goes on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeRun, counted_ids
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease
from orderbook_desktop.storage.store.trade_cuts import finish_cuts
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns

REMOVED: Final = "What followed was removed on request."


class TradeRemoval(Struct, frozen=True):
    """What goes of a market's trades: the ids `first_id` to `last_id` of `runs`.

    `is_settled` is false if some of it is being recorded, and not archived yet. `trades` is how
    many are not stored any more afterwards; others may stay, since another run has them, too.
    """

    runs: Sequence[StoredRun] = ()
    first_id: int = 0
    last_id: int = -1
    trades: int = 0
    span_ms: tuple[int, int] | None = None
    is_settled: bool = True


async def find_trades(
    database: Database,
    market: str,
    from_ms: int | None,
    to_ms: int | None,
    import_id: str | None = None,
) -> TradeRemoval:
    """Return which trades go from `from_ms` to before `to_ms` (None: no limit).

    With `import_id` only those of that run. Raises PyMongo's errors and `DamagedDocument`.
    """
    every = [one for one in await TradeRuns(database).of(market) if one.run.count]
    runs = [one for one in every if import_id in (None, one.id)]
    if not runs:
        return TradeRemoval()
    reader = DatabaseTrades(database)
    first_id, last_id = await _ids_between(reader, runs, from_ms, to_ms)
    if first_id > last_id:
        return TradeRemoval()
    first_id, last_id = await _whole_chunks(reader, market, first_id, last_id)
    met = [one for one in runs if one.run.first_id <= last_id and one.run.last_id >= first_id]
    if not met:
        return TradeRemoval()
    others = [one.run for one in every if one not in met]
    left = [rest for one in met for rest in _rests(one.run, first_id, last_id)]
    begin = max(first_id, min(one.run.first_id for one in met))
    end = min(last_id, max(one.run.last_id for one in met))
    running = [one for one in met if one.is_running]
    is_settled = not any(one.run.last_id <= last_id for one in running) and not (
        running and await reader.batches(market, first_id, last_id)
    )
    return TradeRemoval(
        met,
        *(first_id, last_id),
        counted_ids(one.run for one in every) - counted_ids([*others, *left]),
        (await _time_of(reader, market, begin), await _time_of(reader, market, end)),
        is_settled,
    )


async def remove_trades(database: Database, market: str, removal: TradeRemoval) -> bool:
    """Remove what `find_trades` has found; return false if another process archives some of it.

    Raises PyMongo's errors.
    """
    lease, reader = ArchiveLease(database), DatabaseTrades(database)
    batches = await reader.batches(market, removal.first_id, removal.last_id)
    if batches and await lease.hold(market) is None:
        return False
    try:
        await _remove(database, market, removal)
    finally:
        await lease.release(market)
    return True


async def _remove(database: Database, market: str, removal: TradeRemoval) -> None:
    runs, reader = TradeRuns(database), DatabaseTrades(database)
    for stored in removal.runs:
        run = stored.run
        if run.first_id < removal.first_id:
            last_id = removal.first_id - 1
            before = _before(run, last_id, await _time_of(reader, market, last_id))
            await runs.put([before], new=True)
        first_id = min(removal.last_id, run.last_id) + 1
        is_over = first_id > run.last_id
        from_ms = run.to_ms if is_over else await _time_of(reader, market, first_id)
        await runs.cut(stored, first_id, from_ms)
    await finish_cuts(database, market)
    for stored in await runs.of(market):
        if stored.run.last_id == removal.first_id - 1 and not stored.is_running:
            # A gap begins here now.
            cause = {"end_cause": GapCause.USER.value, "end_detail": REMOVED}
            await runs.change(stored, cause)


def _before(run: TradeRun, last_id: int, to_ms: int) -> TradeRun:
    """Return the part of a run through `last_id`, as an ended run of its own."""
    # The same request gives the same id, so that it can go on after a kill.
    key = hashlib.blake2b(f"{run.id}:{last_id}".encode(), digest_size=12).hexdigest()
    ends: dict[str, Any] = {"end_cause": GapCause.USER, "end_detail": REMOVED}
    return replace(run, id=key, last_id=last_id, to_ms=to_ms, **ends)


def _rests(run: TradeRun, first_id: int, last_id: int) -> Iterator[TradeRun]:
    """Yield what is left of a run without these ids."""
    if run.first_id < first_id:
        yield replace(run, last_id=first_id - 1)
    if run.last_id > last_id:
        yield replace(run, first_id=last_id + 1)


async def _ids_between(
    reader: DatabaseTrades, runs: Sequence[StoredRun], from_ms: int | None, to_ms: int | None
) -> tuple[int, int]:
    """Return the first and the last id of `runs`, of one market, from a time to before another."""
    market = runs[0].run.market
    first_id = min(one.run.first_id for one in runs)
    last_id = max(one.run.last_id for one in runs)
    if from_ms is not None:
        found = await reader.first_id_at(market, from_ms)
        first_id = last_id + 1 if found is None else max(first_id, found)
    if to_ms is not None:
        found = await reader.first_id_at(market, to_ms)
        last_id = last_id if found is None else min(last_id, found - 1)
    return first_id, last_id


async def _whole_chunks(
    reader: DatabaseTrades, market: str, first_id: int, last_id: int
) -> tuple[int, int]:
    """Return the first and the last id of the chunks that these ids are in."""
    begins = await reader.chunks(market, first_id, first_id)
    ends = await reader.chunks(market, last_id, last_id)
    return (
        min([first_id, *(part.first_id for part in begins)]),
        max([last_id, *(part.last_id for part in ends)]),
    )


async def _time_of(reader: DatabaseTrades, market: str, trade_id: int) -> int:
    """Return the time of a stored trade; 0 if it is not there."""
    async with aclosing(reader.stored(market, trade_id, trade_id)) as found:
        async for piece in found:
            return int(piece.arrays.times_ms[0])
    return 0
