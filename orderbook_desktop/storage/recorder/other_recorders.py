"""What other processes record in the same database just now."""

from __future__ import annotations

from orderbook_desktop.storage.database import Database
from orderbook_desktop.storage.failures import driver_failures_told
from orderbook_desktop.storage.recorder.owner import is_gone, is_ours
from orderbook_desktop.storage.schema import SEGMENTS


async def recorded_by_others(database: Database) -> frozenset[str]:
    """Return the markets that other processes record, as far as can be known.

    One on another machine that ended without a word counts until its segments are closed
    (`storage.recorder.recovery`). Raises `DatabaseFailed`.
    """
    fields = {"market": 1, "owner": 1}
    with driver_failures_told():
        running = database.collection(SEGMENTS).find({"end_cause": None}, fields)
        found = await running.to_list(None)
    others = (one for one in found if not is_ours(one) and not is_gone(one))
    # A damaged one may not say of what it is.
    return frozenset(one["market"] for one in others if "market" in one)
