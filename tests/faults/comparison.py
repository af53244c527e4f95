"""What a data folder holds in the end, held against what was sent and acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import level_texts
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from tests.faults.market import MARKET, SYMBOL, Wire
from tests.faults.probe import Probe
from tests.faults.program import running
from tests.faults.trade_comparison import TradeFindings, compare_trades

# The recorder began with a snapshot of its own: of what lies further out it may know less.
_COMPARED_LEVELS = 1_000


@dataclass
class Findings:
    """What was compared: numbers of events, how segments ended, and gaps by their causes."""

    acknowledged: int = 0
    stored: int = 0
    archived: int = 0
    lost_in_gaps: int = 0
    ends: list[str] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)
    trades: TradeFindings = field(default_factory=TradeFindings)
    timeline: Timeline = field(default_factory=lambda: Timeline((), ()), repr=False)


async def compare(data_dir: Path, wire: Wire, probe: Probe) -> Findings:
    """Check a recording that no process works on; raises `AssertionError`.

    `verify` passes. What was acknowledged to `probe` is there, as it was sent, and so is the book
    after the last event. What was sent between the first and the last event and is not there lies
    in a gap. The same holds of trades.
    """
    acknowledged = probe.seen
    async with running(data_dir, "verify", SYMBOL) as verify:
        assert await verify.until_ended(120) == 0, verify.said
    findings = Findings(acknowledged=len(acknowledged))
    async with DatabaseServer(data_dir) as server:
        database = Database("book")
        database.connect(server.dsn)
        try:
            stored = await compare_recording(Recording(database, MARKET), wire, findings)
            findings.trades = await compare_trades(database, MARKET, wire.trades, probe.trades)
        finally:
            database.close()
    missing = acknowledged.keys() - stored.keys()
    assert not missing, f"{len(missing)} acknowledged events are lost: {sorted(missing)[:5]}"
    return findings


async def compare_recording(
    recording: Recording, wire: Wire, findings: Findings
) -> dict[int, bytes]:
    """Hold a recording against what was sent; return every event that is stored."""
    stored = await _events_in_order(recording)
    findings.stored = len(stored)
    async with aclosing(recording.loose()) as chunks:
        async for chunk in chunks:
            stored.update(zip(chunk.numbers.final_ids.tolist(), chunk.payloads(), strict=True))
    changed = [final_id for final_id, text in stored.items() if wire.payloads.get(final_id) != text]
    assert not changed, f"{len(changed)} events are not as they were sent: {changed[:5]}"
    segments = await recording.segments()
    findings.ends = [_end_of(one.segment) for one in segments]
    findings.archived = sum(one.archived_events for one in segments)
    findings.timeline = timeline = await recording.timeline()
    findings.gaps = Counter(gap.cause.value for gap in timeline.gaps)
    findings.lost_in_gaps = _missing_in_gaps(timeline, wire, stored)
    image = await recording.book_at(timeline.covers[-1].to_ms)
    truth = wire.book_at(image.last_update_id)
    bids, asks = (levels[:_COMPARED_LEVELS] for levels in level_texts(encode_image(image)))
    assert decimals(bids) == sorted(truth.bids.items(), reverse=True)[: len(bids)], "bids differ"
    assert decimals(asks) == sorted(truth.asks.items())[: len(asks)], "asks differ"
    return stored


def decimals(levels: Sequence[tuple[str, str]]) -> list[tuple[Decimal, Decimal]]:
    """Return levels as numbers."""
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def _end_of(segment: Segment) -> str:
    cause = "running" if segment.end_cause is None else segment.end_cause.value
    return f"{cause} {segment.end_detail}".strip()


async def _events_in_order(recording: Recording) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    async with aclosing(recording.slices()) as slices:
        async for piece in slices:
            ids = piece.chunk.numbers.final_ids.tolist()[piece.begin : piece.end]
            assert not found.keys() & set(ids), "an event came twice"
            found.update(zip(ids, piece.chunk.payloads()[piece.begin : piece.end], strict=True))
    return found


def _missing_in_gaps(timeline: Timeline, wire: Wire, stored: Mapping[int, bytes]) -> int:
    """Return how many events that were sent are not stored; each must lie in a gap."""
    first, last = timeline.covers[0].after_id, timeline.covers[-1].last_id
    missing = [one for one in wire.payloads if first < one <= last and one not in stored]
    for final_id in missing:
        assert any(gap.first_missing <= final_id <= gap.last_missing for gap in timeline.gaps), (
            f"event {final_id} is missing, and no gap says so"
        )
    return len(missing)
