"""Follows the trades of one market, and judges whether any is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Protocol

from msgspec import Struct

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import (
    EventStream,
    StreamBroken,
    StreamConnected,
    StreamItem,
    TradeSink,
)
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.streams import Continuity, Stream
from orderbook_desktop.core.trades import TRADE, Trade, parts_missing
from orderbook_desktop.core.wording import counted

_log = logging.getLogger(__name__)

# For each trade; to read a member of an enumeration is slow (Python 3.11).
_NEXT: Final = Continuity.NEXT


class TradeTape(Protocol):
    """Shows trades. None of its methods blocks or raises."""

    def add(self, trade: Trade) -> None:
        """Take a trade; one that it has already is ignored."""
        ...

    def broken(self, cause: GapCause, detail: str, *, after_id: int | None = None) -> None:
        """Take note that trades are missing after the one with an id."""
        ...


class _Loss(Struct, frozen=True):
    """Why trades may be missing after the last one."""

    cause: GapCause
    detail: str


class TradeFeed:
    """Passes the trades of `market` on to `tape` and, where one is attached, to a `TradeSink`.

    `kind` is the source of `stream`. Only of the exchange's own trades it logs what is missing:
    what is missing in a recording was told before.

    `await run()` until it is cancelled. Each trade is passed on once, in the order of the ids. A
    lost connection is a loss only if ids are missing after it: a market may be quiet for hours.
    `holes` counts the losses, and `left_out` the exchange's own trades that it left out by itself
    (`core.trades.parts_missing`). Missing trades can be asked for (`engine.trade_repair`).
    """

    def __init__(self, market: str, stream: EventStream, tape: TradeTape, kind: SourceKind) -> None:
        self.market = market
        self.holes = 0
        self.left_out = 0
        self._stream = stream
        self._tape = tape
        self._is_direct = kind is SourceKind.DIRECT
        self._sink: TradeSink | None = None
        self._last: Trade | None = None
        # Of the stream, since the last trade.
        self._loss: _Loss | None = None
        # The last trade that was left out, as it could not follow.
        self._misfit: Trade | None = None
        self._changed: Callable[[], None] = lambda: None
        self._opened: Callable[[], None] = lambda: None

    @property
    def last(self) -> Trade | None:
        """The newest trade; None before the first one."""
        return self._last

    def call_on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each trade."""
        self._changed = changed

    def call_on_open(self, opened: Callable[[], None]) -> None:
        """Call `opened` each time the stream opens: what is stored from then on comes by it."""
        self._opened = opened

    def attach(self, sink: TradeSink) -> None:
        """Record to `sink` from the next trade on."""
        self._sink = sink

    def detach(self) -> None:
        """Stop recording. The caller tells the sink why."""
        if self._sink is not None and self._loss is not None:
            # What was lost before comes before that.
            self._sink.broken(self._loss.cause, self._loss.detail)
        self._sink = None

    def lost(self, cause: GapCause, detail: str) -> None:
        """Note that trades are known to be missing after the last one."""
        self._loss = self._loss or _Loss(cause, detail)

    def forget(self) -> None:
        """Let the next `run()` start afresh; cancel the present one first."""
        self._last = self._loss = self._misfit = None

    async def run(self) -> None:
        """Follow the stream until cancelled; an exception from here is a bug."""
        async with aclosing(self._stream.items(Stream(self.market, TRADE))) as items:
            async for item in items:
                self._take(item)

    def _take(self, item: StreamItem) -> None:
        match item:
            case Trade(market=market) if market != self.market:
                detail = f"A trade of {market} came in the stream of {self.market}."
                _log.warning("%s: %s", self.market, detail)
                self.lost(GapCause.MALFORMED, detail)
            case Trade():
                self._take_trade(item)
            case StreamConnected():
                self._opened()
            case StreamBroken(cause, detail):
                # The connection's end, which is of all its markets, is a warning of its own.
                _log.debug("%s: the trades: %s (%s)", self.market, detail, cause.value)
                self.lost(cause, detail)

    def _take_trade(self, trade: Trade) -> None:
        if trade.is_repaired:
            # It is of before, and says nothing of the stream.
            self._show(trade)
            return
        last = self._last
        step = _NEXT if last is None else TRADE.continuity(last, trade)
        if last is not None and step is not _NEXT and not self._is_taken(step, last, trade):
            return
        if last is not None and step is _NEXT and (missing := parts_missing(last, trade)):
            self.left_out += missing
            _log.log(
                logging.INFO if self._is_direct else logging.DEBUG,
                "%s: the exchange itself has left out %s before trade id %d",
                *(self.market, counted(missing, "trade"), trade.trade_id),
            )
        self._last, self._loss, self._misfit = trade, None, None
        if self._sink is not None:
            self._sink.received(trade)
        self._show(trade)

    def _show(self, trade: Trade) -> None:
        self._tape.add(trade)
        self._changed()

    def _is_taken(self, step: Continuity, last: Trade, trade: Trade) -> bool:
        """Return whether to take `trade`, which does not continue `last`; tell what is missing."""
        if step is Continuity.HOLE:
            detail = f"Trade ids {last.trade_id + 1} to {trade.trade_id - 1} are missing."
            loss = self._loss or _Loss(GapCause.FEED_GAP, detail)
            self._broken(last, loss.cause, loss.detail)
            return True
        if step is Continuity.OLD:
            # It may have changed places with another one.
            self._show(trade)
        before, self._misfit = self._misfit, trade
        if before is not None and _begins_anew(last, before, trade):
            self._broken(last, GapCause.MALFORMED, TRADE.misfit_of(last, trade))
            return True
        if step is Continuity.IMPLAUSIBLE:
            _log.warning("%s: a trade is left out: %s", self.market, TRADE.misfit_of(last, trade))
        return False

    def _broken(self, last: Trade, cause: GapCause, detail: str) -> None:
        """Tell that trades are missing after `last`."""
        # The loss of a stream is in the log already.
        level = logging.WARNING if self._loss is None else logging.INFO
        level = level if self._is_direct else logging.DEBUG
        _log.log(level, "%s: trades are missing: %s", self.market, detail)
        self.holes += 1
        self._tape.broken(cause, detail, after_id=last.trade_id)
        if self._sink is not None:
            self._sink.broken(cause, detail)


def _begins_anew(last: Trade, before: Trade, trade: Trade) -> bool:
    """Whether two trades that were left out show that the ids began anew after `last`.

    Trades that come once more are not later than the last one.
    """
    if TRADE.continuity(before, trade) is not Continuity.NEXT:
        return False
    is_old = TRADE.continuity(last, trade) is Continuity.OLD
    return not is_old or trade.event_ms > last.event_ms
