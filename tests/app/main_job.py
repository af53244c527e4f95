"""The main job, checked from outside: a played capture against what was recorded and shown.

`python -m tests.app.main_job FILE` plays a capture at speed 10, undisturbed, with every
fault, and with the database killed ten times, and prints what was compared.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from orderbook_desktop.app.engine import Engine
from orderbook_desktop.app.market_session import MarketSession
from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, roll_forward
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    decode_diff,
    decode_snapshot,
    level_texts,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import RecordingSink
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.exchange.local import CaptureSource, Fault, FaultKind, LocalExchange, Shape
from orderbook_desktop.storage.packing import unpack
from tests.exchange.local.true_book import TrueBook, capture_messages

Best = tuple[Decimal, Decimal, Decimal, Decimal]
Disturb = Callable[[Engine, LocalExchange], Coroutine[Any, Any, None]]


@dataclass
class Truth:
    """What a capture says: its diffs by final id, and best bid and offer by update id."""

    path: Path
    market: str
    snapshot: dict[str, Any]
    diffs: dict[int, bytes]
    tickers: dict[int, Best]

    def books(self) -> TruthWalk:
        return TruthWalk(TrueBook(self.snapshot), list(self.diffs.values()))

    def best_at(self) -> dict[int, Best]:
        """Return the last ticker at or before each diff's final id."""
        found: dict[int, Best] = {}
        ids = sorted(self.tickers)
        at = 0
        for final_id in sorted(self.diffs):
            while at < len(ids) and ids[at] <= final_id:
                at += 1
            if at:
                found[final_id] = self.tickers[ids[at - 1]]
        return found


class TruthWalk:
    """The true book, moved forward from id to id."""

    def __init__(self, book: TrueBook, diffs: list[bytes]) -> None:
        self.book = book
        self._diffs = iter(diffs)

    def until(self, update_id: int) -> TrueBook:
        while self.book.last_update_id < update_id:
            self.book.apply(json.loads(next(self._diffs)))
        return self.book


def read_truth(path: Path) -> Truth:
    snapshot: dict[str, Any] | None = None
    diffs: dict[int, bytes] = {}
    tickers: dict[int, Best] = {}
    market = ""
    for _, text in capture_messages(path):
        message = json.loads(text)
        stream = message.get("stream", "")
        if "lastUpdateId" in message:
            snapshot = snapshot or message
        elif "@depth" in stream:
            data = message["data"]
            market = data["s"]
            start = text.index(b'"data":') + len(b'"data":')
            diffs[data["u"]] = text[start:].rstrip()[:-1]
        elif "@bookTicker" in stream:
            data = message["data"]
            bid, bid_size, ask, ask_size = (Decimal(data[key]) for key in "bBaA")
            tickers[data["u"]] = (bid, bid_size, ask, ask_size)
    assert snapshot is not None
    return Truth(path, market, snapshot, diffs, tickers)


class Witness:
    """Notes best bid and offer of a feed at each event; passes everything on to `inner`."""

    def __init__(self, inner: RecordingSink | None = None) -> None:
        self.best: dict[int, Best] = {}
        self._inner = inner

    def received(self, diff: DepthDiff) -> None:
        if self._inner is not None:
            self._inner.received(diff)

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        if self._inner is not None:
            self._inner.opened(base)

    def applied(self, diff: DepthDiff, book: Book) -> None:
        if book.last_update_id == diff.final_id:
            assert book.scale.price == book.scale.quantity == 8
            values = [Decimal(value or 0).scaleb(-8) for value in book.best()]
            self.best[diff.final_id] = (values[0], values[1], values[2], values[3])
        if self._inner is not None:
            self._inner.applied(diff, book)

    def broken(self, cause: GapCause, detail: str) -> None:
        if self._inner is not None:
            self._inner.broken(cause, detail)


def shown(book: Book) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """Return a book of the program as plain dicts of decimals."""

    def side(levels: Any) -> dict[Decimal, Decimal]:
        pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
        scale = book.scale
        return {
            Decimal(price).scaleb(-scale.price): Decimal(size).scaleb(-scale.quantity)
            for price, size in pairs
        }

    return side(book.bids()), side(book.asks())


@dataclass
class Findings:
    """What a run compared."""

    events_stored: int = 0
    events_in_gaps: int = 0
    segments: list[str] = field(default_factory=list)
    tickers_live: tuple[int, int] = (0, 0)
    tickers_recorded: tuple[int, int] = (0, 0)
    faults: Mapping[str, int] = field(default_factory=dict)


@asynccontextmanager
async def playing(
    truth: Truth, folder: Path, speed: float
) -> AsyncIterator[tuple[Engine, LocalExchange, MarketSession, Witness, Witness]]:
    """Play the capture into a recording engine with both sources."""
    source = CaptureSource(truth.path, speed=speed)
    async with LocalExchange(source, faults=True) as exchange:
        settings = load_settings(
            rest_url=exchange.rest_url, ws_url=exchange.ws_url, data_dir=folder
        )
        engine = Engine(settings)
        await engine.start()
        try:
            await engine.until_database()
            session = engine.open_market(truth.market, viewed=True)
            live, recorded = Witness(session.sink), Witness()
            session.recording = True
            session.live.attach(live)
            session.recorded.attach(recorded)
            session.start()
            yield engine, exchange, session, live, recorded
        finally:
            await engine.close()


async def check(
    truth: Truth, folder: Path, speed: float = 10.0, disturb: Disturb | None = None
) -> Findings:
    """Play the capture, `disturb` it, and compare everything; raises `AssertionError`."""
    findings = Findings()
    async with playing(truth, folder, speed) as (engine, exchange, session, live, recorded):
        disturbing = asyncio.create_task(disturb(engine, exchange)) if disturb else None
        await exchange.finished()
        if disturbing is not None:
            await disturbing
        await _settled(truth, engine, session)
        true_book = truth.books().until(max(truth.diffs))
        for name, feed in (("live", session.live), ("recorded", session.recorded)):
            assert shown(feed.book) == (true_book.bids, true_book.asks), f"{name} book differs"
        await _check_recording(truth, engine, findings)
        findings.faults = {kind.value: count for kind, count in exchange.fault_board.counts.items()}
    best = truth.best_at()
    findings.tickers_live = _compare_best(truth, best, live.best, "live")
    findings.tickers_recorded = _compare_best(truth, best, recorded.best, "recorded")
    return findings


async def _settled(truth: Truth, engine: Engine, session: MarketSession) -> None:
    """Wait until both books are at the end of the capture and everything is written."""
    last = max(truth.diffs)

    def is_settled() -> bool:
        feeds = (session.live, session.recorded)
        return not engine.recorder.waiting and all(
            feed.status.state is FeedState.SYNCED and feed.book.last_update_id >= last
            for feed in feeds
        )

    # Many snapshots in a minute use up the request weight: the next one waits for the next.
    async with asyncio.timeout(100):
        while not is_settled():
            await asyncio.sleep(0.05)


def _compare_best(
    truth: Truth, best: dict[int, Best], seen: dict[int, Best], name: str
) -> tuple[int, int]:
    """Return at how many update ids best bid and offer agreed: in all, and exactly the same."""
    compared = 0
    for final_id, value in seen.items():
        if final_id in best:
            assert value == best[final_id], (
                f"{name} best bid and offer differ at {final_id}: {value} {best[final_id]}"
            )
            compared += 1
    return compared, len(seen.keys() & truth.tickers.keys())


async def _check_recording(truth: Truth, engine: Engine, findings: Findings) -> None:
    database = engine.database
    stored = {
        event["u"]: event["payload"].encode()
        async for event in database.collection("depth_events").find({"market": truth.market})
    }
    for final_id, payload in stored.items():
        assert truth.diffs[final_id] == payload, f"event {final_id} was changed"
    found = database.collection("segments").find({"market": truth.market})
    segments = sorted([one async for one in found], key=lambda one: int(one["last_id"]))
    walk = truth.books()
    covered: set[int] = set()
    for segment in segments:
        key = {"segment": segment["_id"], "base": True}
        checkpoint = await database.collection("checkpoints").find_one(key)
        assert checkpoint is not None
        base = decode_snapshot(unpack(checkpoint["payload"]), truth.market)
        run = [final for final in sorted(stored) if base.last_update_id < final]
        run = [final for final in run if final <= segment["last_id"]]
        end = roll_forward(base, [decode_diff(stored[final]) for final in run])
        assert end.last_update_id == segment["last_id"], "a segment has a hole"
        assert len(run) == segment["event_count"]
        sides = level_texts(end.payload)
        bids, asks = ({Decimal(p): Decimal(q) for p, q in side} for side in sides)
        true_book = walk.until(segment["last_id"])
        assert (bids, asks) == (true_book.bids, true_book.asks), "a segment's end differs"
        covered |= {
            final for final in truth.diffs if base.last_update_id < final <= segment["last_id"]
        }
        findings.segments.append(segment["end_cause"] or "open")
    first = min(segment["snapshot_id"] for segment in segments)
    lost = [final for final in truth.diffs if final not in stored]
    assert not covered & set(lost), "an event is missing inside a segment"
    if len(segments) == 1:
        assert not lost, f"{len(lost)} events are missing"
    findings.events_stored = len(stored)
    findings.events_in_gaps = len(lost)
    assert all(final > first for final in lost)


def every_fault(pause_s: float, silence_s: float) -> Disturb:
    """Return what injects each fault of the exchange, `pause_s` apart."""
    # Soon the feed pauses before it loads the book anew: what comes first certainly breaks it.
    faults = [
        Fault(kind=FaultKind.DISCONNECT),
        Fault(kind=FaultKind.MALFORMED, shape=Shape.GARBAGE),
        Fault(kind=FaultKind.DROP, count=2),
        Fault(kind=FaultKind.DUPLICATE, count=5),
        Fault(kind=FaultKind.SHUTDOWN, seconds=1.0),
        Fault(kind=FaultKind.CLOSE),
        Fault(kind=FaultKind.SWAP),
        Fault(kind=FaultKind.MALFORMED, shape=Shape.TRUNCATED, instead=True),
        Fault(kind=FaultKind.MALFORMED, shape=Shape.TYPES, instead=True),
        Fault(kind=FaultKind.SILENCE, seconds=silence_s),
    ]
    refusals = [
        Fault(kind=FaultKind.HTTP, status=429, retry_after=1),
        Fault(kind=FaultKind.HTTP, status=418, retry_after=1),
        Fault(kind=FaultKind.HTTP, status=451),
        Fault(kind=FaultKind.HTTP, status=503),
        Fault(kind=FaultKind.STALE),
        Fault(kind=FaultKind.DELAY, seconds=0.5),
    ]

    async def disturb(engine: Engine, exchange: LocalExchange) -> None:
        for fault in faults:
            await asyncio.sleep(pause_s)
            exchange.inject(fault)
            if fault.kind is FaultKind.SILENCE:
                await asyncio.sleep(silence_s)
        for fault in refusals:
            await asyncio.sleep(pause_s)
            # A snapshot is asked for only where the stream broke.
            exchange.inject(fault)
            exchange.inject(Fault(kind=FaultKind.DROP))
        await asyncio.sleep(pause_s)
        exchange.inject(Fault(kind=FaultKind.REFUSE, seconds=1.0))
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))

    return disturb


def kill_database(times: int, pause_s: float) -> Disturb:
    """Return what kills the database's process, `times` times."""

    async def disturb(engine: Engine, exchange: LocalExchange) -> None:
        for _ in range(times):
            await asyncio.sleep(pause_s)
            pid = engine.server.pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    return disturb


async def _main(path: Path) -> None:
    truth = read_truth(path)
    print(f"{path.name}: {len(truth.diffs)} depth events, {len(truth.tickers)} tickers")
    cases: list[tuple[str, Disturb | None]] = [
        ("undisturbed", None),
        ("every fault", every_fault(1.0, 12.0)),
        ("database killed ten times", kill_database(10, 3.0)),
    ]
    for name, disturb in cases:
        with tempfile.TemporaryDirectory() as folder:
            findings = await check(truth, Path(folder), 10.0, disturb)
        print(f"{name}: {findings}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_main(Path(sys.argv[1])))
