"""Binance's REST interface: books as snapshots, trades of before, and the volumes of a day.

Source: Binance Spot API, "Order book" (`GET /api/v3/depth`), "Compressed/Aggregate trades list"
(`GET /api/v3/aggTrades`), "24hr ticker price change statistics" (`GET /api/v3/ticker/24hr`), "HTTP
Return Codes", "LIMITS".
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthSnapshot, decode_spot_snapshot
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.trades import Trade, decode_repaired
from orderbook_desktop.exchange.array_elements import ArrayElements
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    NoBook,
    Paced,
    RateLimited,
    TradesNotServed,
    UnexpectedAnswer,
    UnknownSymbol,
    Unreachable,
    WebPage,
    coded_refusal,
    refusal,
)
from orderbook_desktop.exchange.http import (
    MOST_BYTES,
    MOST_OF_A_LIST,
    NO_END,
    NOWHERE,
    Answer,
    HttpClient,
)
from orderbook_desktop.exchange.limits import WeightLimit

_log = logging.getLogger(__name__)

_WEIGHT_OF_LIMIT: Final = {100: 5, 500: 25, 1000: 50, 5000: 250}
_WEIGHT_OF_TICKERS: Final = 80
_WEIGHT_OF_TRADES: Final = 4
# The exchange's limit.
TRADES_AT_MOST: Final = 1_000
# A minute's weight is enough for so many books in full depth, or for a hundred smaller ones.
_BOOKS_IN_FULL_DEPTH: Final = 20
_DEPTH_OF_MANY: Final = 1000
_TIMEOUT_S: Final = 10.0
# Each answer reports the weight used so far: more requests at a time could exceed the limit.
_AT_A_TIME: Final = 4
# Binance Spot API, "Error codes": illegal characters (only the symbol can have any), and
# an invalid symbol.
_NO_SUCH_SYMBOL: Final = frozenset({-1100, -1121})
# Binance Spot API, "Error codes": a parameter of the request has no valid value.
_NO_SUCH_TRADES: Final = -1130
_BUSY_S: Final = 0.5
_LONGEST_ERROR: Final = 4096
_LONGEST_MARKET: Final = 40
_plain_volume: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII).fullmatch


def weight_of(levels: int) -> int:
    """Return the weight of a request for a book with 100, 500, 1000 or 5000 `levels` a side."""
    return _WEIGHT_OF_LIMIT[levels]


class WireError(msgspec.Struct):
    """An error in an answer's body; `code` is 0 where there is none."""

    code: int = 0
    msg: str = ""


class _WireTicker(msgspec.Struct):
    symbol: str
    quoteVolume: str  # noqa: N815 (the exchange's name)


class _WireNoBook(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 (the exchange's name)
    bids: list[msgspec.Raw]
    asks: list[msgspec.Raw]


_error_decoder: Final = msgspec.json.Decoder(WireError)
_no_book_decoder: Final = msgspec.json.Decoder(_WireNoBook)
_ticker_decoder: Final = msgspec.json.Decoder(_WireTicker)
_rows_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


class RestClocks(Struct, frozen=True):
    """Clocks in seconds: `wall` is the time of day since the epoch, `steady` is never adjusted.

    `wall_ns` is the time of day in nanoseconds, as it is stored.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    wall_ns: Callable[[], int] = time.time_ns


class BinanceRest:
    """Fetches snapshots from `base_url`; is a `SnapshotSource`. Call `close()` when done.

    `limit` is the number of levels a side: 100, 500, 1000 or 5000. A request that takes longer
    than `timeout_s` fails.

    Set `books` to the number of followed markets. For more than 20 markets, a book is requested
    with at most 1,000 levels a side. So a hundred books are complete within a minute, at the start
    and after each loss of the connection. With 5,000 levels this would take five minutes.
    """

    def __init__(
        self,
        base_url: str,
        limit: int = 5000,
        timeout_s: float = _TIMEOUT_S,
        clocks: RestClocks | None = None,
    ) -> None:
        self.books = 1
        self._clocks = clocks or RestClocks()
        self._client = HttpClient(base_url, timeout_s)
        self._limit = limit
        self._weight = WeightLimit()
        # By a clock that is never adjusted: a pause must not grow with a step of the wall clock.
        self._paused_until = float("-inf")
        self._pause_status, self._pause_asked_s = 429, 0.0
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    async def snapshot(self, market: str, limit: int | None = None) -> DepthSnapshot:
        """Return the book of `market` now, with up to `limit` levels a side (default: `depth`).

        Raises `ExchangeError`. During a pause that the exchange asked for it raises `RateLimited`.
        Where another request would exceed the exchange's limit it raises `Paced`. Both say when to
        ask again, and no request is sent.
        """
        async with self._turns:
            limit = limit or self.depth
            self._take_weight(weight_of(limit))
            answer = await self._get("/api/v3/depth", {"symbol": market, "limit": str(limit)})
            received_ns = self._clocks.wall_ns()
        try:
            # Thousands of levels take milliseconds to decode, so a thread does it.
            decoded = await asyncio.to_thread(_decoded, answer, market, limit)
        except MalformedMessage as error:
            if _has_no_book(answer.body):
                raise NoBook(market) from None
            reason = plain_text(error.reason)
            _log.warning("no snapshot of %s (%s): %r", market, reason, error.excerpt)
            raise UnexpectedAnswer(self._client.base_url, reason) from error
        return replace(decoded, received_ns=received_ns)

    @property
    def depth(self) -> int:
        """The number of levels a side that a book is requested with now."""
        is_full = self.books <= _BOOKS_IN_FULL_DEPTH
        return self._limit if is_full else min(self._limit, _DEPTH_OF_MANY)

    async def agg_trades(
        self, market: str, from_id: int, limit: int = TRADES_AT_MOST
    ) -> list[Trade]:
        """Return the aggregated trades of `market` from an id on, `limit` at most, in order.

        Their ids may have holes, and the first one may be a later one. The request goes behind all
        others: it raises `Paced` also while these may need the weight. Raises `TradesNotServed` for
        ids that are too old, and else as `snapshot` does.
        """
        if self._turns.locked():
            raise Paced(_BUSY_S)
        async with self._turns:
            self._take_weight(_WEIGHT_OF_TRADES, is_behind=True)
            query = {"symbol": market, "fromId": str(from_id), "limit": str(limit)}
            answer = await self._get("/api/v3/aggTrades", query)
        try:
            return await asyncio.to_thread(_trades_in, answer.body, market, from_id)
        except MalformedMessage as error:
            reason = plain_text(error.reason)
            _log.warning("no trades of %s (%s): %r", market, reason, error.excerpt)
            raise UnexpectedAnswer(self._client.base_url, reason) from error

    async def day_volumes(self) -> dict[str, Decimal]:
        """Return the volume of the last 24 hours, in the quote asset, by market.

        Raises `ExchangeError`, as `snapshot` does.
        """
        volumes = _Volumes()
        async with self._turns:
            self._take_weight(_WEIGHT_OF_TICKERS)
            query = {"type": "MINI"}
            try:
                await self._get("/api/v3/ticker/24hr", query, MOST_OF_A_LIST, volumes.take)
            except MalformedMessage as error:
                raise UnexpectedAnswer(self._client.base_url, "no list of volumes") from error
        if volumes.elements.is_whole and (volumes.by_market or not volumes.left_out):
            if volumes.left_out:
                _log.warning("%d volumes could not be read", volumes.left_out)
            return volumes.by_market
        answer = Answer(200, volumes.elements.beginning)
        if error_in_body(answer.body).code:
            raise self._refusal(answer, {})
        shown = plain_text(answer.body.decode("utf-8", "replace"))
        _log.warning("no volumes: %s", shown)
        if answer.body.lstrip().startswith(b"<"):
            raise WebPage(self._client.base_url)
        raise UnexpectedAnswer(self._client.base_url, "no list of volumes")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _take_weight(self, weight: int, *, is_behind: bool = False) -> None:
        now_s = self._clocks.wall()
        if (pause := self._paused_until - self._clocks.steady()) > 0:
            raise RateLimited(pause, self._pause_status, self._pause_asked_s)
        if is_behind:
            # Each followed book may have to be asked for anew.
            kept = self.books * weight_of(self.depth)
            delay, spend = self._weight.delay_behind(weight, kept, now_s), self._weight.spend_behind
        else:
            delay, spend = self._weight.delay(weight, now_s), self._weight.spend
        if delay > 0:
            raise Paced(delay)
        spend(weight, now_s)

    async def _get(
        self,
        path: str,
        query: dict[str, str],
        most_bytes: int = MOST_BYTES,
        take: Callable[[bytes], None] | None = None,
    ) -> Answer:
        answer = await self._client.get(path, query, most_bytes, take)
        if answer.used_weight is not None:
            self._weight.note_used(answer.used_weight, self._clocks.wall())
        if answer.status != 200:
            raise self._refusal(answer, query)
        if len(answer.body) <= _LONGEST_ERROR and error_in_body(answer.body).code:
            raise self._refusal(answer, query)
        return answer

    def _refusal(self, answer: Answer, query: dict[str, str]) -> ExchangeError:
        now_s = self._clocks.wall()
        error = refusal_in(answer, self._client.base_url, now_s, query.get("symbol"))
        text = plain_text(answer.body[:1000].decode("utf-8", "replace"))
        if "fromId" in query and error_in_body(answer.body).code == _NO_SUCH_TRADES:
            # It may be asked where the trades begin that are still served.
            _log.info("HTTP %d for %s: %s", answer.status, query, text)
            return TradesNotServed(query["symbol"], int(query["fromId"]))
        _log.warning("HTTP %d for %s: %s", answer.status, query, text)
        if isinstance(error, RateLimited):
            ends_at = self._clocks.steady() + error.retry_after_s
            self._paused_until = max(self._paused_until, ends_at)
            self._pause_status, self._pause_asked_s = error.status, error.asked_s
        return error


def refusal_in(answer: Answer, url: str, now_s: float, market: str | None = None) -> ExchangeError:
    """Return the error in the status or body of `answer`, received from `url` at `now_s`.

    `market` is the market of the request, where it had one.
    """
    found = error_in_body(answer.body)
    error = refusal(url, answer.status, answer.retry_after, now_s)
    if isinstance(error, UnexpectedAnswer | Unreachable):
        # The status has no meaning, or is a proxy's: the code says more.
        coded = coded_refusal(url, found.code, found.msg, answer.retry_after, now_s)
        error = coded or error
    if not isinstance(error, UnexpectedAnswer) or isinstance(error, WebPage):
        return error
    if found.code in _NO_SUCH_SYMBOL and market is not None:
        return UnknownSymbol(market)
    status = "" if answer.status == 200 else f"HTTP {answer.status}, "
    if found.code or found.msg or answer.status == 200:
        return UnexpectedAnswer(url, f"{status}{plain_text(found.msg) or found.code or 'an error'}")
    return error


def error_in_body(body: bytes) -> WireError:
    """Return the error in `body`."""
    try:
        return _error_decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: invalid UTF-8
        return WireError()


def _decoded(answer: Answer, market: str, limit: int) -> DepthSnapshot:
    """Return the book in `answer` to a request for `limit` levels; raise `MalformedMessage`."""
    if answer.known is None:
        return decode_spot_snapshot(answer.body, market, limit)
    if NOWHERE in answer.known:
        return replace(decode_spot_snapshot(answer.body, market, limit), horizon=None)
    known_from, known_to = (None if end == NO_END else end for end in answer.known)
    declared = Horizon.of_texts(known_from, known_to)
    return decode_spot_snapshot(answer.body, market, limit, declared)


def _trades_in(body: bytes, market: str, from_id: int) -> list[Trade]:
    """Return the trades in an answer; raise `MalformedMessage` if it is not one."""
    try:
        rows = _rows_decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedMessage("list of trades", str(error), body) from error
    trades = [decode_repaired(bytes(row), market) for row in rows]
    ids = [from_id - 1, *(trade.trade_id for trade in trades)]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        raise MalformedMessage("list of trades", "its ids are not in order", body)
    return trades


def _has_no_book(body: bytes) -> bool:
    """Whether a depth answer says that there is no book of the symbol now."""
    try:
        answer = _no_book_decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return answer.lastUpdateId < 0 and not answer.bids and not answer.asks


class _Volumes:
    """The volumes of a list of tickers, read slice by slice; an odd ticker is left out."""

    def __init__(self) -> None:
        self.by_market: dict[str, Decimal] = {}
        self.left_out = 0
        self.elements = ArrayElements()

    def take(self, part: bytes) -> None:
        for element in self.elements.take(part):
            try:
                ticker = _ticker_decoder.decode(element)
            except (msgspec.DecodeError, ValueError, RecursionError):
                self.left_out += 1
                continue
            # Only short plain text: Python's decimals accept exponents that make sums useless.
            if _plain_volume(ticker.quoteVolume) and len(ticker.symbol) <= _LONGEST_MARKET:
                self.by_market[ticker.symbol] = Decimal(ticker.quoteVolume)
            else:
                self.left_out += 1
