"""Messages of the exchange's depth stream and REST snapshot, and their decoding.

Sources: Binance Spot API, "Diff. Depth Stream" and "Order book" (`GET /api/v3/depth`).

Decimal text is decoded straight into doubles, because that is the fastest validated path. No
double is ever used as a value: `core.levels` turns doubles into integers under a proof of
exactness. The proof needs text of plain decimals with at most eight places, below `PLAIN_BELOW`,
which is what `plain` asserts; otherwise the text kept in `payload` is parsed digit by digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from orderbook_desktop.core.errors import MalformedMessage, OtherMarket
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import units_from_doubles
from orderbook_desktop.core.units import INT64_MAX, split_decimal

# The widest event of the busiest market spans some thousand update ids.
WIDEST_EVENT: Final = 10_000_000

# Numbers of levels that servers limit their answers to (Binance Spot API, "Order book", `limit`).
_COUNTS_OF_CUT_ANSWERS: Final = frozenset({500, 1000})

# Units of 10^-8 hold every decimal below this that has at most eight places.
PLAIN_BELOW: Final = 9e10

FloatLevels = list[tuple[float, float]]
TextLevels = list[tuple[str, str]]

_PlainFloat = Annotated[float, msgspec.Meta(lt=PLAIN_BELOW)]
_PlainLevels = list[tuple[_PlainFloat, _PlainFloat]]
# What a database's 64-bit integer can hold too.
WireInt = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
_Decoded = TypeVar("_Decoded")


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """One `depthUpdate` event: the absolute quantities of the levels that changed.

    `market` is the exchange's symbol, such as `BTCUSDT`. `first_id` and `final_id` are `U` and
    `u`, the update ids that the event covers, both inclusive. `event_ms` is the exchange's event
    time, converted to milliseconds (`core.event_times`), `received_ns` ours (both since the epoch;
    0 if unknown). `payload` is the event's JSON object exactly as it was sent.
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
    in it, where it is known, else 0. `received_ns` is when it was received, by our clock (since the
    epoch; 0 if unknown). `horizon` is the depth within which it is whole (`core.horizon`), and
    None where that is not known.
    """

    market: str
    last_update_id: int
    event_ms: int
    payload: bytes
    bids: FloatLevels
    asks: FloatLevels
    plain: bool
    horizon: Horizon | None = None
    received_ns: int = 0


class _WireDiff(msgspec.Struct, gc=False):
    e: Literal["depthUpdate"]
    E: WireInt
    s: str
    U: WireInt
    u: WireInt
    b: FloatLevels
    a: FloatLevels


class _PlainDiff(_WireDiff, gc=False):
    b: _PlainLevels
    a: _PlainLevels


class _WireSnapshot(msgspec.Struct, gc=False):
    lastUpdateId: WireInt  # noqa: N815 (the exchange's name)
    bids: FloatLevels
    asks: FloatLevels


class _PlainSnapshot(_WireSnapshot, gc=False):
    bids: _PlainLevels
    asks: _PlainLevels


class _WireTexts(msgspec.Struct, gc=False):
    """Either message again, as text, and without the leniency that reading doubles needs."""

    E: WireInt = 0
    U: WireInt = 0
    u: WireInt = 0
    lastUpdateId: WireInt = 0  # noqa: N815 (the exchange's name)
    b: TextLevels | None = None
    a: TextLevels | None = None
    bids: TextLevels | None = None
    asks: TextLevels | None = None


class _WireFutures(msgspec.Struct, gc=False):
    """The fields that messages of the futures market have, and messages of the spot market lack."""

    ps: Any = None
    pu: Any = None
    E: Any = None
    T: Any = None


_diff_decoder: Final = msgspec.json.Decoder(_WireDiff, strict=False)
_plain_diff_decoder: Final = msgspec.json.Decoder(_PlainDiff, strict=False)
_snapshot_decoder: Final = msgspec.json.Decoder(_WireSnapshot, strict=False)
_plain_snapshot_decoder: Final = msgspec.json.Decoder(_PlainSnapshot, strict=False)
_texts_decoder: Final = msgspec.json.Decoder(_WireTexts)
_any_decoder: Final = msgspec.json.Decoder()
_futures_decoder: Final = msgspec.json.Decoder(_WireFutures)

_more_than_eight_places: Final = re.compile(rb"\.[0-9]{9}").search
# The longest time between the transaction `T` of a futures event and the event.
_TRANSACTION_WITHIN_MS: Final = 3_600_000
_is_id: Final = re.compile(r"[0-9]{1,19}").fullmatch
_NOT_IN_SKELETON: Final = b"0123456789,[]{}"
_LEVEL_SKELETON: Final = b'".""."'
_DIFF_SKELETON: Final = b'"e":"depthUpdate""E":"s":"%b""U":"u":"b":%b"a":%b'
_SNAPSHOT_SKELETON: Final = b'"lastUpdateId":"bids":%b"asks":%b'


def _is_plain(payload: bytes, skeleton: bytes) -> bool:
    """Whether `payload` is spelt as documented, every decimal with at most eight places.

    The decoder of doubles also takes numbers for strings, strings for numbers, signs,
    exponents and words such as NaN. What is left of the payload without digits and
    brackets, its skeleton, shows each of them.
    """
    return (
        payload.translate(None, _NOT_IN_SKELETON) == skeleton
        and _more_than_eight_places(payload) is None
    )


def decode_diff(payload: bytes, received_ns: int = 0) -> DepthDiff:
    """Decode one `depthUpdate` object; raise `MalformedMessage` if it is not a valid one."""
    wire, is_small = _read(_plain_diff_decoder.decode, _diff_decoder, payload, "depth event")
    if not 0 <= wire.u - wire.U <= WIDEST_EVENT:
        raise MalformedMessage("depth event", f"update ids {wire.U}..{wire.u}", payload)
    symbol = wire.s.encode().translate(None, _NOT_IN_SKELETON)
    bids, asks = len(wire.b) * _LEVEL_SKELETON, len(wire.a) * _LEVEL_SKELETON
    plain = is_small and _is_plain(payload, _DIFF_SKELETON % (symbol, bids, asks))
    if not plain:
        _check_texts(payload, "depth event")
    return DepthDiff(
        wire.s, wire.U, wire.u, in_ms(wire.E), received_ns, payload, wire.b, wire.a, plain
    )


def timed(diff: DepthDiff, event_ms: int) -> DepthDiff:
    """Return `diff` with `event_ms` as its time (`core.event_times`)."""
    if diff.event_ms == event_ms:
        return diff
    return msgspec.structs.replace(diff, event_ms=event_ms)


def decode_snapshot(
    payload: bytes, market: str, event_ms: int = 0, received_ns: int = 0
) -> DepthSnapshot:
    """Decode an answer of `GET /api/v3/depth`; raise `MalformedMessage` if it is not one."""
    read_plain = _plain_snapshot_decoder.decode
    wire, is_small = _read(read_plain, _snapshot_decoder, payload, "depth snapshot")
    bids, asks = len(wire.bids) * _LEVEL_SKELETON, len(wire.asks) * _LEVEL_SKELETON
    plain = is_small and _is_plain(payload, _SNAPSHOT_SKELETON % (bids, asks))
    if not plain:
        _check_texts(payload, "depth snapshot")
    return DepthSnapshot(
        market,
        wire.lastUpdateId,
        event_ms,
        payload,
        wire.bids,
        wire.asks,
        plain,
        received_ns=received_ns,
    )


def decode_spot_snapshot(
    payload: bytes, market: str, depth: int | None = None, declared: Horizon | None = None
) -> DepthSnapshot:
    """Decode an answer with its horizon (see `answered`); raise `OtherMarket` for futures."""
    snapshot = decode_snapshot(payload, market)
    refuse_futures(snapshot)
    return answered(snapshot, depth, declared)


def answered(
    snapshot: DepthSnapshot, depth: int | None = None, declared: Horizon | None = None
) -> DepthSnapshot:
    """Return `snapshot`, an answer of the exchange, with its horizon.

    `depth` is the number of levels a side that was asked for. A side with fewer levels has no end.
    A side with as many is known to its last level, and so is each where `depth` is not known. A
    side without any level has none, as at least one was asked for.

    `declared` is how deep the exchange says to know its book. Without such a word an answer with
    500 or 1,000 levels on both sides counts as cut there, even if more were asked for: some servers
    give no more at a time, and hardly any whole book has just as many on both sides.
    """
    sides = (snapshot.bids, snapshot.asks)
    counts = {len(side) for side in sides}
    if declared is None and len(counts) == 1 and counts <= _COUNTS_OF_CUT_ANSWERS:
        depth = None
    cut = [bool(side) and (depth is None or len(side) >= depth) for side in sides]
    ends = (min(snapshot.bids) if cut[0] else None, max(snapshot.asks) if cut[1] else None)
    units = units_from_doubles(end[0] for end in ends if end is not None)
    if snapshot.plain and units is not None:
        first = int(units[0]) if cut[0] else None
        horizon = Horizon(first, int(units[-1]) if cut[1] else None)
    else:
        # A side's texts are in the order of its doubles.
        texts = level_texts(snapshot.payload)
        lowest, highest = (
            None if end is None else side_texts[side.index(end)][0]
            for side_texts, side, end in zip(texts, sides, ends, strict=True)
        )
        horizon = Horizon.of_texts(lowest, highest)
    if declared is not None:
        horizon = horizon.within(declared)
    return msgspec.structs.replace(snapshot, horizon=horizon)


def refuse_futures(message: DepthDiff | DepthSnapshot) -> None:
    """Raise `OtherMarket` for a message of the futures market, whose update ids have holes."""
    if message.plain:
        return
    if isinstance(message, DepthSnapshot):
        wire = decoded(_futures_decoder, message.payload, "depth message")
        if isinstance(wire.E, int) and isinstance(wire.T, int):
            raise OtherMarket("futures", message.payload)
    else:
        refuse_futures_event(message.payload, message.first_id, message.event_ms)


def refuse_futures_event(payload: bytes, first_id: int, event_ms: int) -> None:
    """Raise `OtherMarket` for an event of the futures market; also before its levels are read.

    It names the last id of the event before it (`pu`) and the time of the transaction (`T`), or the
    pair of its contract (`ps`). A `pu` alone, beside ids that join, does no harm, and neither does
    a `T`. Source: Binance USD-M and COIN-M futures API, "Diff. Book Depth Streams".
    """
    wire = decoded(_futures_decoder, payload, "depth message")
    before = wire.pu
    if isinstance(before, str) and _is_id(before):
        before = int(before)
    is_chained = isinstance(before, int) and (
        before + 1 != first_id or _is_transaction_time(wire.T, event_ms)
    )
    if is_chained or isinstance(wire.ps, str):
        raise OtherMarket("futures", payload)


def _is_transaction_time(found: object, event_ms: int) -> bool:
    return isinstance(found, int) and abs(in_ms(found) - event_ms) <= _TRANSACTION_WITHIN_MS


def level_texts(payload: bytes) -> tuple[TextLevels, TextLevels]:
    """Return bids and asks of a diff's or snapshot's `payload` as decimal text.

    Raises `MalformedMessage` for a payload that is neither of them, or both.
    """
    wire = decoded(_texts_decoder, payload, "depth message")
    sides = (wire.b, wire.a, wire.bids, wire.asks)
    match sides:
        case (list(bids), list(asks), None, None) | (None, None, list(bids), list(asks)):
            return bids, asks
    raise MalformedMessage("depth message", "neither a diff nor a snapshot", payload)


def _check_texts(payload: bytes, what: str) -> None:
    """Check a payload that is not plain against the exchange's documents."""
    # The other decoders do not look into the parts that they skip.
    decoded(_any_decoder, payload, what)
    try:
        for levels in level_texts(payload):
            for price, quantity in levels:
                split_decimal(price)
                split_decimal(quantity)
    except MalformedMessage as error:
        raise MalformedMessage(what, error.reason, payload) from error


def _read(
    read_plain: Callable[[bytes], _Decoded],
    decoder: msgspec.json.Decoder[_Decoded],
    raw: bytes,
    what: str,
) -> tuple[_Decoded, bool]:
    """Return the message in `raw`, and whether all its values are below `PLAIN_BELOW`."""
    try:
        return read_plain(raw), True
    except (msgspec.DecodeError, ValueError, RecursionError):
        return decoded(decoder, raw, what), False


def decoded(decoder: msgspec.json.Decoder[_Decoded], raw: bytes, what: str) -> _Decoded:
    """Return what `decoder` reads in `raw`; raise `MalformedMessage`, which calls it `what`."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # ValueError: invalid UTF-8, and integers longer than Python converts.
        raise MalformedMessage(what, str(error), raw) from error
