"""The synthetic markets as an endless exchange on the wall clock, and as a capture in a file."""

from __future__ import annotations

import asyncio
import gzip
import heapq
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.exchange.local.source import Listing, LocalBook, Publish, StreamEvent
from orderbook_desktop.exchange.local.synthetic_listing import synthetic_specs
from orderbook_desktop.exchange.local.synthetic_market import STEP_MS, SyntheticMarket

# After a sleep of the computer, at most so much is caught up on.
_CATCH_UP_AT_MOST_MS: Final = 3_000

CAPTURE_STREAMS: Final = ("depth@100ms", "bookTicker", "trade")
# The collector's clock differs from the exchange's: in the real capture it is 1.2 s behind.
_CLOCK_OFFSET_NS: Final = -1_200_000_000
_SNAPSHOT_LATE_MS: Final = 330
_TRADE_CHANNELS: Final = ("@aggTrade", "@trade")


class SyntheticSource:
    """Serves the synthetic markets of `seed`; `activity` multiplies how much happens.

    A market lives on for `alive_after_request_s` after a depth request, and for
    `alive_after_trades_s` after the last subscriber of its trades has gone: so what was traded
    meanwhile can be asked for. From then on it costs nothing. At its next request it has moved on,
    and no run of its ids reaches across the time between.
    """

    def __init__(
        self,
        seed: int = 1,
        activity: float = 1.0,
        alive_after_request_s: float = 10.0,
        alive_after_trades_s: float = 3_600.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._alive_after_request_ms = round(alive_after_request_s * 1000)
        self._alive_after_trades_ms = round(alive_after_trades_s * 1000)
        self._now_ns = now_ns
        self._seed = seed
        self._specs = synthetic_specs(activity)
        self._listings = {market: spec.listing() for market, spec in self._specs.items()}
        self._markets: dict[str, SyntheticMarket] = {}
        self._wanted: set[str] = set()
        self._living: set[str] = set()
        self._requested_ms: dict[str, int] = {}
        # The markets whose trades are wanted; of others, when the last one who did has gone.
        self._traded: set[str] = set()
        self._left_ms: dict[str, int] = {}
        self._played = 0

    @property
    def listings(self) -> Mapping[str, Listing]:
        """All symbols, traded and quiet."""
        return self._listings

    @property
    def played(self) -> int:
        """How many steps of 100 ms have passed."""
        return self._played

    async def open(self) -> None:
        """Do nothing: a market is made at its first request."""

    async def run(self, publish: Publish) -> None:
        """Publish the events of the living markets, every 100 ms, for ever."""
        while True:
            await asyncio.sleep((STEP_MS - self._now_ns() / 1e6 % STEP_MS) / 1000)
            now_ms = self._now_ms()
            self._played += 1
            alive = self._alive(now_ms)
            self._living &= alive
            for market in alive:
                self._live(self._awake(market), now_ms, publish)
                await asyncio.sleep(0)

    def want(self, streams: Collection[str]) -> None:
        """Let the markets of `streams` live, beside those that live on for a while."""
        self._wanted = self._markets_of(streams)
        of_trades = [name for name in streams if name.endswith(_TRADE_CHANNELS)]
        before, self._traded = self._traded, self._markets_of(of_trades)
        self._left_ms |= dict.fromkeys(before - self._traded, self._now_ms())

    def _markets_of(self, streams: Collection[str]) -> set[str]:
        return {stream.partition("@")[0].upper() for stream in streams} & self._specs.keys()

    async def book(self, market: str) -> LocalBook:
        """Return the book now; the market goes on living for a while."""
        now_ms = self._now_ms()
        self._requested_ms[market] = now_ms
        return self._awake(market).book()

    def older_book(self, market: str) -> LocalBook | None:
        """Return the book of five to ten seconds ago, or the first one."""
        return self._awake(market).older_book()

    def update_id(self, market: str) -> int:
        """Return the last update id of `market`, 0 before its first request."""
        known = self._markets.get(market)
        return known.last_update_id if known else 0

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _awake(self, market: str) -> SyntheticMarket:
        """Return the market as it is now, made at its first use, moved on after a pause."""
        known = self._markets.get(market)
        if known is None:
            known = SyntheticMarket(self._specs[market], self._seed, self._now_ms())
            self._markets[market] = known
        elif market not in self._living:
            known.move_on(self._now_ms())
        self._living.add(market)
        return known

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _alive(self, now_ms: int) -> set[str]:
        ends = (
            (self._requested_ms, self._alive_after_request_ms),
            (self._left_ms, self._alive_after_trades_ms),
        )
        recent = {
            market
            for times, alive_ms in ends
            for market, at_ms in times.items()
            if now_ms - at_ms < alive_ms
        }
        return self._wanted | recent

    def _live(self, market: SyntheticMarket, now_ms: int, publish: Publish) -> None:
        if now_ms - market.now_ms > _CATCH_UP_AT_MOST_MS:
            market.skip_to(now_ms - STEP_MS)
        name = market.spec.market
        for event in market.advance(now_ms):
            publish(
                StreamEvent(
                    f"{name.lower()}@{event.kind}",
                    name,
                    event.payload,
                    is_diff=event.kind.startswith("depth"),
                    final_id=event.id,
                )
            )


def write_capture(
    path: Path | str,
    *,
    seed: int,
    seconds: float,
    symbols: Iterable[str] = ("BTC/USDT",),
    start_ms: int = 1_723_161_250_000,
    snapshot_levels: int = 5000,
    activity: float = 1.0,
    streams: Iterable[str] = CAPTURE_STREAMS,
) -> Path:
    """Write `seconds` of the synthetic market of `seed` as a collector would have seen them.

    Lines are `<recv_ns> <json>`, gzipped if the name of `path` ends in `.gz`; the same
    arguments give the same lines. Of each symbol there is a REST snapshot of
    `snapshot_levels` a side, which arrives a few diffs late. Returns `path`.
    """
    path = Path(path)
    specs = synthetic_specs(activity)
    kinds = frozenset(streams)
    markets = [
        _lines(
            SyntheticMarket(specs[split_symbol(symbol)[1]], seed, start_ms),
            start_ms + int(seconds * 1000),
            snapshot_levels,
            kinds,
        )
        for symbol in symbols
    ]
    jitter = random.Random(seed)
    recv_ns = 0
    with _opened(path) as file:
        for time_ms, text in heapq.merge(*markets, key=lambda line: line[0]):
            arrived_ns = time_ms * 1_000_000 + _CLOCK_OFFSET_NS + jitter.randrange(2_000_000)
            recv_ns = max(recv_ns + 1_000, arrived_ns)
            file.write(b"%d %s\n" % (recv_ns, text))
    return path


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            # A fixed time in the gzip header: the same arguments give the same file.
            zipped = gzip.GzipFile("", "wb", fileobj=file, mtime=0)
            file = cast("BinaryIO", stack.enter_context(zipped))
        yield file


def _lines(
    market: SyntheticMarket, end_ms: int, snapshot_levels: int, kinds: frozenset[str]
) -> Iterator[tuple[int, bytes]]:
    """Iterate over (time, JSON) of one market until `end_ms`."""
    start_ms, name = market.now_ms, market.spec.market.lower().encode()
    snapshot: LocalBook | None = None
    snapshot_ms = start_ms + _SNAPSHOT_LATE_MS
    for now_ms in range(start_ms + STEP_MS, end_ms + 1, STEP_MS):
        for event in market.advance(now_ms):
            if snapshot and event.time_ms > snapshot_ms:
                yield snapshot_ms, snapshot.as_json(snapshot_levels)
                snapshot, snapshot_ms = None, 0
            if event.kind in kinds:
                stream = name + b"@" + event.kind.encode()
                yield event.time_ms, b'{"stream":"%s","data":%s}' % (stream, event.payload)
        if snapshot_ms and now_ms - start_ms == 2 * STEP_MS:
            snapshot = market.book()
