"""What was recorded, shown and told in the play, held against what really happened."""

from __future__ import annotations

import json
import re
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import payload_of
from tests.exchange.local.true_book import TrueBook
from tests.faults.chaos.audience import Sighting, WholeProbe, decimals
from tests.faults.chaos.plan import CAUSES, OF_DATABASE, Happened, Kind
from tests.faults.comparison import Findings, compare_recording
from tests.faults.market import Wire
from tests.faults.program import running
from tests.faults.trade_comparison import compare_trades

# A book that is called synced may be so old: what makes it stale, and a busy computer.
_OLDEST_SYNCED_MS = 15_000
# Between what the exchange dates and what is done here.
_SLACK_MS = 3_000
# A gap shows when patience with a silence is over, or a connection is found dead.
_SHOWS_WITHIN_MS = 30_000
_MOST_MB = {"recorder": 400.0, "viewer": 400.0, "database": 900.0, "exchange": 600.0}
# A recorder that is asked to end while the database stands still can't write everything: no bug.
_LOGGED_ERROR = re.compile(
    r"^\S+ \S+ \d+ (ERROR|CRITICAL) (?!.*events could not be written before the end)", re.MULTILINE
)
_VERIFIED_WITHIN_S = 120.0
# Where a start meets a full disk it may say so and end.
_ENDS = {0, 1, -signal.SIGKILL}
# From the second third of a long play to its last one the memory may grow by so much.
_GROWTH_SHARE, _GROWTH_MB = 0.1, 15.0
_SAMPLES_TO_COMPARE = 600


class _TrueWire(Wire):
    """The sent events. Its book is the true book, also where a false event was sent instead."""

    def __init__(self, book: TrueBook, true_payloads: Mapping[int, bytes]) -> None:
        super().__init__(book)
        self.payloads = dict(true_payloads)
        self._true = Wire(book)
        self._true.payloads = dict(true_payloads)

    def book_at(self, update_id: int) -> TrueBook:
        """Return the true book; ids may only rise from call to call."""
        return self._true.book_at(update_id)


@dataclass
class Truth:
    """What the exchange sent of one market: its first book, and its events and trades in order."""

    snapshot: dict[str, Any]
    payloads: dict[int, bytes] = field(default_factory=dict)
    times_ms: dict[int, int] = field(default_factory=dict)
    trades: dict[int, bytes] = field(default_factory=dict)
    # What came instead of an event, where a hostile exchange sent that.
    instead: dict[int, bytes] = field(default_factory=dict)

    def wire(self, received: Mapping[int, bytes]) -> Wire:
        """Return what was sent to a recorder that `received` this (some of it is hostile)."""
        wire = _TrueWire(TrueBook(self.snapshot), self.payloads)
        for final_id, payload in self.instead.items():
            if received.get(final_id) == payload:
                wire.payloads[final_id] = payload
        return wire


def read_truth(path: Path) -> dict[str, Truth]:
    """Return what the exchange wrote down, by market."""
    truths: dict[str, Truth] = {}
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b"{"):
                begun = json.loads(line)
                truths[begun["market"]] = Truth(begun["book"])
                continue
            head, final_id, event_ms, payload = line.rstrip(b"\n").split(b" ", 3)
            truth = truths[head.lstrip(b"!+").decode()]
            if head.startswith(b"+"):
                truth.trades[int(final_id)] = payload
            elif head.startswith(b"!"):
                truth.instead[int(final_id)] = payload
            else:
                truth.payloads[int(final_id)] = payload
                truth.times_ms[int(final_id)] = int(event_ms)
    return truths


@dataclass
class Verdict:
    """What does not hold, one sentence each, and what was counted."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)


def judge_sightings(
    verdict: Verdict, truths: Mapping[str, Truth], sightings: Iterable[Sighting]
) -> None:
    """Hold every book that was shown as synced against the true one at its update id."""
    by_market: dict[str, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_market[sighting.market].append(sighting)
    for market, seen in by_market.items():
        truth = truths[market]
        wire = truth.wire({})
        for sighting in sorted(seen, key=lambda one: one.update_id):
            verdict.counts["books seen"] += 1
            problem = _problem_of(sighting, truth, wire)
            if problem:
                verdict.faults.append(
                    f"{sighting.where} showed {market} as synced at {sighting.asked_ms} with "
                    f"update id {sighting.update_id}: {problem}"
                )


def _problem_of(sighting: Sighting, truth: Truth, wire: Wire) -> str:
    known_ms = truth.times_ms.get(sighting.update_id)
    if known_ms is None and sighting.update_id != truth.snapshot["lastUpdateId"]:
        return "no event ends there"
    if known_ms is not None and sighting.asked_ms - known_ms > _OLDEST_SYNCED_MS:
        return f"it was {(sighting.asked_ms - known_ms) / 1000:.0f} s old"
    book = wire.book_at(sighting.update_id)
    bids, asks = map(decimals, sighting.sides())
    if bids != sorted(book.bids.items(), reverse=True)[: len(bids)]:
        return "its bids are not the true ones"
    if asks != sorted(book.asks.items())[: len(asks)]:
        return "its asks are not the true ones"
    return ""


async def judge_recording(
    verdict: Verdict,
    data_dir: Path,
    truths: Mapping[str, Truth],
    probe: WholeProbe,
    happened: Sequence[Happened],
) -> None:
    """Hold what is stored against what was sent and acknowledged, and gaps against faults."""
    acknowledged, acknowledged_trades = probe.acknowledged, probe.acknowledged_trades
    async with DatabaseServer(data_dir) as server:
        database = Database("book")
        database.connect(server.dsn)
        try:
            for market, truth in truths.items():
                known = acknowledged.get(market, {})
                try:
                    findings = await _judge_market(database, market, truth, known)
                    known_trades = acknowledged_trades.get(market, {})
                    trades = await compare_trades(database, market, truth.trades, known_trades)
                except (AssertionError, KnownError) as error:
                    verdict.faults.append(f"{market}: {error}")
                    continue
                verdict.counts["events acknowledged"] += findings.acknowledged
                verdict.counts["events stored"] += findings.stored
                verdict.counts["events archived"] += findings.archived
                verdict.counts["events in gaps"] += findings.lost_in_gaps
                judge_gaps(verdict, market, findings.timeline.gaps, happened)
                verdict.counts["trades acknowledged"] += trades.acknowledged
                verdict.counts["trades stored"] += trades.stored
                verdict.counts["trades repaired"] += trades.repaired_count
                verdict.counts["trades in gaps"] += trades.lost_in_gaps
                for cause, count in trades.gaps.items():
                    verdict.gaps[f"{cause}, of trades"] += count
        finally:
            database.close()


async def _judge_market(
    database: Database, market: str, truth: Truth, acknowledged: Mapping[int, bytes]
) -> Findings:
    findings = Findings(acknowledged=len(acknowledged))
    wire = truth.wire(acknowledged)
    stored = await compare_recording(Recording(database, market), wire, findings)
    findings.stored = len(stored)
    unlisted = await _unlisted(database, market, acknowledged.keys() - stored.keys())
    changed = [one for one, text in unlisted.items() if acknowledged[one] != text]
    assert not changed, f"{len(changed)} events are not as they were sent: {changed[:5]}"
    missing = acknowledged.keys() - stored.keys() - unlisted.keys()
    assert not missing, f"{len(missing)} acknowledged events are lost: {sorted(missing)[:5]}"
    return findings


async def _unlisted(database: Database, market: str, ids: Iterable[int]) -> dict[int, bytes]:
    """Return those of the events `ids` that are stored, though nothing names them yet.

    A database that is stopped in the middle of a write finishes that when it goes on. The recorder
    may have ended meanwhile, and have told of a gap there.
    """
    query = {"market": market, "u": {"$in": sorted(ids)}}
    found = await database.collection("depth_events").find(query).to_list(None)
    return {one["u"]: payload_of(one) for one in found}


def judge_gaps(
    verdict: Verdict, market: str, gaps: Iterable[Gap], happened: Sequence[Happened]
) -> None:
    """Check that each gap names a cause that there was at that time."""
    for gap in gaps:
        verdict.gaps[gap.cause.value] += 1
        near = [one for one in happened if _is_near(one, market, gap)]
        if gap.cause not in _possible_causes(near):
            told = "; ".join(str(one.fault) for one in near) or "nothing"
            verdict.faults.append(
                f"{market}: the gap from {gap.from_ms} to {gap.to_ms} says: {gap.account}. "
                f"What happened then: {told}"
            )


def _is_near(one: Happened, market: str, gap: Gap) -> bool:
    # A frame that can't be read may have been of any market.
    is_unread = one.fault.kind in {Kind.MALFORMED, Kind.HOSTILE_FRAME}
    if one.fault.market not in ("", market) and not is_unread:
        return False
    reach = one.end_ms + _SHOWS_WITHIN_MS
    return one.begin_ms <= gap.to_ms + _SLACK_MS and reach >= gap.from_ms - _SLACK_MS


def _possible_causes(near: Sequence[Happened]) -> set[GapCause]:
    kinds = {one.fault.kind for one in near}
    causes = {cause for kind in kinds for cause in CAUSES.get(kind, ())}
    if Kind.STOP_RECORDER in kinds and kinds & OF_DATABASE:
        # What can't be written within seconds is given up: told, or found at the next start.
        causes |= {GapCause.CRASH, GapCause.DATABASE}
    if Kind.HOSTILE_ANSWER in kinds:
        # It comes with a cut connection.
        causes.add(GapCause.DISCONNECT)
    return causes


async def judge_by_verify(verdict: Verdict, data_dir: Path, symbols: Iterable[str]) -> None:
    """Let the program itself prove what it recorded."""
    for symbol in symbols:
        async with running(data_dir, "verify", symbol) as verify:
            try:
                if await verify.until_ended(_VERIFIED_WITHIN_S) != 0:
                    verdict.faults.append(f"verify {symbol}: {verify.said.strip()}")
            except TimeoutError:
                verdict.faults.append(f"verify {symbol} does not end")


def judge_texts(verdict: Verdict, data_dir: Path, said: Iterable[str]) -> None:
    """Look for bugs in what was said and logged.

    A log has the details of what others did, such as a database on a full disk: no error of
    ours are those.
    """
    for text in said:
        if "Traceback" in text:
            verdict.faults.append(f"it said: …{text[-3_000:]}")
    for log in (data_dir / "logs").glob("*.log*"):
        text = log.read_text(encoding="utf-8", errors="replace")
        for found in _LOGGED_ERROR.finditer(text):
            verdict.faults.append(f"{log.name} has: {text[found.start() : found.start() + 3_000]}")


def judge_codes(verdict: Verdict, part: str, codes: Iterable[int]) -> None:
    """Check how each process of a part ended: killed, in order, or because it couldn't go on."""
    for code in codes:
        verdict.counts[f"{part} ended with {code}"] += 1
        if code not in _ENDS:
            verdict.faults.append(f"a {part} ended with {code}")


def judge_memory(verdict: Verdict, samples: Mapping[str, Sequence[float]]) -> None:
    """Check that memory is bounded, and flat where the play was long enough to tell."""
    for part, mb in samples.items():
        verdict.counts[f"MB at most, {part}"] = round(max(mb))
        if max(mb) > _MOST_MB[part]:
            verdict.faults.append(f"{part} took {max(mb):.0f} MB")
        third = len(mb) // 3
        if len(mb) < _SAMPLES_TO_COMPARE:
            continue
        before, after = statistics.median(mb[third : 2 * third]), statistics.median(mb[-third:])
        if after > before * (1 + _GROWTH_SHARE) + _GROWTH_MB:
            verdict.faults.append(f"{part} grew from {before:.0f} to {after:.0f} MB")


def judge_leftovers(verdict: Verdict, data_dir: Path) -> None:
    """Check that no process of the play is left."""
    for process in psutil.process_iter():
        try:
            if str(data_dir) in " ".join([*process.cmdline(), *process.environ().values()]):
                verdict.faults.append(f"left running: {process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
