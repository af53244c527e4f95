"""The traded spot symbols and their filters, named as ccxt names them.

ccxt is large, and a list of all symbols is long. So a thread with an event loop of its own imports
ccxt and reads the list, and neither the window nor a stream waits for it. Threads share one
interpreter. So the list is read listing by listing, as it arrives.
"""

from __future__ import annotations

import asyncio
import heapq
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError, MalformedMessage
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.symbols import LONGEST_NAME, SymbolInfo
from orderbook_desktop.core.units import parse_units
from orderbook_desktop.exchange.array_elements import ArrayElements
from orderbook_desktop.exchange.errors import ExchangeError, UnexpectedAnswer, WebPage
from orderbook_desktop.exchange.http import MOST_OF_A_LIST, Answer, HttpClient
from orderbook_desktop.exchange.rest import error_in_body, refusal_in

_log = logging.getLogger(__name__)

_CCXT_BINANCE: Final = "ccxt.async_support.binance"
_TIMEOUT_S: Final = 20.0
_MOST_SYMBOLS: Final = 150_000
_SORTED_AT_ONCE: Final = 2_000
_TOLD_LEFT_OUT: Final = 20
# ccxt also treats symbols of this group as not traded.
_GROUP: Final = "TRD_GRP_003"


class _WireFilter(msgspec.Struct):
    filterType: str = ""  # noqa: N815 (the exchange's name)
    tickSize: object = None  # noqa: N815
    stepSize: object = None  # noqa: N815


class _WireListing(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815 (the exchange's name)
    quoteAsset: str  # noqa: N815
    filters: list[_WireFilter] = []
    permissions: object = None
    contractType: object = None  # noqa: N815


_listing_decoder: Final = msgspec.json.Decoder(_WireListing)


async def fetch_symbols(
    base_url: str, timeout_s: float = _TIMEOUT_S, now_s: Callable[[], float] = time.time
) -> list[SymbolInfo]:
    """Return every spot symbol in trading, in alphabetical order; raises `ExchangeError`.

    A request fails after `timeout_s`. Cancelling also ends the thread. `now_s` is the time of day.
    """
    thread = _LoadingThread(base_url.rstrip("/"), timeout_s, now_s)
    try:
        return await asyncio.to_thread(thread.load)
    finally:
        thread.stop()


class _LoadingThread:
    """The thread's work: `load` runs until it is done, or until `stop` is called from outside."""

    def __init__(self, base_url: str, timeout_s: float, now_s: Callable[[], float]) -> None:
        self._base_url = base_url
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stopped = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def load(self) -> list[SymbolInfo]:
        """Return the symbols; raises `ExchangeError`."""
        module = importlib.import_module(_CCXT_BINANCE)
        # Named here, because the program's own policy may create loops of Qt.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            try:
                listings = runner.run(self._load(module.binance().commonCurrencies))
            except asyncio.CancelledError:
                return []  # The caller was cancelled and does not wait any more.
        if listings is None:
            return []
        if listings.left_out:
            _log.warning(
                "%d of the exchange's listings are left out, because they could not be read",
                listings.left_out,
            )
        return listings.in_order()

    def stop(self) -> None:
        """End `load`, if it goes on."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                loop, task = self._running
                with suppress(RuntimeError):  # The loop was closed at this instant.
                    loop.call_soon_threadsafe(task.cancel)

    async def _load(self, common_names: Mapping[str, str]) -> Listings | None:
        task = asyncio.current_task()
        with self._lock:
            if self._stopped or task is None:
                return None
            self._running = asyncio.get_running_loop(), task
        try:
            return await _loaded(common_names, self._base_url, self._timeout_s, self._now_s)
        finally:
            with self._lock:
                self._running = None


async def _loaded(
    common_names: Mapping[str, str], base_url: str, timeout_s: float, now_s: Callable[[], float]
) -> Listings:
    client = HttpClient(base_url, timeout_s)
    listings = Listings(common_names)
    try:
        answer = await client.get("/api/v3/exchangeInfo", {}, MOST_OF_A_LIST, listings.take)
    except MalformedMessage as error:
        _log.warning("the symbols could not be loaded: %s", error)
        raise UnexpectedAnswer(base_url, "no list of symbols") from error
    except TooManySymbols as error:
        _log.warning("the symbols could not be loaded: %s", error)
        raise UnexpectedAnswer(base_url, str(error)) from error
    except ExchangeError as error:
        _log.warning("the symbols could not be loaded: %s", error)
        raise
    finally:
        await client.close()
    if answer.status == 200 and listings.is_whole and listings.by_market:
        return listings
    if answer.status == 200:
        answer = replace(answer, body=listings.beginning)
    shown = plain_text(answer.body[:1000].decode("utf-8", "replace"))
    _log.warning("the symbols could not be loaded (HTTP %d): %s", answer.status, shown)
    raise _no_list(answer, listings, base_url, now_s())


def _no_list(answer: Answer, listings: Listings, base_url: str, now_s: float) -> ExchangeError:
    if answer.status != 200 or error_in_body(answer.body).code:
        return refusal_in(answer, base_url, now_s)
    if answer.body.lstrip().startswith(b"<"):
        return WebPage(base_url)
    if listings.is_whole:
        return UnexpectedAnswer(base_url, "no spot symbols")
    return UnexpectedAnswer(base_url, "no list of symbols, or one that breaks off")


class TooManySymbols(KnownError):
    """The list has more symbols than any exchange has."""

    def __str__(self) -> str:
        return f"a list of more than {_MOST_SYMBOLS:,} symbols"


class Listings:
    """The symbols in trading of an `exchangeInfo` answer, taken slice by slice.

    `common_names` are the names of assets that differ from the exchange's. A listing that can't be
    understood is left out, and so is a second listing of a market: `left_out` counts both.
    """

    def __init__(self, common_names: Mapping[str, str]) -> None:
        self.by_market: dict[str, SymbolInfo] = {}
        self.left_out = 0
        self._names = common_names
        self._elements = ArrayElements("symbols")

    @property
    def is_whole(self) -> bool:
        """Whether the end of the list was seen."""
        return self._elements.is_whole

    @property
    def beginning(self) -> bytes:
        """The beginning of the answer."""
        return self._elements.beginning

    def take(self, part: bytes) -> None:
        """Take the next bytes; raises `MalformedMessage` and `TooManySymbols`."""
        for element in self._elements.take(part):
            try:
                info = self._symbol(_listing_decoder.decode(element))
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                self._leave_out(element, str(error))
                continue
            if info is None:
                continue
            if info.market in self.by_market:
                self._leave_out(element, "it is listed before")
            elif len(self.by_market) >= _MOST_SYMBOLS:
                raise TooManySymbols
            else:
                self.by_market[info.market] = info

    def in_order(self) -> list[SymbolInfo]:
        """Return the symbols in alphabetical order."""
        infos = list(self.by_market.values())
        # Sorting all of them would be one long step that blocks the other threads.
        parts = range(0, len(infos), _SORTED_AT_ONCE)
        ordered = (sorted(infos[at : at + _SORTED_AT_ONCE], key=_by_symbol) for at in parts)
        return list(heapq.merge(*ordered, key=_by_symbol))

    def _leave_out(self, element: bytes, reason: str) -> None:
        self.left_out += 1
        if self.left_out <= _TOLD_LEFT_OUT:
            shown = plain_text(element[:300].decode("utf-8", "replace"), 80)
            _log.info("left out the listing %s (%s)", shown, plain_text(reason, 80))

    def _symbol(self, listing: _WireListing) -> SymbolInfo | None:
        """Return the symbol, or None where it is not in trading; raises `ValueError`."""
        names = (listing.symbol, listing.baseAsset, listing.quoteAsset)
        if not all(name.isalnum() and len(name) <= LONGEST_NAME for name in names):
            raise ValueError("an odd name")
        is_restricted = isinstance(listing.permissions, list) and _GROUP in listing.permissions
        if listing.status != "TRADING" or is_restricted or listing.contractType is not None:
            return None
        base, quote = (self._names.get(name, name) for name in names[1:])
        tick, step = _sizes(listing)
        symbol = f"{base}/{quote}"
        return SymbolInfo(symbol, listing.symbol, sys.intern(base), sys.intern(quote), tick, step)


def _by_symbol(info: SymbolInfo) -> str:
    return info.symbol


def _sizes(listing: _WireListing) -> tuple[int, int]:
    """Return tick size and step size, each 0 where it is not given."""
    found = {rule.filterType: rule for rule in listing.filters}
    tick, step = found.get("PRICE_FILTER"), found.get("LOT_SIZE")
    return (
        _filter_units(tick and tick.tickSize, listing.symbol),
        _filter_units(step and step.stepSize, listing.symbol),
    )


def _filter_units(text: object, market: str) -> int:
    if not isinstance(text, str):
        return 0
    try:
        return parse_units(text)
    except KnownError:
        _log.info("%s has the odd filter value %s", market, plain_text(text, 40))
        return 0
