"""Messages of the exchange's websockets: the frames around events, and answers to commands.

Source: Binance Spot API, "WebSocket Streams".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import WireInt, decoded
from orderbook_desktop.core.streams import DEPTH, MarketEvent, StreamKind


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


StreamMessage = MarketEvent | ControlReply | ServerShutdown | Unrelated


class _WireKind(msgspec.Struct, gc=False):
    e: str = ""
    E: WireInt = 0


class _WireError(msgspec.Struct, gc=False):
    code: int | None = None
    msg: str = ""


class _WireFrame(msgspec.Struct, gc=False):
    """A frame of a combined stream, of a raw stream, or an answer to a command."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str | None = None
    id: int | str | None = None
    result: list[str] | None = None
    error: _WireError | None = None
    code: int | None = None
    msg: str = ""


_kind_decoder: Final = msgspec.json.Decoder(_WireKind)
_frame_decoder: Final = msgspec.json.Decoder(_WireFrame)


def decode_frame(
    frame: bytes, received_ns: int = 0, kinds: Collection[StreamKind[Any]] = (DEPTH,)
) -> StreamMessage:
    """Decode one websocket message of a combined or raw stream; events of `kinds` only.

    Raises `MalformedMessage` for anything that is not one of the exchange's messages.
    """
    wire = decoded(_frame_decoder, frame, "stream message")
    payload = bytes(wire.data)
    if payload:
        return _decode_event(payload, wire.stream or "", received_ns, kinds)
    if wire.e is not None:
        return _decode_event(frame, wire.e, received_ns, kinds)
    if wire.error is not None or wire.code is not None:
        text = wire.error.msg if wire.error is not None else wire.msg
        return ControlReply(wire.id, None, text or "the exchange refused the command")
    if wire.id is not None:
        return ControlReply(wire.id, wire.result)
    raise MalformedMessage("stream message", "neither an event nor an answer", frame)


def _decode_event(
    payload: bytes, name: str, received_ns: int, kinds: Collection[StreamKind[Any]]
) -> StreamMessage:
    """Decode an event; `name` is that of its stream, or the event's own."""
    event: MarketEvent
    for kind in kinds:
        if kind.channel in name or kind.event_name == name:
            event = kind.decode_sent(payload, received_ns)
            return event
    if payload.startswith(b"["):
        return Unrelated(name)
    wire = decoded(_kind_decoder, payload, "stream message")
    if wire.e == "serverShutdown":
        return ServerShutdown(wire.E)
    for kind in kinds:
        if kind.event_name == wire.e:
            event = kind.decode_sent(payload, received_ns)
            return event
    return Unrelated(wire.e or name)
