"""The traded spot symbols and their filters, from the exchange through ccxt.

ccxt is large and works through thousands of symbols in one go: it is imported and used in a
thread with an event loop of its own, so that neither the window nor a stream waits for all
of it. Threads share one interpreter: decoding thousands of symbols is a single step, and
others wait for some hundredths of a second until it is done.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import parse_units
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    UnexpectedAnswer,
    Unreachable,
    connect_reason,
    refusal,
)

_log = logging.getLogger(__name__)

_CCXT_BINANCE: Final = "ccxt.async_support.binance"
_CCXT_ERRORS: Final = "ccxt.base.errors"
_TIMEOUT_S: Final = 20.0


async def fetch_symbols(base_url: str, timeout_s: float = _TIMEOUT_S) -> list[SymbolInfo]:
    """Return every spot symbol in trading, in alphabetical order; raises `ExchangeError`.

    A request that takes longer than `timeout_s` has failed. Cancelling ends the thread too.
    """
    thread = _LoadingThread(base_url.rstrip("/"), timeout_s)
    try:
        return await asyncio.to_thread(thread.load)
    finally:
        thread.stop()


class _LoadingThread:
    """What runs in the thread: `load` until it is done, or `stop` is called from outside."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stopped = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def load(self) -> list[SymbolInfo]:
        """Return the symbols; raises `ExchangeError`."""
        module = importlib.import_module(_CCXT_BINANCE)
        # Explicit, because the program's own policy may make Qt's loops.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            try:
                return runner.run(self._load(module.binance))
            except asyncio.CancelledError:
                return []  # Nobody waits for it any more.

    def stop(self) -> None:
        """End `load`, if it goes on."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                loop, task = self._running
                with suppress(RuntimeError):  # The loop was closed at this instant.
                    loop.call_soon_threadsafe(task.cancel)

    async def _load(self, binance: Any) -> list[SymbolInfo]:
        task = asyncio.current_task()
        with self._lock:
            if self._stopped or task is None:
                return []
            self._running = asyncio.get_running_loop(), task
        try:
            return await _loaded(binance, self._base_url, self._timeout_s)
        finally:
            with self._lock:
                self._running = None


async def _loaded(binance: Any, base_url: str, timeout_s: float) -> list[SymbolInfo]:
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    client = binance({"options": options, "timeout": int(timeout_s * 1000)})
    client.urls["api"]["public"] = f"{base_url}/api/v3"
    client.aiohttp_trust_env = True
    answer = _LastAnswer()
    client.on_rest_response = answer.note
    client.on_json_response = _decoded
    known: Any = importlib.import_module(_CCXT_ERRORS)
    try:
        markets = await client.load_markets()
        found = [_symbol(one) for one in markets.values() if one["spot"] and one["active"]]
    except known.BaseError as error:
        raise _known(error, answer, base_url, known) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # What ccxt does with an answer, or an address, that makes no sense to it.
        _log.warning("the symbols could not be read: %r", error)
        raise UnexpectedAnswer(base_url, "no list of symbols") from error
    finally:
        await client.close()
    if not found:
        raise UnexpectedAnswer(base_url, "no spot symbols")
    return sorted(found, key=lambda info: info.symbol)


def _decoded(body: str) -> Any:
    """Take the place of ccxt's decoder, which holds up the other threads for longer."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(*error.args) from error


class _LastAnswer:
    """Looks over ccxt's shoulder: its exceptions don't tell status and headers."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None

    def note(
        self, code: int, _reason: str, _url: str, _method: str, headers: Any, body: str, *_: Any
    ) -> str:
        """Take the place of ccxt's `on_rest_response`."""
        self.status = code
        named = (value for name, value in headers.items() if name.lower() == "retry-after")
        self.retry_after = next(named, None)
        return body.strip()


def _symbol(market: Mapping[str, Any]) -> SymbolInfo:
    filters = {entry.get("filterType"): entry for entry in market["info"].get("filters", ())}
    return SymbolInfo(
        symbol=market["symbol"],
        market=market["id"],
        base=market["base"],
        quote=market["quote"],
        tick_size=_filter_units(filters.get("PRICE_FILTER", {}).get("tickSize"), market["id"]),
        step_size=_filter_units(filters.get("LOT_SIZE", {}).get("stepSize"), market["id"]),
    )


def _filter_units(text: object, market: str) -> int:
    if not isinstance(text, str):
        return 0
    try:
        return parse_units(text)
    except KnownError:
        _log.warning("%s has the odd filter value %r", market, text)
        return 0


def _known(error: Exception, answer: _LastAnswer, base_url: str, known: Any) -> ExchangeError:
    _log.warning("the symbols could not be loaded: %.300s", error)
    if answer.status is not None and answer.status != 200:
        return refusal(base_url, answer.status, answer.retry_after, time.time())
    if answer.status == 200 or not isinstance(error, known.NetworkError):
        return UnexpectedAnswer(base_url, "no list of symbols")
    cause = error.__cause__
    for inner in ("certificate_error", "os_error"):  # What aiohttp wraps.
        cause = getattr(cause, inner, cause)
    reason = connect_reason(cause) if cause is not None else type(error).__name__
    return Unreachable(base_url, reason)
