"""The REST side: `ping`, `time`, `exchangeInfo`, `depth`, `aggTrades`, `ticker/24hr` of `/api/v3`.

Source: Binance Spot API, "General endpoints", "Market Data endpoints" and "Error codes".
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from orderbook_desktop.exchange.http import KNOWN_FROM, KNOWN_TO
from orderbook_desktop.exchange.local.faults import Fault, FaultBoard, FaultKind
from orderbook_desktop.exchange.local.source import Listing, MarketSource
from orderbook_desktop.exchange.local.trades import TradeTapes

_is_symbol: Final = re.compile(r"[A-Z0-9-_.]{1,20}").fullmatch
_LEGAL_SYMBOL: Final = "^[A-Z0-9-_.]{1,20}$"

_EXCHANGE_INFO_WEIGHT: Final = 20
_DEPTH_LIMIT_AT_MOST: Final = 5000
_TICKERS_WEIGHTS: Final = ((20, 2), (100, 40))
_ALL_TICKERS_WEIGHT: Final = 80
_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (_DEPTH_LIMIT_AT_MOST, 250))

_TRADES_WEIGHT: Final = 4
_TRADES_USUALLY: Final = 500
_TRADES_AT_MOST: Final = 1000
_TRADE_NUMBERS: Final = ("fromId", "startTime", "endTime", "limit")

_MANDATORY: Final = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."

_DAY_MS: Final = 86_400_000

_REASONS = {418: "I'm a teapot", 451: "Unavailable For Legal Reasons"}


class RestApi:
    """Answers the requests of `/api/v3/`."""

    def __init__(
        self,
        source: MarketSource,
        tapes: TradeTapes,
        board: FaultBoard,
        weight_limit: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._now_ns = now_ns
        self.weights = _WeightMeter(weight_limit)
        self._source = source
        self._tapes = tapes
        self._board = board

    async def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Return the answer to `GET` of `path` (behind `/api/v3/`)."""
        fault = self._board.take_http(path, query.get("symbol", ""))
        if fault and fault.kind is FaultKind.HTTP:
            self._board.note(fault, query.get("symbol", ""), f"{path}: {fault.status}")
            return _fault_answer(fault.status, fault.retry_after)
        if path == "depth":
            return await self._depth(query, fault)
        if path == "aggTrades":
            return await self._trades(query, fault)
        return self._of_the_exchange(path, query)

    def _of_the_exchange(self, path: str, query: dict[str, str]) -> Answer:
        """Return the answer to a request that is not of one market."""
        if path == "exchangeInfo":
            return self._weighed(_EXCHANGE_INFO_WEIGHT) or self._exchange_info(query)
        if path == "ticker/24hr":
            return self._tickers(query)
        if path in ("ping", "time"):
            now_ms = self._now_ns() // 1_000_000
            return self._weighed(1) or json_answer({"serverTime": now_ms} if path == "time" else {})
        return error_answer(-1000, "This endpoint does not exist.", status=404)

    def _weighed(self, weight: int) -> Answer | None:
        """Count `weight`; return the refusal where the minute's weight is used up."""
        wait_s = self.weights.use(weight, self._now_ns() / 1e9)
        return _fault_answer(429, wait_s) if wait_s else None

    async def _depth(self, query: dict[str, str], fault: Fault | None) -> Answer:
        market = query.get("symbol", "")
        refusal = _refusal(query, ("limit",)) or self._unlisted(market)
        if refusal:
            self._weighed(_depth_weight(1))
            return refusal
        limit = min(int(query.get("limit", "100")), _DEPTH_LIMIT_AT_MOST)
        refusal = self._weighed(_depth_weight(limit))
        if refusal:
            return refusal
        await self._let_happen(fault, market)
        book = await self._source.book(market)
        if fault and fault.kind is FaultKind.STALE:
            book = self._source.older_book(market) or book
        known_from, known_to = book.known_texts
        return Answer(book.as_json(limit), headers={KNOWN_FROM: known_from, KNOWN_TO: known_to})

    async def _trades(self, query: dict[str, str], fault: Fault | None) -> Answer:
        market = query.get("symbol", "")
        refusal = self._weighed(_TRADES_WEIGHT) or _refusal(query, _TRADE_NUMBERS)
        refusal = refusal or self._unlisted(market)
        if refusal:
            return refusal
        await self._let_happen(fault, market)
        from_id, from_ms, to_ms, limit = (
            None if name not in query else int(query[name]) for name in _TRADE_NUMBERS
        )
        count = min(_TRADES_USUALLY if limit is None else limit, _TRADES_AT_MOST)
        tape = self._tapes.of(market)
        if from_ms is not None and to_ms is not None and from_ms > to_ms:
            return error_answer(-1102, _MANDATORY.format("endTime"))
        if from_id is None:
            found = tape.between(from_ms, to_ms, count)
        elif from_ms is not None or to_ms is not None:
            return error_answer(-1128, "Combination of optional parameters invalid.")
        elif tape.has_forgotten(from_id):
            return error_answer(-1130, "Data sent for parameter 'fromId' is not valid.")
        else:
            found = tape.since_id(from_id, count)
        return json_answer([trade.fields() for trade in found])

    async def _let_happen(self, fault: Fault | None, market: str) -> None:
        """Note the fault of a request of `market`; wait where its answer hangs or is late."""
        if fault is None:
            return
        self._board.note(fault, market)
        if fault.kind is FaultKind.HANG:
            # The client ends it, or the exchange when it closes.
            await asyncio.get_running_loop().create_future()
        if fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)

    def _exchange_info(self, query: dict[str, str]) -> Answer:
        asked = self._asked(query)
        if isinstance(asked, Answer):
            return asked
        info = _info_body(asked, self.weights.limit)
        return json_answer({"serverTime": self._now_ns() // 1_000_000, **info})

    def _tickers(self, query: dict[str, str]) -> Answer:
        asked = self._asked(query)
        if isinstance(asked, Answer):
            return self._weighed(_tickers_weight(1)) or asked
        is_all = query.keys().isdisjoint(("symbol", "symbols"))
        refusal = self._weighed(_tickers_weight(None if is_all else len(asked)))
        if refusal:
            return refusal
        now_ms = self._now_ns() // 1_000_000
        tickers = [_day_ticker(listing, now_ms) for listing in asked]
        return json_answer(tickers[0] if "symbol" in query else tickers)

    def _asked(self, query: dict[str, str]) -> list[Listing] | Answer:
        """Return the listings of the requested symbols, or the refusal."""
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


def _refusal(query: dict[str, str], numbers: Sequence[str]) -> Answer | None:
    """Return the refusal of a request whose parameters are a symbol and `numbers`, or None."""
    if not query.get("symbol"):
        return error_answer(-1102, _MANDATORY.format("symbol"))
    if not query.keys() <= {"symbol", *numbers}:
        count = len(numbers) + 1
        return error_answer(
            -1101, f"Too many parameters; expected '{count}' and received '{len(query)}'."
        )
    for name in numbers:
        number = query.get(name, "1")
        if not (number.isascii() and number.isdecimal()) or len(number) > 20:
            legal = "legal range is '^[0-9]{1,20}$'"
            return error_answer(-1100, f"Illegal characters found in parameter '{name}'; {legal}.")
    if int(query.get("limit", "1")) == 0:
        return error_answer(-1130, "Data sent for parameter 'limit' is not valid.")
    return None


def _depth_weight(limit: int) -> int:
    """Return the weight of a depth request for `limit` levels a side (at most 5,000)."""
    return next(weight for most, weight in _DEPTH_WEIGHTS if limit <= most)


def _tickers_weight(symbols: int | None) -> int:
    """Return the weight of a request for the 24-hour tickers of `symbols`, None: of all."""
    if symbols is None:
        return _ALL_TICKERS_WEIGHT
    return next((w for most, w in _TICKERS_WEIGHTS if symbols <= most), _ALL_TICKERS_WEIGHT)


class _WeightMeter:
    """Counts the weight used in the current minute; `limit` is what a minute allows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._minute = 0

    def use(self, weight: int, now_s: float) -> int:
        """Count `weight` at `now_s` (s since the epoch); return the seconds to wait, 0 if none."""
        if self._minute != int(now_s // 60):
            self._minute, self.used = int(now_s // 60), 0
        self.used += weight
        return 0 if self.used <= self.limit else int(60 - now_s % 60) + 1


def _info_body(listings: Iterable[Listing], weight_limit: int) -> dict[str, Any]:
    """Return the body for `listings`, without the time."""
    return {
        "timezone": "UTC",
        "rateLimits": [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _rate_limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
        ],
        "exchangeFilters": [],
        "symbols": [_symbol(listing) for listing in listings],
    }


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.market,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(listing: Listing) -> list[dict[str, Any]]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": listing.tick_size,
            "maxPrice": "1000000.00000000",
            "tickSize": listing.tick_size,
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": listing.step_size,
            "maxQty": "92141578.00000000",
            "stepSize": listing.step_size,
        },
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "92141578.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": listing.min_notional,
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]


def _day_ticker(listing: Listing, now_ms: int) -> dict[str, Any]:
    """Return the ticker at `now_ms` (ms since the epoch): its volume, and one price for all.

    Source: Binance Spot API, "24hr ticker price change statistics", the fields of `type=MINI`.
    """
    price = Decimal(listing.price)
    base_volume = Decimal(listing.day_volume) / price if price else price
    prices = dict.fromkeys(("openPrice", "highPrice", "lowPrice", "lastPrice"), listing.price)
    return {
        "symbol": listing.market,
        **prices,
        "volume": f"{base_volume:.8f}",
        "quoteVolume": listing.day_volume,
        "openTime": now_ms - _DAY_MS,
        "closeTime": now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": 0,
    }


class Answer(Struct, frozen=True):
    """The status, JSON body and extra headers of an HTTP answer."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The reason phrase."""
        try:
            return _REASONS.get(self.status) or HTTPStatus(self.status).phrase
        except ValueError:
            return "Unknown"


def json_answer(value: object, status: int = 200) -> Answer:
    """Return `value` as JSON."""
    return Answer(msgspec.json.encode(value), status)


def error_answer(code: int, message: str, status: int = 400, retry_after: int = -1) -> Answer:
    """Return the exchange's error JSON, with Retry-After unless `retry_after` is negative."""
    headers = {"Retry-After": str(retry_after)} if retry_after >= 0 else {}
    return Answer(msgspec.json.encode({"code": code, "msg": message}), status, headers)


def _fault_answer(status: int, retry_after: int) -> Answer:
    """Return the exchange's answer with the HTTP `status` of a failure."""
    code, message = {
        403: (0, "Forbidden by the web application firewall."),
        418: (-1003, "Way too much request weight used; IP banned."),
        429: (-1003, "Too much request weight used; current limit is 6000 per 1 MINUTE."),
        451: (0, "Service unavailable from a restricted location."),
    }.get(status, (-1000, "An unknown error occurred while processing the request."))
    return error_answer(code, message, status, retry_after)
