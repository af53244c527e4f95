"""Lines of a capture file, `<receive time> <json>`, and reading them lazily, plain or gzipped.

Collectors differ, and are killed and started again. So the reader also accepts receive times in
seconds, milliseconds and microseconds (their digits show the unit), symbols in lower case, and
levels with a third element, as the exchange sent them until 2019. It spells such an event as the
exchange spells it today. Lines that are no message of a market are left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.errors import KnownError, MalformedMessage, OtherMarket
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import (
    TextLevels,
    WireInt,
    decode_snapshot,
    refuse_futures,
    refuse_futures_event,
)
from orderbook_desktop.core.frames import ControlReply, ServerShutdown, decode_frame
from orderbook_desktop.core.received import FileNotes, UnusableFile
from orderbook_desktop.core.symbols import is_market
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.formats.lines import FileLines, UnreadablePart


class CaptureUnreadable(KnownError):
    """A capture file that cannot be played: `reason` says why, `line` where (0: as a whole)."""

    path: Path
    reason: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line} of " if self.line else ""
        return f"The capture cannot be played: {where}{self.path} {self.reason}."


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


class _LeftOut(Exception):
    """A line that is left out, and counted."""

    def __init__(self, what: str = "is no message of a market's stream") -> None:
        self.what = what


class _Malformed(Exception):
    """An event of `market` can't be read: it is missing, as the live feed would miss it."""

    def __init__(self, market: str, error: Exception) -> None:
        self.market = market
        self.what = f"is an event of {market} that can't be read ({_short(error)})"


class _NotOfTheFormat(ValueError):
    """The line has no receive time, or no message after it."""


_NS_DIGITS: Final = 19
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
_is_time: Final = re.compile(rb"(\d{1,19})(?:\.(\d{1,18}))?").fullmatch
_begins: Final = re.compile(rb"\d{9,}(?:\.\d+)? +\{").finditer
# The least digits of present times in each unit, and the number of zeros that turn the unit into
# nanoseconds. A time with fewer digits is that of a collector's own clock, in nanoseconds.
_UNITS: Final = ((17, "", 0), (14, "microseconds", 3), (11, "milliseconds", 6), (9, "seconds", 9))
_TRUNCATED: Final = "truncated"
_NO_END: Final = "the end of a line is missing"
_WRITTEN_OVER: Final = "a shorter file was written over a longer one, whose lines follow"
# A collector that appends to its file is started again within this time.
_RESTARTED_WITHIN_NS: Final = 366 * 86_400 * 10**9
_DAY_NS: Final = 86_400 * 10**9
# Lines may be out of order by less.
_OLDER_BY_NS: Final = 60 * 10**9
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError, MalformedMessage)


def read_lines(path: Path, notes: FileNotes | None = None) -> Generator[CaptureLine]:
    """Iterate over the lines of the capture at `path`.

    Empty lines are skipped, and so are messages of no market: answers to commands, and streams of
    all markets, whose data are arrays. `notes` gets the other lines that are left out, and the
    places where the file is broken. Raises `CaptureUnreadable` with the number of the first line
    that is not of the format.
    """
    notes = FileNotes() if notes is None else notes
    try:
        with FileLines(path) as lines:
            yield from _Lines(path, lines, notes).parsed()
    except UnusableFile as error:
        raise CaptureUnreadable(path, error.reason, error.line) from error


class _Lines:
    """Parses the lines of one file."""

    def __init__(self, path: Path, lines: FileLines, notes: FileNotes) -> None:
        self._path = path
        self._lines = lines
        self._notes = notes
        # The times of the first and the latest line, and how the latest one is spelt.
        self._first_ns: int | None = None
        self._latest_ns = 0
        self._stamp = b""

    def parsed(self) -> Iterator[CaptureLine]:
        """Iterate over the lines, including unreadable parts; raises `CaptureUnreadable`."""
        held: CaptureLine | None = None
        try:
            for line in self._read():
                if held is not None:
                    yield from self._between(held, line)
                held = line
        except CaptureUnreadable:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

    def _between(self, line: CaptureLine, following: CaptureLine) -> Iterator[CaptureLine]:
        """Iterate over `line`, or over the unreadable part between it and an older file's line.

        Half of `line` may be of a longer file over which a shorter one was written. It may be an
        event that the exchange never sent, so it is left out.
        """
        first_ns = self._first_ns or 0
        is_of_two = (
            following.recv_ns < first_ns - _OLDER_BY_NS <= line.recv_ns
            and not following.broken
            and bool(line.malformed or not line.broken)
        )
        is_next = following.number == line.number + 1
        if not is_of_two or not is_next:
            yield line
        if is_of_two:
            yield self._broken(line.number + (not is_next), _WRITTEN_OVER)

    def _read(self) -> Iterator[CaptureLine]:
        for number, raw in self._lines:
            if isinstance(raw, UnreadablePart):
                yield self._broken(number, raw.reason)
                continue
            try:
                line = self._parse(number, raw)
            except _LeftOut as error:
                self._notes.leave_out(self._path, number, error.what)
                continue
            except _Malformed as error:
                self._notes.leave_out(self._path, number, error.what)
                yield self._malformed(number, error)
                continue
            except OtherMarket as error:
                reason = f"is of the {error.kind} market; only the spot market is recorded here"
                raise CaptureUnreadable(self._path, reason, number) from error
            except _UNREADABLE as error:
                yield from self._mended(number, raw, error)
                continue
            if line is not None:
                if self._first_ns is None:
                    self._first_ns = line.recv_ns
                self._latest_ns = max(self._latest_ns, line.recv_ns)
                yield line

    def _parse(self, number: int, raw: bytes) -> CaptureLine | None:
        if raw.isspace():
            return None
        stamp, _, text = raw.strip().partition(b" ")
        if len(stamp) == _NS_DIGITS and stamp.isdigit():
            recv_ns = int(stamp)
        else:
            recv_ns = self._time_ns(stamp)
        text = text.strip()
        if not text or not 0 <= recv_ns <= INT64_MAX:
            raise _NotOfTheFormat
        is_odd = len(stamp) < len(self._stamp) and abs(recv_ns - self._latest_ns) > _DAY_NS
        if is_odd and (self._lines.is_in_doubt or self._is_written_over(raw)):
            # It is the end of a receive time.
            raise _NotOfTheFormat
        self._stamp = stamp
        return _line(number, recv_ns, text)

    def _time_ns(self, stamp: bytes) -> int:
        """Return a time in nanoseconds, or -1 where it is no time; its digits show its unit."""
        match = _is_time(stamp)
        if match is None:
            return -1
        whole, fraction = match[1], match[2] or b""
        for digits, unit, zeros in _UNITS:
            if len(whole) >= digits:
                if unit:
                    self._notes.units[self._path] = unit
                scale: int = 10**zeros
                return int(whole) * scale + int(fraction[:zeros].ljust(zeros, b"0") or b"0")
        return -1 if fraction else int(whole)

    def _broken(self, number: int, reason: str) -> CaptureLine:
        sentence = self._notes.note_break(self._path, number, reason)
        return CaptureLine(number, self._latest_ns, "", "", b"", b"", broken=sentence)

    def _malformed(self, number: int, error: _Malformed) -> CaptureLine:
        sentence = f"Line {number} of {self._path.name} {error.what}."
        return CaptureLine(
            *(number, self._latest_ns, "", error.market, b"", b""),
            broken=sentence,
            malformed=error.what,
        )

    def _mended(self, number: int, raw: bytes, error: Exception) -> Iterator[CaptureLine]:
        """Iterate over the readable parts of a broken line; raises where it is wrong otherwise."""
        whole = self._behind_half_a_line(number, raw)
        if whole is not None:
            yield self._broken(number, _NO_END)
            yield whole
        elif self._is_written_over(raw):
            yield self._broken(number, _WRITTEN_OVER)
        elif self._lines.is_broken_here():
            return
        elif _TRUNCATED in str(error) or (raw.isdigit() and len(raw) <= _NS_DIGITS):
            yield self._broken(number, _NO_END)
        else:
            raise CaptureUnreadable(self._path, _reason(raw, error), number) from error

    def _is_written_over(self, raw: bytes) -> bool:
        """Whether `raw` is the rest of a line of a longer file, over which a shorter was written.

        The lines that follow are older than the first line of this file then. If none follows, it
        is enough that `raw` is the end of a line.
        """
        if self._first_ns is None:
            return False
        following = self._lines.following()
        if following is None:
            stamp = raw.strip().partition(b" ")[0]
            is_end = not stamp.isdigit() or len(stamp) < len(self._stamp)
            return is_end and raw.endswith(b"}") and not self._lines.is_in_doubt
        stamp = following.strip().partition(b" ")[0]
        return len(stamp) == len(self._stamp) and -1 < self._time_ns(stamp) < self._first_ns

    def _behind_half_a_line(self, number: int, raw: bytes) -> CaptureLine | None:
        """Return the whole line that a restarted collector wrote behind half a line."""
        *_, last = (None, *_begins(raw))
        if last is None or not self._stamp:
            return None
        digits = last[0].partition(b" ")[0]
        stamp = digits[-len(self._stamp) :]
        begin = last.start() + len(digits) - len(stamp)
        if not begin or not self._may_follow(raw[:begin], stamp):
            return None
        try:
            return self._parse(number, raw[begin:])
        except (*_UNREADABLE, _LeftOut, _Malformed):
            return None

    def _may_follow(self, half: bytes, stamp: bytes) -> bool:
        """Whether a line may begin with `stamp`, behind `half` of a line."""
        if abs(self._time_ns(stamp) - self._latest_ns) > _RESTARTED_WITHIN_NS:
            return False
        # Half a receive time is the begin of one between the latest one and `stamp`.
        length = len(half)
        is_between = self._stamp[:length] <= half <= stamp[:length]
        return not half.isdigit() or (is_between and length < len(stamp))


def _reason(raw: bytes, error: Exception) -> str:
    """Return why a line can't be read."""
    if not isinstance(error, _NotOfTheFormat):
        return f"is not a message of the exchange ({_short(error)})"
    stamp = raw.strip().partition(b" ")[0]
    if stamp.isdigit() and len(stamp) > _NS_DIGITS:
        return f"begins with a number of {len(stamp)} digits; a receive time has at most 19, in ns"
    return "is not a receive time in ns and a JSON object"


def _short(error: Exception) -> str:
    reason = error.reason if isinstance(error, MalformedMessage) else str(error)
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def _line(number: int, recv_ns: int, text: bytes) -> CaptureLine | None:
    if text.startswith(b"["):
        _any.decode(text)
        return None
    outer = _decoded(text)
    payload, frame = text, b""
    inner = outer
    if outer.data:
        payload, frame = bytes(outer.data), text
        if payload.startswith(b"["):
            return None
        inner = _decoded(payload, outer.stream or "")
    symbol, at, kind = (outer.stream or _stream_name(inner)).partition("@")
    stream = symbol.lower() + at + kind
    market = (inner.s or inner.symbol or stream.partition("@")[0]).upper()
    if market and not is_market(market):
        if inner.e == "depthUpdate" or inner.lastUpdateId is not None:
            _refuse_other_contract(payload, inner)
        raise _LeftOut
    if inner.lastUpdateId is not None and inner.lastUpdateId < 0:
        # The exchange answers so for a symbol that is listed, but isn't traded.
        raise _LeftOut
    if inner.lastUpdateId is not None and not _is_partial_depth(stream):
        payload, snapshot = _snapshot_or_left_out(payload)
        return CaptureLine(number, recv_ns, "", market, payload, b"", snapshot=snapshot)
    if not stream and _is_of_no_market(text):
        return None
    if not stream:
        raise _LeftOut
    if inner.e != "depthUpdate":
        return CaptureLine(number, recv_ns, stream, market, payload, frame, inner.u)
    spelt, diff = _diff_or_malformed(payload, market, is_spelt_so=inner.s == market)
    if spelt is not payload:
        payload = spelt
        frame = frame and b'{"stream":%b,"data":%b}' % (msgspec.json.encode(stream), payload)
    return CaptureLine(number, recv_ns, stream, market, payload, frame, diff.final_id, diff)


def _refuse_other_contract(payload: bytes, message: _Message) -> None:
    """Raise `OtherMarket` for a depth message of a perpetual or delivery contract."""
    try:
        if message.e == "depthUpdate":
            _diff_of(payload, message.s, is_spelt_so=True)
        elif b'"T"' in payload:
            refuse_futures(decode_snapshot(payload, ""))
    except OtherMarket:
        raise
    except _UNREADABLE as error:
        raise _LeftOut from error


def _decoded(text: bytes, stream: str = "") -> _Message:
    try:
        return _message.decode(text)
    except msgspec.ValidationError as error:
        # It is JSON, but no message of the exchange.
        _any.decode(text)
        market = _market_of_event(text, stream)
        if market:
            raise _Malformed(market, error) from error
        raise _LeftOut from error


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
    except _UNREADABLE as error:
        raise _LeftOut(f"is a book that can't be read ({_short(error)})") from error


def _diff_or_malformed(payload: bytes, market: str, *, is_spelt_so: bool) -> tuple[bytes, Diff]:
    try:
        return _diff_of(payload, market, is_spelt_so=is_spelt_so)
    except OtherMarket:
        raise
    except _UNREADABLE as error:
        raise _Malformed(market, error) from error


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
