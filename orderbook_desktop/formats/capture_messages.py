"""The messages in a capture's lines: events, whole books, and what is neither.

The reader also accepts symbols in lower case, and levels with a third element, as the exchange sent
them until 2019. It spells such an event as the exchange spells it today.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage, OtherMarket
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import (
    TextLevels,
    WireInt,
    decode_snapshot,
    refuse_futures,
    refuse_futures_event,
)
from orderbook_desktop.core.frames import ControlReply, ServerShutdown, decode_frame
from orderbook_desktop.core.symbols import is_market


class Diff(Struct, frozen=True):
    """The changes of one `depthUpdate` event."""

    first_id: int
    final_id: int
    event_ms: int
    bids: TextLevels
    asks: TextLevels


class Snapshot(Struct, frozen=True):
    """A REST snapshot that the collector fetched."""

    last_update_id: int
    bids: TextLevels
    asks: TextLevels


class CaptureLine(Struct, frozen=True):
    """One line: when it was received, and its message.

    `market` and `stream` are empty for a snapshot that does not name its market. `payload` is the
    event's JSON object and `frame` the combined frame, both as they stand in the file (`frame` is
    empty where the collector wrote the bare event), unless they had to be spelt anew. `update_id`
    is the event's `u`, 0 where it has none. A line of an unreadable part has nothing but `broken`,
    which says how the file is broken. If an event can't be read, the line has its market, too, and
    `malformed` says why.
    """

    number: int
    recv_ns: int
    stream: str
    market: str
    payload: bytes
    frame: bytes
    update_id: int = 0
    diff: Diff | None = None
    snapshot: Snapshot | None = None
    broken: str = ""
    malformed: str = ""


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str = ""
    s: str = ""
    symbol: str = ""
    X: Any = None
    u: int = 0
    lastUpdateId: int | None = None  # noqa: N815 (the exchange's name)


class _Diff(msgspec.Struct):
    E: WireInt
    U: WireInt
    u: WireInt
    b: TextLevels
    a: TextLevels


class _Snapshot(msgspec.Struct):
    lastUpdateId: WireInt  # noqa: N815 (the exchange's name)
    bids: TextLevels
    asks: TextLevels


class _WideDiff(msgspec.Struct):
    E: WireInt
    U: WireInt
    u: WireInt
    b: list[list[Any]]
    a: list[list[Any]]


class _WideSnapshot(msgspec.Struct):
    lastUpdateId: WireInt  # noqa: N815 (the exchange's name)
    bids: list[list[Any]]
    asks: list[list[Any]]


class _Named(msgspec.Struct):
    e: Any = ""
    s: Any = ""


class LeftOut(Exception):
    """A line that is left out, and counted."""

    def __init__(self, what: str = "is no message of a market's stream") -> None:
        self.what = what


class Malformed(Exception):
    """An event of `market` can't be read: it is missing, as the live feed would miss it."""

    def __init__(self, market: str, error: Exception) -> None:
        self.market = market
        self.what = f"is an event of {market} that can't be read ({short_reason(error)})"


_LONGEST_REASON: Final = 200
_any: Final = msgspec.json.Decoder(msgspec.Raw)
_message: Final = msgspec.json.Decoder(_Message)
_diff: Final = msgspec.json.Decoder(_Diff)
_snapshot: Final = msgspec.json.Decoder(_Snapshot)
_wide_diff: Final = msgspec.json.Decoder(_WideDiff)
_wide_snapshot: Final = msgspec.json.Decoder(_WideSnapshot)
_named: Final = msgspec.json.Decoder(_Named)
_is_partial_depth: Final = re.compile(r"@depth\d+(@|$)").search
_has_futures_field: Final = re.compile(rb'"(?:p[us]|T)"').search
_is_decimal: Final = re.compile(r"\d+(\.\d+)?", re.ASCII).fullmatch
UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError, MalformedMessage)


def short_reason(error: Exception) -> str:
    """Return why a message can't be read, in at most 200 characters."""
    reason = error.reason if isinstance(error, MalformedMessage) else str(error)
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def line_of(number: int, recv_ns: int, text: bytes) -> CaptureLine | None:
    """Return the line of a message; None if it is of no market.

    Raises `LeftOut`, `Malformed`, `OtherMarket`, and one of `UNREADABLE` if it is no message.
    """
    if text.startswith(b"["):
        _any.decode(text)
        return None
    outer = _decoded(text)
    inner, payload, frame = outer, text, b""
    if outer.data:
        payload, frame = bytes(outer.data), text
        if payload.startswith(b"["):
            return None
        inner = _decoded(payload, outer.stream or "")
    stream = _with_small_symbol(outer.stream or _stream_name(inner))
    market = (inner.s or inner.symbol or stream.partition("@")[0]).upper()
    if market and not is_market(market):
        if inner.e == "depthUpdate" or inner.lastUpdateId is not None:
            _refuse_other_contract(payload, inner)
        raise LeftOut
    if inner.lastUpdateId is not None and inner.lastUpdateId < 0:
        # The exchange answers so for a symbol that is listed, but isn't traded.
        raise LeftOut
    if inner.lastUpdateId is not None and not _is_partial_depth(stream):
        payload, snapshot = _snapshot_or_left_out(payload)
        return CaptureLine(number, recv_ns, "", market, payload, b"", snapshot=snapshot)
    if not stream:
        if _is_of_no_market(text):
            return None
        raise LeftOut
    if inner.e == "trade" and inner.X:
        # Only the futures market says what a trade is of.
        raise OtherMarket("futures", payload)
    if inner.e != "depthUpdate":
        return CaptureLine(number, recv_ns, stream, market, payload, frame, inner.u)
    spelt, diff = _diff_or_malformed(payload, market, is_spelt_so=inner.s == market)
    if spelt is not payload:
        payload, frame = spelt, frame and _frame_of(stream, spelt)
    return CaptureLine(number, recv_ns, stream, market, payload, frame, diff.final_id, diff)


def _with_small_symbol(stream: str) -> str:
    symbol, at, kind = stream.partition("@")
    return symbol.lower() + at + kind


def _frame_of(stream: str, payload: bytes) -> bytes:
    """Return the combined frame of an event."""
    return b'{"stream":%b,"data":%b}' % (msgspec.json.encode(stream), payload)


def _refuse_other_contract(payload: bytes, message: _Message) -> None:
    """Raise `OtherMarket` for a depth message of a perpetual or delivery contract."""
    try:
        if message.e == "depthUpdate":
            _diff_of(payload, message.s, is_spelt_so=True)
        elif b'"T"' in payload:
            refuse_futures(decode_snapshot(payload, ""))
    except OtherMarket:
        raise
    except UNREADABLE as error:
        raise LeftOut from error


def _decoded(text: bytes, stream: str = "") -> _Message:
    try:
        return _message.decode(text)
    except msgspec.ValidationError as error:
        # It is JSON, but no message of the exchange.
        _any.decode(text)
        market = _market_of_event(text, stream)
        if market:
            raise Malformed(market, error) from error
        raise LeftOut from error


def _market_of_event(text: bytes, stream: str) -> str:
    """Return the market of an event that can't be read; empty if it is no event, or names none."""
    try:
        named = _named.decode(text)
    except msgspec.ValidationError:
        return ""
    symbol = named.s if isinstance(named.s, str) else ""
    market = (symbol or stream.partition("@")[0]).upper()
    return market if named.e == "depthUpdate" and is_market(market) else ""


def _snapshot_or_left_out(payload: bytes) -> tuple[bytes, Snapshot]:
    try:
        return _snapshot_of(payload)
    except OtherMarket:
        raise
    except UNREADABLE as error:
        raise LeftOut(f"is a book that can't be read ({short_reason(error)})") from error


def _diff_or_malformed(payload: bytes, market: str, *, is_spelt_so: bool) -> tuple[bytes, Diff]:
    try:
        return _diff_of(payload, market, is_spelt_so=is_spelt_so)
    except OtherMarket:
        raise
    except UNREADABLE as error:
        raise Malformed(market, error) from error


def _snapshot_of(payload: bytes) -> tuple[bytes, Snapshot]:
    """Return a snapshot, and its payload as the exchange spells it."""
    try:
        taken = _snapshot.decode(payload)
    except msgspec.ValidationError:
        wide = _wide_snapshot.decode(payload)
        taken = _Snapshot(wide.lastUpdateId, _narrow(wide.bids), _narrow(wide.asks))
        payload = msgspec.json.encode(taken)
    if b'"T"' in payload:
        refuse_futures(decode_snapshot(payload, ""))
    _check(taken.bids, taken.asks)
    return payload, Snapshot(taken.lastUpdateId, taken.bids, taken.asks)


def _diff_of(payload: bytes, market: str, *, is_spelt_so: bool) -> tuple[bytes, Diff]:
    """Return an event, and its payload as the exchange spells it."""
    try:
        wire = _diff.decode(payload)
    except msgspec.ValidationError:
        wide = _wide_diff.decode(payload)
        wire = _Diff(wide.E, wide.U, wide.u, _narrow(wide.b), _narrow(wide.a))
        is_spelt_so = False
    if _has_futures_field(payload):
        refuse_futures_event(payload, wire.U, in_ms(wire.E))
    _check(wire.b, wire.a)
    if wire.u < wire.U:
        raise ValueError(f"update ids {wire.U}..{wire.u}")
    diff = Diff(wire.U, wire.u, wire.E, wire.b, wire.a)
    return payload if is_spelt_so else diff_payload(market, diff), diff


def diff_payload(market: str, diff: Diff) -> bytes:
    """Return the `depthUpdate` object of `diff`."""
    return msgspec.json.encode(
        {
            "e": "depthUpdate",
            "E": diff.event_ms,
            "s": market,
            "U": diff.first_id,
            "u": diff.final_id,
            "b": diff.bids,
            "a": diff.asks,
        }
    )


def _narrow(levels: list[list[Any]]) -> TextLevels:
    """Return price and quantity of levels that may have more elements."""
    narrow: TextLevels = []
    for level in levels:
        match level:
            case [str(price), str(quantity), *_]:
                narrow.append((price, quantity))
            case _:
                raise ValueError(f"level {str(level)[:80]}")
    return narrow


def _is_of_no_market(text: bytes) -> bool:
    """Whether the message is of the exchange itself: an answer, or a notice that it will close."""
    try:
        return isinstance(decode_frame(text), ControlReply | ServerShutdown)
    except MalformedMessage:
        return False


def _stream_name(event: _Message) -> str:
    """Return the stream that a bare event must have come from."""
    if not event.s:
        return ""
    kind = {"depthUpdate": "depth@100ms", "": "bookTicker" if event.u else ""}.get(event.e, event.e)
    return f"{event.s}@{kind}" if kind else ""


def _check(*sides: TextLevels) -> None:
    for levels in sides:
        for price, quantity in levels:
            if not (_is_decimal(price) and _is_decimal(quantity)):
                raise ValueError(f"level {price[:40]!r}, {quantity[:40]!r}")
