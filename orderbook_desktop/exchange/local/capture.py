"""Playing a capture file: each line is sent at the time of its receipt, byte for byte."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.exchange.local.capture_book import CaptureBook
from orderbook_desktop.exchange.local.capture_rounds import MarketRound, TradeIds, round_length_ns
from orderbook_desktop.exchange.local.source import (
    Listing,
    LocalBook,
    Publish,
    StreamEvent,
)
from orderbook_desktop.formats.capture_lines import read_lines
from orderbook_desktop.formats.capture_messages import CaptureLine, diff_payload
from orderbook_desktop.formats.capture_reader import (
    MarketSurvey,
    market_of,
    survey_capture,
)
from orderbook_desktop.formats.single_trades import AGGREGATED, TRADE, TradeAggregator
from orderbook_desktop.system.pace import Pace

_log = logging.getLogger(__name__)

_BATCH: Final = 256
_CLOSE_WITHIN_S: Final = 0.4


class CaptureSource:
    """Plays a capture (`<recv_ns> <json>` lines, plain or gzipped) at `speed` times its pace.

    The play begins with the first subscription to a depth stream of the file, so that this client
    misses nothing. It then goes on with or without clients. Depth requests are answered from the
    snapshot lines and the diffs played so far; they wait for the first snapshot. With `loop` the
    file is played again and again, with ids and times that continue to rise without a gap (the
    payloads are rewritten for that).
    """

    def __init__(self, path: Path | str, speed: float = 1.0, loop: bool = False) -> None:
        if not speed > 0:
            raise ValueError(f"speed {speed} is not positive")
        self._path = Path(path)
        self._speed = speed
        self._loop = loop
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="capture-reader")
        self._surveys: dict[str, MarketSurvey] = {}
        self._listings: dict[str, Listing] = {}
        self._books: dict[str, CaptureBook] = {}
        self._rounds: dict[str, MarketRound] = {}
        self._book_known: dict[str, asyncio.Event] = {}
        # By market, where the file has its trades, but no aggregated ones.
        self._aggregators: dict[str, TradeAggregator] = {}
        self._trade_ids: defaultdict[str, TradeIds] = defaultdict(TradeIds)
        self._file: Generator[CaptureLine] | None = None
        self._reading: asyncio.Future[tuple[list[CaptureLine], Exception | None]] | None = None
        self._start = asyncio.Event()
        self._played = 0

    @property
    def listings(self) -> Mapping[str, Listing]:
        """The markets of the file; one that appears late in the file is listed from then on."""
        return self._listings

    @property
    def played(self) -> int:
        """How many lines were played."""
        return self._played

    async def open(self) -> None:
        """Survey the file. Raises `CaptureUnreadable`."""
        surveyed = await asyncio.get_running_loop().run_in_executor(
            self._reader, survey_capture, self._path
        )
        for survey in surveyed.values():
            self._list(survey)
            name = survey.market.lower()
            if f"{name}@{TRADE}" in survey.streams and f"{name}@{AGGREGATED}" not in survey.streams:
                self._aggregators[survey.market] = TradeAggregator(survey.market)
                _log.info(
                    "%s: the file has no aggregated trades; trades in a row with the same time, "
                    "price and side are served as one of them",
                    survey.market,
                )

    async def run(self, publish: Publish) -> None:
        """Play the file. Raises `CaptureUnreadable` at the first line that cannot be played."""
        await self._start.wait()
        clock = Pace(self._speed)
        shift_ns, again = 0, False
        while True:
            first_ns = last_ns = 0
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    if line.broken:
                        _log.warning("%s It is played on behind that.", line.broken)
                        continue
                    first_ns = first_ns or line.recv_ns
                    last_ns = max(last_ns, line.recv_ns)
                    moved = self._moved(line, shift_ns) if again else line
                    if moved is not None:
                        await clock.wait_for(moved.recv_ns)
                        self._play(moved, publish)
            for market, book in self._books.items():
                book.end()
                self._book_known[market].set()
            for market, aggregator in self._aggregators.items():
                if (ended := aggregator.end()) is not None:
                    publish(_aggregated(market, ended))
            if not self._loop:
                return
            again = True
            shift_ns += round_length_ns(first_ns, last_ns)
            await clock.wait_for(first_ns + shift_ns)
            self._begin_again(publish, shift_ns)

    def want(self, streams: Collection[str]) -> None:
        """Begin to play once a depth stream of the file is among `streams`."""
        prefixes = tuple(f"{market.lower()}@depth" for market in self._listings)
        if any(stream.startswith(prefixes) for stream in streams):
            self._start.set()

    async def book(self, market: str) -> LocalBook:
        """Return the book after the last played line; wait until there is one."""
        await self._book_known[market].wait()
        return self._books[market].view()

    def older_book(self, market: str) -> LocalBook | None:
        """Return the book of some fifty diffs ago, or the first one."""
        return self._books[market].older_view()

    def update_id(self, market: str) -> int:
        """Return the last update id played of `market`."""
        return self._books[market].last_update_id

    async def close(self) -> None:
        """End the reading thread and close the file."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._reading is not None:
            # The wait is limited: the reader may find no line for a long time.
            await asyncio.wait({self._reading}, timeout=_CLOSE_WITHIN_S)
        if self._file is not None:
            with suppress(ValueError):  # The thread still reads it; it ends with the process.
                self._file.close()

    async def _lines(self) -> AsyncGenerator[CaptureLine]:
        """Iterate over the file; the next batch is read while one is being played."""
        loop = asyncio.get_running_loop()
        lines = self._file = read_lines(self._path)
        reading = self._reading = loop.run_in_executor(self._reader, _next_batch, lines)
        while True:
            batch, failure = await reading
            if batch and failure is None:
                reading = self._reading = loop.run_in_executor(self._reader, _next_batch, lines)
            for line in batch:
                yield line
            if failure is not None:
                raise failure
            if not batch:
                return

    def _play(self, line: CaptureLine, publish: Publish) -> None:
        market = market_of(line, self._surveys)
        survey = self._surveys.get(market)
        if survey is None:
            survey = MarketSurvey(market)
            survey.take(line)
            self._list(survey)
        survey.update_id = line.update_id or survey.update_id
        book = self._books[market]
        if line.snapshot:
            book.load(line.snapshot)
        elif line.diff:
            book.apply(line.diff)
        if line.snapshot or line.diff:
            self._note_round(market, line)
        if book.known:
            self._book_known[market].set()
        self._played += 1
        if line.stream.endswith((f"@{TRADE}", f"@{AGGREGATED}")):
            self._trade_ids[market].note(line.payload)
        self._aggregate(line, publish)
        if line.stream:
            publish(
                StreamEvent(
                    line.stream,
                    market,
                    line.payload,
                    line.frame,
                    survey.also(line.stream) if line.diff else (),
                    line.diff is not None,
                    line.update_id,
                )
            )

    def _aggregate(self, line: CaptureLine, publish: Publish) -> None:
        """Publish the aggregated trade that ended before `line`."""
        aggregator = self._aggregators.get(line.market)
        if aggregator is None:
            return
        ended = None
        if line.stream.endswith(f"@{TRADE}"):
            with suppress(msgspec.DecodeError):
                ended = aggregator.take(line.payload)
        elif line.diff:
            ended = aggregator.until(line.diff.event_ms)
        if ended is not None:
            publish(_aggregated(line.market, ended))

    def _list(self, survey: MarketSurvey) -> None:
        market = survey.market
        self._surveys[market] = survey
        self._listings[market] = listing_of(survey)
        self._books[market] = CaptureBook(market, without_snapshot=not survey.has_snapshot)
        self._book_known[market] = asyncio.Event()

    def _note_round(self, market: str, line: CaptureLine) -> None:
        """Keep the first snapshot and the first id, which the next round needs."""
        if not self._loop:
            return
        known = self._rounds.get(market)
        if line.diff and known is None:
            start = LocalBook(line.diff.first_id - 1, [], [])
            self._rounds[market] = MarketRound(start, line.diff.first_id, line.diff.event_ms)
        elif line.diff and known and not known.first_event_ms:
            known.first_event_ms = line.diff.event_ms
        elif line.snapshot and (known is None or known.start_is_empty):
            snapshot = line.snapshot
            start = LocalBook(snapshot.last_update_id, snapshot.bids, snapshot.asks)
            first_id = known.first_id if known else snapshot.last_update_id + 1
            first_event_ms = known.first_event_ms if known else 0
            self._rounds[market] = MarketRound(start, first_id, first_event_ms)

    def _moved(self, line: CaptureLine, shift_ns: int) -> CaptureLine | None:
        known, trade_ids = self._rounds.get(line.market), self._trade_ids[line.market]
        # Snapshots are left out: the ids are unbroken, and the book follows the diffs.
        if known is None or line.snapshot:
            return None
        return known.shifted(line, trade_ids, shift_ns)

    def _begin_again(self, publish: Publish, shift_ns: int) -> None:
        """Turn every book back into its first one, with one event each."""
        for trade_ids in self._trade_ids.values():
            trade_ids.begin_again()
        for market, known in self._rounds.items():
            final = self._books[market].view()
            diff = known.begin_again(final, shift_ns)
            self._books[market].apply(diff)
            payload, survey = diff_payload(market, diff), self._surveys[market]
            for stream in survey.diff_streams:
                also = survey.also(stream)
                publish(StreamEvent(stream, market, payload, b"", also, True, diff.final_id))


def _next_batch(lines: Iterator[CaptureLine]) -> tuple[list[CaptureLine], Exception | None]:
    """Return the next lines, and the failure after them, or None."""
    batch: list[CaptureLine] = []
    try:
        batch.extend(islice(lines, _BATCH))
    except Exception as failure:  # noqa: BLE001 (handed over, after the lines before it)
        return batch, failure
    return batch, None


def listing_of(survey: MarketSurvey) -> Listing:
    """Return a market as `exchangeInfo` lists it; its filters are those of the data."""
    symbol, _ = split_symbol(survey.market)
    base, _, quote = symbol.partition("/")
    steps = _step(survey.price_places), _step(survey.quantity_places)
    return Listing(survey.market, base, quote, *steps)


def _step(places: int) -> str:
    return "1.00000000" if not places else f"0.{'1'.rjust(places, '0').ljust(8, '0')}"


def _aggregated(market: str, payload: bytes) -> StreamEvent:
    return StreamEvent(f"{market.lower()}@{AGGREGATED}", market, payload)
