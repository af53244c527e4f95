"""Messages of the exchange's depth stream and REST snapshot, and their decoding.

Sources: Binance Spot API, "Diff. Depth Stream", "Combined stream" and "Order book"
(`GET /api/v3/depth`).

Decimal text is decoded straight into doubles because that is the fastest validated path,
but no double is ever used as a value: `core.levels` turns them into integers under a proof
of exactness. The proof needs text of plain decimals with at most eight places, which is
what `plain` asserts; otherwise the text kept in `payload` is parsed digit by digit.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.units import split_decimal

FloatLevels = list[tuple[float, float]]
TextLevels = list[tuple[str, str]]


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """One `depthUpdate` event: the absolute quantities of the levels that changed.

    `market` is the exchange's symbol, such as `BTCUSDT`. `first_id` and `final_id` are `U`
    and `u`, the update ids that the event covers, both inclusive. `event_ms` is the
    exchange's event time, `received_ns` ours (both since the epoch; 0 if unknown).
    `payload` is the event's JSON object exactly as it was sent.
    """

    market: str
    first_id: int
    final_id: int
    event_ms: int
    received_ns: int
    payload: bytes
    bids: FloatLevels
    asks: FloatLevels
    plain: bool


class DepthSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The whole book, or its best levels, as of `last_update_id`.

    `payload` is the JSON object of `GET /api/v3/depth` exactly as it was sent; checkpoints
    of the recorder are written in the same form. `event_ms` is the time of the last event
    in it, where it is known, else 0.
    """

    market: str
    last_update_id: int
    event_ms: int
    payload: bytes
    bids: FloatLevels
    asks: FloatLevels
    plain: bool


class ControlReply(msgspec.Struct, frozen=True):
    """The exchange's answer to SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS."""

    id: int | str | None = None
    result: list[str] | None = None
    error: str = ""


class ServerShutdown(msgspec.Struct, frozen=True):
    """The exchange announces that it will close this connection soon."""

    event_ms: int


class Unrelated(msgspec.Struct, frozen=True):
    """A well-formed event of a kind that was not asked for."""

    kind: str


StreamMessage = DepthDiff | ControlReply | ServerShutdown | Unrelated


class _WireDiff(msgspec.Struct, gc=False):
    e: Literal["depthUpdate"]
    E: int
    s: str
    U: int
    u: int
    b: FloatLevels
    a: FloatLevels


class _WireSnapshot(msgspec.Struct, gc=False):
    lastUpdateId: int  # noqa: N815 (the exchange's name)
    bids: FloatLevels
    asks: FloatLevels


class _WireTexts(msgspec.Struct, gc=False):
    b: TextLevels = []
    a: TextLevels = []
    bids: TextLevels = []
    asks: TextLevels = []


class _WireError(msgspec.Struct, gc=False):
    code: int | None = None
    msg: str = ""


class _WireFrame(msgspec.Struct, gc=False):
    """A frame of a combined stream, of a raw stream, or an answer to a command."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str | None = None
    E: int | None = None
    id: int | str | None = None
    result: list[str] | None = None
    error: _WireError | None = None
    code: int | None = None
    msg: str = ""


_diff_decoder: Final = msgspec.json.Decoder(_WireDiff, strict=False)
_snapshot_decoder: Final = msgspec.json.Decoder(_WireSnapshot, strict=False)
_texts_decoder: Final = msgspec.json.Decoder(_WireTexts)
_frame_decoder: Final = msgspec.json.Decoder(_WireFrame)

_PLAIN_BYTES: Final = b'0123456789.,[]":{}'
_DIFF_KEYS: Final = b"edepthUpdateEsUuba"
_SNAPSHOT_KEYS: Final = b"lastUpdateIdbidsasks"
_more_than_eight_places: Final = re.compile(rb"\.[0-9]{9}").search


def _is_plain(payload: bytes, keys: bytes) -> bool:
    """Whether every number in `payload` is digits with at most eight after the point.

    Counts on the decoder having accepted each as a number: then only a sign, an exponent
    or a word such as NaN could be more than digits and a point, and those leave letters.
    """
    rest = payload.translate(None, _PLAIN_BYTES)
    return len(rest) == len(keys) and _more_than_eight_places(payload) is None


def decode_diff(payload: bytes, received_ns: int = 0) -> DepthDiff:
    """Decode one `depthUpdate` object; raise `MalformedMessage` if it is not a valid one."""
    try:
        wire = _diff_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage("depth event", str(error), payload) from error
    if not 0 <= wire.U <= wire.u or wire.E < 0:
        raise MalformedMessage("depth event", f"update ids {wire.U}..{wire.u}", payload)
    symbol_letters = wire.s.encode().translate(None, _PLAIN_BYTES)
    plain = _is_plain(payload, _DIFF_KEYS + symbol_letters)
    if not plain:
        _check_texts(payload, "depth event")
    return DepthDiff(wire.s, wire.U, wire.u, wire.E, received_ns, payload, wire.b, wire.a, plain)


def decode_snapshot(payload: bytes, market: str, event_ms: int = 0) -> DepthSnapshot:
    """Decode an answer of `GET /api/v3/depth`; raise `MalformedMessage` if it is not one."""
    try:
        wire = _snapshot_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage("depth snapshot", str(error), payload) from error
    if wire.lastUpdateId < 0:
        raise MalformedMessage("depth snapshot", f"lastUpdateId {wire.lastUpdateId}", payload)
    plain = _is_plain(payload, _SNAPSHOT_KEYS)
    if not plain:
        _check_texts(payload, "depth snapshot")
    return DepthSnapshot(market, wire.lastUpdateId, event_ms, payload, wire.bids, wire.asks, plain)


def decode_frame(frame: bytes, received_ns: int = 0) -> StreamMessage:
    """Decode one websocket message of a combined or raw stream.

    Raises `MalformedMessage` for anything that is not one of the exchange's messages.
    """
    try:
        wire = _frame_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage("stream message", str(error), frame) from error
    payload = bytes(wire.data)
    if payload:
        return _decode_event(payload, wire.stream or "", received_ns)
    if wire.e is not None:
        return _decode_event(frame, wire.e, received_ns)
    if wire.error is not None or wire.code is not None:
        text = wire.error.msg if wire.error is not None else wire.msg
        return ControlReply(wire.id, None, text or "the exchange refused the command")
    if wire.id is not None:
        return ControlReply(wire.id, wire.result)
    raise MalformedMessage("stream message", "neither an event nor an answer", frame)


def level_texts(payload: bytes) -> tuple[TextLevels, TextLevels]:
    """Return bids and asks of a diff's or snapshot's `payload` as decimal text."""
    try:
        wire = _texts_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise MalformedMessage("depth message", str(error), payload) from error
    return wire.b or wire.bids, wire.a or wire.asks


def _decode_event(payload: bytes, name: str, received_ns: int) -> StreamMessage:
    if "@depth" in name or name == "depthUpdate":
        return decode_diff(payload, received_ns)
    try:
        wire = _frame_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise MalformedMessage("stream message", str(error), payload) from error
    if wire.e == "serverShutdown":
        return ServerShutdown(wire.E or 0)
    if wire.e == "depthUpdate":
        return decode_diff(payload, received_ns)
    return Unrelated(wire.e or name)


def _check_texts(payload: bytes, what: str) -> None:
    for levels in level_texts(payload):
        for price, quantity in levels:
            try:
                split_decimal(price)
                split_decimal(quantity)
            except MalformedMessage as error:
                raise MalformedMessage(what, error.reason, payload) from error
