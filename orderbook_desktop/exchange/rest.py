"""Binance's REST interface: whole books as snapshots, and what was traded in a day.

Source: Binance Spot API, "Order book" (`GET /api/v3/depth`), "24hr ticker price change
statistics" (`GET /api/v3/ticker/24hr`), "HTTP Return Codes", "LIMITS".
aiohttp is imported with the first request, so that the window is not kept waiting.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    Paced,
    RateLimited,
    UnexpectedAnswer,
    UnknownSymbol,
    Unreachable,
    connect_reason,
    refusal,
)
from orderbook_desktop.exchange.limits import WeightLimit

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger(__name__)

_WEIGHT_OF_LIMIT: Final = {100: 5, 500: 25, 1000: 50, 5000: 250}
_WEIGHT_OF_TICKERS: Final = 80
# With a minute's weight, so many books can be had in full depth, or a hundred of the other.
_BOOKS_IN_FULL_DEPTH: Final = 20
_DEPTH_OF_MANY: Final = 1000
_TIMEOUT_S: Final = 10.0
# Each answer tells the weight used so far: more at a time would overshoot the limit.
_AT_A_TIME: Final = 4
# Binance Spot API, "Error codes": illegal characters (only the symbol can have any), and
# an invalid symbol.
_NO_SUCH_SYMBOL: Final = frozenset({-1100, -1121})


class _WireError(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _WireTicker(msgspec.Struct):
    symbol: str
    quoteVolume: str  # noqa: N815 (the exchange's name)


_tickers_decoder: Final = msgspec.json.Decoder(list[_WireTicker])


class BinanceRest:
    """Fetches snapshots from `base_url`; is a `SnapshotSource`. Call `close()` when done.

    `limit` is the number of levels a side: 100, 500, 1000 or 5000. A request that takes
    longer than `timeout_s` has failed.

    Tell in `books` how many markets are followed. Beyond 20 a book is asked for with 1,000
    levels a side at most: a hundred of them are there within a minute, at the start and after
    each loss of the connection, where 5,000 levels would take five.
    """

    def __init__(self, base_url: str, limit: int = 5000, timeout_s: float = _TIMEOUT_S) -> None:
        self.books = 1
        self._base_url = base_url.rstrip("/")
        self._limit = limit
        self._timeout_s = timeout_s
        self._weight = WeightLimit()
        self._pause_status = 429
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._session: aiohttp.ClientSession | None = None

    async def snapshot(self, market: str, limit: int | None = None) -> DepthSnapshot:
        """Return the book of `market` now, with up to `limit` levels a side (default: `depth`).

        Raises `ExchangeError`.
        While a pause that the exchange asked for goes on, it raises `RateLimited`; where
        another request would overstep the exchange's limit, `Paced`. Both tell when to ask
        again, and nothing is sent.
        """
        async with self._turns:
            limit = limit or self.depth
            self._take_weight(_WEIGHT_OF_LIMIT[limit])
            body = await self._get("/api/v3/depth", {"symbol": market, "limit": str(limit)})
        try:
            # Thousands of levels take milliseconds to decode: not in the event loop.
            return await asyncio.to_thread(decode_snapshot, body, market)
        except MalformedMessage as error:
            _log.warning("no snapshot of %s (%s): %r", market, error.reason, error.excerpt)
            raise UnexpectedAnswer(self._base_url, error.reason) from error

    @property
    def depth(self) -> int:
        """How many levels a side a book is asked for with now."""
        is_full = self.books <= _BOOKS_IN_FULL_DEPTH
        return self._limit if is_full else min(self._limit, _DEPTH_OF_MANY)

    async def day_volumes(self) -> dict[str, Decimal]:
        """Return what was traded in 24 hours, in the quote asset, by market.

        Raises `ExchangeError`, as `snapshot` does.
        """
        async with self._turns:
            self._take_weight(_WEIGHT_OF_TICKERS)
            body = await self._get("/api/v3/ticker/24hr", {"type": "MINI"})
        try:
            return await asyncio.to_thread(_volumes, body)
        except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
            _log.warning("no volumes (%s): %r", error, body[:200])
            raise UnexpectedAnswer(self._base_url, "no list of volumes") from error

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _take_weight(self, weight: int) -> None:
        now_s = time.time()
        if (pause := self._weight.pause(now_s)) > 0:
            raise RateLimited(pause, self._pause_status)
        if (delay := self._weight.delay(weight, now_s)) > 0:
            raise Paced(delay)
        self._weight.spend(weight, now_s)

    async def _get(self, path: str, query: dict[str, str]) -> bytes:
        if self._session is None:
            # The loop must not wait for the import, nor for the lock of one that goes on.
            await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp  # noqa: PLC0415 (see the module's docstring)

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        try:
            async with self._session.get(self._base_url + path, params=query) as answer:
                body = await answer.read()
        except TimeoutError as error:
            reason = f"no answer within {self._timeout_s:.0f} s"
            raise Unreachable(self._base_url, reason) from error
        except aiohttp.ClientConnectorCertificateError as error:
            reason = connect_reason(error.certificate_error)
            raise Unreachable(self._base_url, reason) from error
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(self._base_url, connect_reason(error.os_error)) from error
        except (aiohttp.NonHttpUrlClientError, ValueError) as error:  # InvalidURL is one too.
            raise UnexpectedAnswer(self._base_url, "not a web address") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(self._base_url, connect_reason(error)) from error
        self._note_weight(answer.headers.get("X-MBX-USED-WEIGHT-1M"))
        if answer.status != 200:
            retry_after = answer.headers.get("Retry-After")
            raise self._refusal(answer.status, body, retry_after, query)
        return body

    def _note_weight(self, header: str | None) -> None:
        if header is not None and header.isdecimal():
            self._weight.told(int(header), time.time())

    def _refusal(
        self, status: int, body: bytes, retry_after: str | None, query: dict[str, str]
    ) -> ExchangeError:
        _log.warning("HTTP %d for %s: %s", status, query, body[:200].decode("utf-8", "replace"))
        now_s = time.time()
        error = refusal(self._base_url, status, retry_after, now_s)
        if isinstance(error, RateLimited):
            self._weight.pause_until(now_s + error.retry_after_s)
            self._pause_status = status
        if not isinstance(error, UnexpectedAnswer):
            return error
        try:
            told = msgspec.json.decode(body, type=_WireError)
        except (msgspec.DecodeError, ValueError):  # ValueError: invalid UTF-8
            return error
        if told.code in _NO_SUCH_SYMBOL and "symbol" in query:
            return UnknownSymbol(query["symbol"])
        return UnexpectedAnswer(self._base_url, f"HTTP {status}, {told.msg or told.code}")


def _volumes(body: bytes) -> dict[str, Decimal]:
    volumes = {one.symbol: Decimal(one.quoteVolume) for one in _tickers_decoder.decode(body)}
    if not all(volume.is_finite() for volume in volumes.values()):
        raise ValueError("a volume that is no number")
    return volumes
