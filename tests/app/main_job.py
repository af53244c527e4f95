"""The main job, checked from outside: a played capture against the recorded and shown books.

`python -m tests.app.main_job FILE` plays a capture at speed 10: undisturbed, with every fault of
the stream, and with every fault of the requests for books. Then it plays it at speed 5 while the
database is killed ten times. It prints the results of the comparison. The play is slow until both
books are known, and fast after the last disturbance.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, level_texts
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import RecordingSink
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.settings import EngineTimes
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.exchange.silence import LEAST_SILENCE_S
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.storage.archive.times import ArchiveTimes
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.verification.verification import verify
from tests.app.capture_truth import Best, Truth, TruthWalk, read_truth
from tests.app.play_faults import (
    Disturb,
    Play,
    Struck,
    kill_database,
    snapshot_faults,
    stream_faults,
    striking,
)
from tests.exchange.local.paced import PacedSource
from tests.unhurried import ENGINE_TIMES

# Archives during the recording, since a minute of the market takes only seconds here.
TIMES = replace(
    ENGINE_TIMES, archive=ArchiveTimes(first_look_s=0.5, look_every_s=0.5, running_every_s=1.0)
)
_SPEED_AT_FIRST = 1.0
_SPEED_TO_THE_END = 12.0


class Witness:
    """Notes best bid and offer of a feed at each event; passes all calls on to `inner`."""

    def __init__(self) -> None:
        self.best: dict[int, Best] = {}
        self.inner: RecordingSink | None = None

    def received(self, diff: DepthDiff) -> None:
        if self.inner is not None:
            self.inner.received(diff)

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        if self.inner is not None:
            self.inner.opened(base)

    def applied(self, diff: DepthDiff, book: Book) -> None:
        if book.last_update_id == diff.final_id:
            assert book.scale.price == book.scale.quantity == 8
            values = [Decimal(value or 0).scaleb(-8) for value in book.best()]
            self.best[diff.final_id] = (values[0], values[1], values[2], values[3])
        if self.inner is not None:
            self.inner.applied(diff, book)

    def answered(
        self, answer: DepthSnapshot, joined_id: int | None, known: Horizon | None, book: Book
    ) -> None:
        if self.inner is not None:
            self.inner.answered(answer, joined_id, known, book)

    def broken(self, cause: GapCause, detail: str) -> None:
        if self.inner is not None:
            self.inner.broken(cause, detail)


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
    """The results of a run; the numbers of events are by the place where they are stored."""

    in_segments: int = 0
    loose: int = 0
    archived: int = 0
    in_gaps: int = 0
    segments: list[str] = field(default_factory=list)
    tickers_live: tuple[int, int] = (0, 0)
    tickers_recorded: tuple[int, int] = (0, 0)
    faults: Counter[str] = field(default_factory=Counter)
    blows: int = 0


class Checking:
    """One run: play the capture at `speed`, disturb it, and compare the results with `truth`.

    The feed takes a stream for dead after `silence_s` without an event. With `archives`, a part
    of the recording has to be archived at the end.
    """

    def __init__(
        self,
        truth: Truth,
        speed: float,
        silence_s: float = LEAST_SILENCE_S,
        *,
        archives: bool = False,
        times: EngineTimes = TIMES,
    ) -> None:
        self.truth = truth
        self._speed = speed
        self._source = PacedSource(truth.path, _SPEED_AT_FIRST)
        self._silence_s = silence_s
        self._archives = archives
        self._times = times
        self._live, self._recorded = Witness(), Witness()
        self._findings = Findings()

    async def run(self, folder: Path, disturb: Disturb | None = None) -> Findings:
        """Return the findings; raises `AssertionError`."""
        findings = self._findings
        async with self._playing(folder) as play:
            ending = asyncio.create_task(play.exchange.finished())
            await play.until(lambda: play.is_whole, "the first books")
            self._source.speed = self._speed
            struck = []
            if disturb is not None:
                struck = await disturb(play)
                assert not ending.done(), "the capture was too short for all that"
                self._source.speed = max(self._speed, _SPEED_TO_THE_END)
            await ending
            # From now on the exchange is silent, however long the rest of the run takes.
            for connections in play.engine.streams._copies:
                for group in connections.groups:
                    setattr(group, "link_silence", lambda _link, _now: None)  # noqa: B010
            await self._settled(play)
            true_book = self.truth.books().until(self.truth.last_id)
            for feed in (play.session.live, play.session.recorded):
                assert shown(feed.book) == (true_book.bids, true_book.asks), "a book differs"
                assert feed.book.horizon == self.truth.horizon, "the known depth differs"
            recording = Recording(play.engine.database, self.truth.market)
            await self._stored_to_the_end(recording)
            verified = await verify(play.engine.database, self.truth.market)
            assert verified.holds, verified.fault
            segments = await self._check_recording(play.engine.database, recording)
            _match(segments, struck)
            timeline = await recording.timeline()
            # The archiver joins two segments where the events between them came after all.
            joined = sum(cover.continues for cover in timeline.covers)
            # A segment that breaks before its first event lies within one longer gap.
            empty = sum(not one.segment.event_count for one in segments)
            counted = play.session.sink.counts.gaps
            assert len(timeline.gaps) + joined + empty == counted, "the count of gaps differs"
            findings.faults.update(
                {kind.value: count for kind, count in play.exchange.fault_board.counts.items()}
            )
        best = self.truth.best_at()
        findings.tickers_live = _compare_best(self.truth, best, self._live.best, "live")
        findings.tickers_recorded = _compare_best(self.truth, best, self._recorded.best, "recorded")
        findings.blows = len(struck)
        return findings

    @asynccontextmanager
    async def _playing(self, folder: Path) -> AsyncIterator[Play]:
        """Play the capture into a recording engine with both sources."""
        async with LocalExchange(self._source, faults=True) as exchange:
            settings = load_settings(
                rest_url=exchange.rest_url, ws_url=exchange.ws_url, data_dir=folder
            )
            engine = Engine(settings, times=self._times)
            times = StreamTimes(silence_s=self._silence_s)
            engine.streams = BinanceStreams(exchange.ws_url, times)
            await engine.start()
            try:
                await engine.until_database()
                with engine.open_market(self.truth.market, viewed=True) as lease:
                    session = lease.session
                    self._live.inner = session.sink
                    session.recording = True
                    session.live.attach(self._live)
                    session.recorded.attach(self._recorded)
                    session.start()
                    yield Play(engine, exchange, session)
            finally:
                await engine.close()

    async def _settled(self, play: Play) -> None:
        """Wait until both books are at the end of the capture and all events are written."""

        def is_settled() -> bool:
            feeds = (play.session.live, play.session.recorded)
            return not play.engine.recorder.waiting and all(
                feed.status.state is FeedState.SYNCED
                and feed.book.last_update_id >= self.truth.last_id
                for feed in feeds
            )

        await play.until(is_settled, "the end of the capture")

    async def _stored_to_the_end(self, recording: Recording) -> None:
        """Wait until the stored last segment reaches the end, and until a chunk is archived."""
        async with asyncio.timeout(60):
            while True:
                segments = await recording.segments()
                if max(one.segment.last_id for one in segments) >= self.truth.last_id and (
                    not self._archives or any(one.archived_events for one in segments)
                ):
                    return
                await asyncio.sleep(0.1)

    async def _check_recording(
        self, database: Database, recording: Recording
    ) -> list[StoredSegment]:
        """Compare all events, and the book at the end of each segment; return the segments."""
        findings, walk = self._findings, self.truth.books()
        stored: dict[int, bytes] = {}
        segments = await recording.segments()
        for one in segments:
            reader = SegmentReader(database, one)
            events = await self._check_segment(reader, walk)
            assert not events.keys() & stored.keys(), "an event is in two segments"
            assert not self._missing(one, events), "an event is missing inside a segment"
            stored |= events
            cause = one.segment.end_cause
            findings.segments.append("open" if cause is None else cause.value)
        findings.in_segments = len(stored)
        findings.archived = sum(one.archived_events for one in segments)
        async with aclosing(recording.loose()) as chunks:
            async for chunk in chunks:
                loose = chunk.numbers.final_ids.tolist()
                findings.loose += len(loose)
                stored.update(zip(loose, chunk.payloads(), strict=True))
        for final_id, payload in stored.items():
            assert self.truth.diffs[final_id] == payload, f"event {final_id} was changed"
        lost = self.truth.diffs.keys() - stored.keys()
        findings.in_gaps = len(lost)
        timeline = await recording.timeline()
        for final_id in lost:
            assert any(gap.first_missing <= final_id <= gap.last_missing for gap in timeline.gaps)
        return segments

    def _missing(self, one: StoredSegment, events: dict[int, bytes]) -> set[int]:
        """Return the ids of events that are missing in a segment."""
        begin, end = one.segment.snapshot_id, one.segment.last_id
        return {final for final in self.truth.diffs if begin < final <= end} - events.keys()

    async def _check_segment(self, reader: SegmentReader, walk: TruthWalk) -> dict[int, bytes]:
        """Return a segment's events; check that they lead from its first book to the true one."""
        one = reader.stored
        events: dict[int, bytes] = {}
        # If the market ended with the first book, no event follows it.
        image = await reader.base_book()
        async with aclosing(reader.chunks()) as chunks:
            async for chunk in chunks:
                ids = chunk.numbers.final_ids.tolist()
                events.update(zip(ids, chunk.payloads(), strict=True))
                image = chunk.final_book()
        assert len(events) == one.segment.event_count
        assert image.last_update_id == one.segment.last_id
        bids, asks = level_texts(encode_image(image))
        true_book = walk.until(one.segment.last_id)
        assert _decimals(bids) == true_book.bids, "the bids at a segment's end differ"
        assert _decimals(asks) == true_book.asks, "the asks at a segment's end differ"
        return events


def _match(segments: list[StoredSegment], struck: list[Struck]) -> None:
    """Check that each gap belongs to a blow and has its cause, and that no other gap exists."""
    breaks = [one for one in struck if one.blow.cause is not None]
    assert len(segments) == len(breaks) + 1
    for blow, before, after in zip(breaks, segments, segments[1:], strict=False):
        assert before.segment.end_cause is blow.blow.cause, blow.blow.name
        assert blow.before_id <= before.segment.last_id, blow.blow.name
        assert after.segment.snapshot_id == blow.next_base_id, blow.blow.name
    assert segments[-1].running


def _decimals(levels: Any) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in levels}


def _compare_best(
    truth: Truth, best: dict[int, Best], seen: dict[int, Best], name: str
) -> tuple[int, int]:
    """Return how many best bids and offers agreed: in all, and at the same update id."""
    compared = 0
    for final_id, value in seen.items():
        if final_id in best:
            assert value == best[final_id], (
                f"{name} best bid and offer differ at {final_id}: {value} {best[final_id]}"
            )
            compared += 1
    return compared, len(seen.keys() & truth.tickers.keys())


async def _main(path: Path) -> None:
    truth = read_truth(path)
    print(f"{path.name}: {len(truth.diffs)} depth events, {len(truth.tickers)} tickers")
    cases: list[tuple[str, float, Disturb | None]] = [
        ("undisturbed", 10.0, None),
        ("every fault of the stream", 10.0, striking(stream_faults(LEAST_SILENCE_S + 2))),
        ("every fault of a request for the book", 10.0, striking(snapshot_faults())),
        # A database that ran for three seconds is started again at once.
        ("database killed ten times", 5.0, kill_database(10, 3.2)),
    ]
    for name, speed, disturb in cases:
        with tempfile.TemporaryDirectory() as folder:
            findings = await Checking(truth, speed).run(Path(folder), disturb)
        print(f"{name}: {findings}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_main(Path(sys.argv[1])))
