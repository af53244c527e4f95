"""The trades that a database holds in the end, held against what was sent and acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from orderbook_desktop.core.trade_coverage import TradeGap, gaps_between
from orderbook_desktop.core.trades import Trade, decode_trade, is_same_trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades


@dataclass
class TradeFindings:
    """What was compared: numbers of trades and of runs, and gaps by their causes."""

    sent: int = 0
    acknowledged: int = 0
    stored: int = 0
    repaired_count: int = 0
    lost_in_gaps: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    repaired: frozenset[int] = field(default=frozenset(), repr=False)


async def compare_trades(
    database: Database, market: str, sent: Mapping[int, bytes], acknowledged: Mapping[int, Trade]
) -> TradeFindings:
    """Check the trades of a recording that no process works on; raises `AssertionError`.

    What was acknowledged is there, as it was sent. What was sent between the first and the last
    stored trade and is not there lies in a gap, whose cause its run names.
    """
    reader = DatabaseTrades(database)
    runs = await reader.runs(market)
    gaps = gaps_between(runs)
    stored = await _stored(reader, market)
    _check_texts(stored, sent)
    missing = acknowledged.keys() - stored.keys()
    assert not missing, f"{len(missing)} acknowledged trades are lost: {sorted(missing)[:5]}"
    _check_acknowledged(stored, acknowledged)
    repaired = frozenset(key for key, trade in stored.items() if trade.is_repaired)
    return TradeFindings(
        *(len(sent), len(acknowledged), len(stored), len(repaired)),
        _missing_in_gaps(stored, sent, gaps),
        Counter(run.origin.value for run in runs),
        Counter(gap.cause.value for gap in gaps),
        repaired,
    )


async def _stored(reader: DatabaseTrades, market: str) -> dict[int, Trade]:
    found: dict[int, Trade] = {}
    async with aclosing(reader.trades(market, 0, INT64_MAX)) as pieces:
        async for piece in pieces:
            trades = {trade.trade_id: trade for trade in piece.trades()}
            assert len(trades) == len(piece), "a trade came twice"
            assert not found.keys() & trades.keys(), "a trade came twice"
            found |= trades
    assert list(found) == sorted(found), "the trades are not in order"
    return found


def _check_texts(stored: Mapping[int, Trade], sent: Mapping[int, bytes]) -> None:
    changed = [
        trade_id
        for trade_id, trade in stored.items()
        if trade_id not in sent
        or not is_same_trade(trade, decode_trade(sent[trade_id]))
        or not (trade.is_repaired or trade.payload == sent[trade_id])
    ]
    assert not changed, f"{len(changed)} trades are not as they were sent: {changed[:5]}"


def _check_acknowledged(stored: Mapping[int, Trade], acknowledged: Mapping[int, Trade]) -> None:
    """A trade that was received keeps its receive time: an answer does not take its place."""
    replaced = [
        trade_id
        for trade_id, trade in acknowledged.items()
        if stored[trade_id].is_repaired and not trade.is_repaired
    ]
    assert not replaced, f"{len(replaced)} received trades were replaced: {replaced[:5]}"


def _missing_in_gaps(
    stored: Mapping[int, Trade], sent: Mapping[int, bytes], gaps: list[TradeGap]
) -> int:
    """Return how many trades that were sent are not stored; each must lie in a gap."""
    if not stored:
        assert not sent, "no trade is stored"
        return 0
    first, last = min(stored), max(stored)
    missing = [one for one in sent if first < one < last and one not in stored]
    for trade_id in missing:
        assert any(gap.after_id < trade_id < gap.before_id for gap in gaps), (
            f"trade {trade_id} is missing, and no gap says so"
        )
    listed = sum(gap.missing for gap in gaps)
    assert listed == len(missing), f"the gaps tell of {listed} trades, not of {len(missing)}"
    return len(missing)
