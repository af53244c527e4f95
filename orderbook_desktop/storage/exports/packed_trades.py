"""Packs the trades of a market into a file, as they are stored: chunks, batches, and their runs.

A batch whose trades are all in chunks is left out: an archiver was about to remove it. A run that
goes on ends in the file with the last trade that is stored now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import Covered, TradeRun, covered
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.packed_store import PackedRecords
from orderbook_desktop.storage.store.trade_documents import TRADES_A_BATCH
from orderbook_desktop.storage.store.trade_reader import grown
from orderbook_desktop.storage.store.trade_store import TradePart, TradeStore
from orderbook_desktop.system.tasks import in_thread

# How a run ends in the file that goes on in the recording, or that the file has a part of.
_WENT_ON: Final = "It went on when it was packed."
_PART: Final = "Only a part of it was packed."
_IDS_AT_ONCE: Final = 10_000


class MissingTrades(DatabaseError):
    """The trade `trade_id` of `market` is missing, though a run claims it."""

    market: str
    trade_id: int

    def __str__(self) -> str:
        return (
            f"{self.market}: the trade {self.trade_id} is missing, so the trades can't be packed; "
            "see `verify`, or pack again if the recording was just cut."
        )


class TradePacker:
    """Packs the trades of `market`: whole parts that have a trade from `from_ms` to before `to_ms`.

    `is_live`: a process records them.
    """

    def __init__(
        self,
        store: TradeStore,
        records: PackedRecords,
        market: str,
        span_ms: tuple[int | None, int | None],
        *,
        is_live: bool,
    ) -> None:
        self._store = store
        self._records = records
        self._market = market
        self._from_ms, self._to_ms = span_ms
        self._is_live = is_live
        # The ids that were packed, and those that are in chunks.
        self._packed: list[TradeRun] = []
        self._archived: list[TradeRun] = []
        self._written = (-1, -1)

    async def run(self) -> int:
        """Pack them; return how many trades these were. Raises as reading them does."""
        found = await self._store.runs(self._market)
        runs = [await self._ended(run) for run in found if run.count]
        stretches = covered(runs)
        for stretch in stretches:
            await self._pack_parts(stretch)
        packed, archived = covered(self._packed), covered(self._archived)
        if (self._from_ms, self._to_ms) == (None, None):
            self._check_whole(stretches, packed)
        parts = [part for run in runs for part in _parts_of(run, packed)]
        for part in sorted(parts, key=lambda part: (part.first_id, part.last_id, part.id)):
            is_archived = any(
                ids.first_id <= part.first_id and part.last_id <= ids.last_id for ids in archived
            )
            self._records.put_trade_run(part, is_archived=is_archived)
        return sum(ids.last_id - ids.first_id + 1 for ids in packed)

    def _check_whole(self, claimed: Sequence[Covered], packed: Sequence[Covered]) -> None:
        """Raise `MissingTrades` if not all that is claimed was packed."""
        for ids in claimed:
            has = next((one for one in packed if one.first_id <= ids.first_id <= one.last_id), None)
            if has is None or has.last_id < ids.last_id:
                raise MissingTrades(self._market, ids.first_id if has is None else has.last_id + 1)

    async def _ended(self, run: TradeRun) -> TradeRun:
        """Return a run as it is when it ends with the last trade that is stored now."""
        if run.end_cause is not None:
            return run
        cause, detail = (GapCause.USER, _WENT_ON) if self._is_live else (GapCause.CRASH, "")
        return replace(await grown(self._store, run), end_cause=cause, end_detail=detail)

    async def _pack_parts(self, stretch: Covered) -> None:
        """Pack the parts that have trades of a stretch."""
        for first_id in range(stretch.first_id, stretch.last_id + 1, _IDS_AT_ONCE):
            last_id = min(first_id + _IDS_AT_ONCE - 1, stretch.last_id)
            # With the chunks that a batch may reach into.
            found = await self._store.parts(self._market, first_id, last_id + TRADES_A_BATCH)
            archived = covered(_claim(part) for part in found if part.is_archived)
            wanted = [
                part
                for part in sorted(found, key=_ids_of)
                if part.first_id <= last_id
                and self._is_wanted(part)
                and (part.is_archived or not _are_in(archived, part))
            ]
            await in_thread(self._write, [part for part in wanted if _ids_of(part) > self._written])
            self._packed += (_claimed(part, stretch) for part in wanted)
            self._archived += (_claim(part) for part in wanted if part.is_archived)

    def _write(self, parts: Iterable[TradePart]) -> None:
        """Write parts, each of which is proven. Raises what damage raises."""
        for part in parts:
            part.unpack()
            self._records.put_trade_part(part)
            self._written = _ids_of(part)

    def _is_wanted(self, part: TradePart) -> bool:
        begins = self._to_ms is None or part.from_ms < self._to_ms
        return begins and (self._from_ms is None or part.to_ms >= self._from_ms)


def _ids_of(part: TradePart) -> tuple[int, int]:
    return part.first_id, part.last_id


def _claim(part: TradePart) -> TradeRun:
    return TradeRun(part.key, "", part.first_id, part.last_id, part.from_ms, part.to_ms)


def _claimed(part: TradePart, stretch: Covered) -> TradeRun:
    """Return the ids of a part that runs claim."""
    first_id, last_id = max(part.first_id, stretch.first_id), min(part.last_id, stretch.last_id)
    return replace(_claim(part), first_id=first_id, last_id=last_id)


def _are_in(stretches: Sequence[Covered], part: TradePart) -> bool:
    return any(ids.first_id <= part.first_id and part.last_id <= ids.last_id for ids in stretches)


def _parts_of(run: TradeRun, packed: Sequence[Covered]) -> Iterator[TradeRun]:
    """Yield what of a run was packed, nearly always one part or none."""
    for number, ids in enumerate(ids for ids in packed if _meets(run, ids)):
        part = run
        if number:
            digest = hashlib.blake2b(f"{run.id}:{ids.first_id}".encode(), digest_size=12)
            part = replace(part, id=digest.hexdigest())
        if ids.first_id > run.first_id:
            part = replace(part, first_id=ids.first_id, from_ms=ids.from_ms)
        if ids.last_id < run.last_id:
            part = replace(part, last_id=ids.last_id, to_ms=ids.to_ms, end_cause=GapCause.USER)
            part = replace(part, end_detail=_PART)
        yield part


def _meets(run: TradeRun, ids: Covered) -> bool:
    return run.first_id <= ids.last_id and ids.first_id <= run.last_id
