"""Lines of a capture file, `<recv_ns> <json>`, and reading them lazily, plain or gzipped."""

from __future__ import annotations

import gzip
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import ControlReply, ServerShutdown, decode_frame
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.exchange.local.errors import CaptureUnreadable
from orderbook_desktop.exchange.local.source import TextLevel


@dataclass(frozen=True, slots=True)
class Diff:
    """The changes of one `depthUpdate` event."""

    first_id: int
    final_id: int
    event_ms: int
    bids: list[TextLevel]
    asks: list[TextLevel]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A REST snapshot that the collector fetched."""

    last_update_id: int
    bids: list[TextLevel]
    asks: list[TextLevel]


@dataclass(frozen=True, slots=True)
class CaptureLine:
    """One line: when it was received, and its message.

    `market` and `stream` are empty for a snapshot that does not name its market. `payload`
    is the event's JSON object and `frame` the combined frame, both as they stand in the
    file (`frame` is empty where the collector wrote the bare event). `update_id` is the
    event's `u`, 0 where it has none.
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


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str = ""
    s: str = ""
    symbol: str = ""
    u: int = 0
    lastUpdateId: int | None = None  # noqa: N815 (the exchange's name)


class _Diff(msgspec.Struct):
    E: int
    U: int
    u: int
    b: list[TextLevel]
    a: list[TextLevel]


class _Snapshot(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 (the exchange's name)
    bids: list[TextLevel]
    asks: list[TextLevel]


# A book of 5,000 levels a side takes less than a hundredth of that.
_LONGEST_LINE: Final = 64 << 20
_MOST_DIGITS: Final = len(str(INT64_MAX))

_any: Final = msgspec.json.Decoder()
_message: Final = msgspec.json.Decoder(_Message)
_diff: Final = msgspec.json.Decoder(_Diff)
_snapshot: Final = msgspec.json.Decoder(_Snapshot)
_is_partial_depth: Final = re.compile(r"@depth\d+(@|$)").search
_is_decimal: Final = re.compile(r"\d+(\.\d+)?", re.ASCII).fullmatch


def read_lines(path: Path) -> Generator[CaptureLine]:
    """Iterate over the lines of the capture at `path`.

    Passed over are empty lines, and messages of no market: answers to commands, and streams of
    all markets, whose data are arrays. Raises `CaptureUnreadable`, naming the line, at the
    first that is not of the format.
    """
    number = 0
    try:
        with _open(path) as file:
            lines = iter(partial(file.readline, _LONGEST_LINE), b"")
            for number, raw in enumerate(lines, start=1):
                if len(raw) == _LONGEST_LINE:
                    raise CaptureUnreadable(path, "is longer than any message", number)
                if raw.strip() and (line := _parse(path, number, raw)) is not None:
                    yield line
    except FileNotFoundError as error:
        raise CaptureUnreadable(path, "does not exist") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CaptureUnreadable(
            path, "is damaged or cut off in its gzip data", number + 1
        ) from error
    except OSError as error:
        raise CaptureUnreadable(path, f"cannot be read ({error.strerror})", number) from error


def _open(path: Path) -> IO[bytes]:
    """Open by content, not by name: gzip data begins with two known bytes."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")


def _parse(path: Path, number: int, raw: bytes) -> CaptureLine | None:
    stamp, _, text = raw.removeprefix(BOM_UTF8).strip().partition(b" ")
    is_time = stamp.isdigit() and len(stamp) <= _MOST_DIGITS and int(stamp) <= INT64_MAX
    if not is_time or not text:
        raise CaptureUnreadable(path, "is not a receive time in ns and a JSON object", number)
    try:
        return _line(number, int(stamp), text)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise CaptureUnreadable(
            path, f"is not a message of the exchange ({error})", number
        ) from error


def _line(number: int, recv_ns: int, text: bytes) -> CaptureLine | None:
    if text.startswith(b"["):
        _any.decode(text)
        return None
    outer = _message.decode(text)
    payload, frame = text, b""
    inner = outer
    if outer.data:
        payload, frame = bytes(outer.data), text
        if payload.startswith(b"["):
            return None
        inner = _message.decode(payload)
    symbol, at, kind = (outer.stream or _stream_name(inner)).partition("@")
    stream = symbol.lower() + at + kind
    market = (inner.s or inner.symbol or stream.partition("@")[0]).upper()
    if inner.lastUpdateId is not None and not _is_partial_depth(stream):
        taken = _snapshot.decode(payload)
        _check(taken.bids, taken.asks)
        snapshot = Snapshot(taken.lastUpdateId, taken.bids, taken.asks)
        return CaptureLine(number, recv_ns, "", market, payload, b"", snapshot=snapshot)
    if not stream and _is_of_no_market(text):
        return None
    if not stream:
        raise ValueError("neither an event nor a snapshot")
    if inner.e != "depthUpdate":
        return CaptureLine(number, recv_ns, stream, market, payload, frame, inner.u)
    wire = _diff.decode(payload)
    _check(wire.b, wire.a)
    if wire.u < wire.U:
        raise ValueError(f"update ids {wire.U}..{wire.u}")
    diff = Diff(wire.U, wire.u, wire.E, wire.b, wire.a)
    return CaptureLine(number, recv_ns, stream, market, payload, frame, wire.u, diff)


def _is_of_no_market(text: bytes) -> bool:
    """Whether the exchange itself says something: an answer, or that it will close."""
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


def _check(*sides: list[TextLevel]) -> None:
    for levels in sides:
        for price, quantity in levels:
            if not (_is_decimal(price) and _is_decimal(quantity)):
                raise ValueError(f"level {price[:40]!r}, {quantity[:40]!r}")
