"""The REST side: `ping`, `time`, `exchangeInfo`, `depth` and `ticker/24hr` of `/api/v3`.

Source: Binance Spot API, "General endpoints", "Market Data endpoints" and "Error codes".
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

import msgspec

from orderbook_desktop.exchange.local.answers import (
    Answer,
    error_answer,
    fault_answer,
    json_answer,
)
from orderbook_desktop.exchange.local.exchange_info import exchange_info
from orderbook_desktop.exchange.local.faults import Fault, FaultBoard, FaultKind
from orderbook_desktop.exchange.local.source import Listing, MarketSource
from orderbook_desktop.exchange.local.tickers import day_ticker
from orderbook_desktop.exchange.local.weights import (
    DEPTH_LIMIT_AT_MOST,
    EXCHANGE_INFO_WEIGHT,
    WeightMeter,
    depth_weight,
    tickers_weight,
)

_is_symbol: Final = re.compile(r"[A-Z0-9-_.]{1,20}").fullmatch
_LEGAL_SYMBOL: Final = "^[A-Z0-9-_.]{1,20}$"


class RestApi:
    """Answers the requests of `/api/v3/`."""

    def __init__(self, source: MarketSource, board: FaultBoard, weight_limit: int) -> None:
        self.weights = WeightMeter(weight_limit)
        self._source = source
        self._board = board

    async def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Return the answer to `GET` of `path` (behind `/api/v3/`)."""
        fault = self._board.take_http(path, query.get("symbol", ""))
        if fault and fault.kind is FaultKind.HTTP:
            self._board.note(fault, query.get("symbol", ""), f"{path}: {fault.status}")
            return fault_answer(fault.status, fault.retry_after)
        if path == "depth":
            return await self._depth(query, fault)
        if path == "exchangeInfo":
            return self._weighed(EXCHANGE_INFO_WEIGHT) or self._exchange_info(query)
        if path == "ticker/24hr":
            return self._tickers(query)
        if path in ("ping", "time"):
            now_ms = time.time_ns() // 1_000_000
            return self._weighed(1) or json_answer({"serverTime": now_ms} if path == "time" else {})
        return error_answer(-1000, "This endpoint does not exist.", status=404)

    def _weighed(self, weight: int) -> Answer | None:
        """Count `weight`; return the refusal where the minute's weight is used up."""
        wait_s = self.weights.use(weight, time.time())
        return fault_answer(429, wait_s) if wait_s else None

    async def _depth(self, query: dict[str, str], fault: Fault | None) -> Answer:
        market = query.get("symbol", "")
        refusal = _refusal(query) or self._unlisted(market)
        if refusal:
            self._weighed(depth_weight(1))
            return refusal
        limit = min(int(query.get("limit", "100")), DEPTH_LIMIT_AT_MOST)
        refusal = self._weighed(depth_weight(limit))
        if refusal:
            return refusal
        if fault:
            self._board.note(fault, market)
        if fault and fault.kind is FaultKind.HANG:
            # Ended from outside: by the client, or when the exchange closes.
            await asyncio.get_running_loop().create_future()
        if fault and fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        book = await self._source.book(market)
        if fault and fault.kind is FaultKind.STALE:
            book = self._source.older_book(market) or book
        return Answer(book.as_json(limit))

    def _exchange_info(self, query: dict[str, str]) -> Answer:
        asked = self._asked(query)
        if isinstance(asked, Answer):
            return asked
        info = exchange_info(asked, self.weights.limit)
        return json_answer({"serverTime": time.time_ns() // 1_000_000, **info})

    def _tickers(self, query: dict[str, str]) -> Answer:
        asked = self._asked(query)
        if isinstance(asked, Answer):
            return self._weighed(tickers_weight(1)) or asked
        is_all = query.keys().isdisjoint(("symbol", "symbols"))
        refusal = self._weighed(tickers_weight(None if is_all else len(asked)))
        if refusal:
            return refusal
        now_ms = time.time_ns() // 1_000_000
        tickers = [day_ticker(listing, now_ms) for listing in asked]
        return json_answer(tickers[0] if "symbol" in query else tickers)

    def _asked(self, query: dict[str, str]) -> list[Listing] | Answer:
        """Return the listings of the symbols that are asked for, or the refusal."""
        listings = self._source.listings
        if "symbol" in query:
            asked = [query["symbol"]]
        elif "symbols" in query:
            try:
                asked = msgspec.json.decode(query["symbols"], type=list[str])
            except msgspec.DecodeError:
                return error_answer(-1100, "Illegal characters found in parameter 'symbols'.")
        else:
            asked = list(listings)
        for market in asked:
            refusal = self._unlisted(market)
            if refusal:
                return refusal
        return [listings[market] for market in asked]

    def _unlisted(self, market: str) -> Answer | None:
        if not _is_symbol(market):
            return error_answer(
                -1100,
                "Illegal characters found in parameter 'symbol'; "
                f"legal range is '{_LEGAL_SYMBOL}'.",
            )
        if market not in self._source.listings:
            return error_answer(-1121, "Invalid symbol.")
        return None


def _refusal(query: dict[str, str]) -> Answer | None:
    """Return what is wrong with the parameters of a depth request."""
    if not query.get("symbol"):
        return error_answer(
            -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
        )
    unknown = query.keys() - {"symbol", "limit"}
    if unknown:
        return error_answer(
            -1101, f"Too many parameters; expected '2' and received '{len(query)}'."
        )
    limit = query.get("limit", "100")
    if not limit.isdecimal() or len(limit) > 20:
        return error_answer(
            -1100,
            "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
        )
    if int(limit) == 0:
        return error_answer(-1130, "Data sent for parameter 'limit' is not valid.")
    return None
