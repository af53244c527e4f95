"""Aggregated trades: their decoding from stream and REST, and how one continues another.

Sources: Binance Spot API, "Aggregate Trade Streams" and "Compressed/Aggregate trades list".
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from orderbook_desktop.core.depth_sync import may_follow
from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.event_times import US_A_MS, in_ms_and_us
from orderbook_desktop.core.events import WireInt, decoded
from orderbook_desktop.core.levels import EMPTY, fitting_exponent
from orderbook_desktop.core.streams import Continuity, StreamKind
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX, split_decimal

# The first and last part of a trade whose source does not say of what parts it is.
UNKNOWN_PART: Final = -1

# As the exchange spells a trade of an answer, and one of the stream.
_FIELDS: Final = '"a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{},"M":true}}'
ROW_TEXT: Final = "{{" + _FIELDS
EVENT_TEXT: Final = '{{"e":"aggTrade","E":{},"s":"{}",' + _FIELDS

_NS_A_MS: Final = 1_000_000
# A decimal with as few characters fits into 64 bits at each exponent.
_SURELY_FITTING: Final = 18
_PartInt = Annotated[int, msgspec.Meta(ge=UNKNOWN_PART, le=INT64_MAX)]
# As text: a number of thousands of digits is no price.
_Decimal = Annotated[str, msgspec.Meta(max_length=64)]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One aggregated trade: what a taker order traded at one price, with one maker or several.

    `market` is the exchange's symbol, such as `BTCUSDT`. `trade_id` is `a`; the ids of aggregated
    trades go on without a hole. `first_part` and `last_part` are `f` and `l`, the ids of the
    exchange's own trades in it, or both `UNKNOWN_PART`. `price` and `quantity` are decimal text,
    as sent. `is_sold` is whether the taker sold. `event_ms` is when it was traded (`T`, ms since
    the epoch).

    `sent_ms` is when the exchange sent it (`E`), and `received_ns` when it was received (ns since
    the epoch); both are 0 for a trade that was asked for afterwards. `payload` is the JSON object
    exactly as it was sent.

    `event_micros` and `sent_micros` are the microseconds that follow `event_ms` and `sent_ms`
    where the exchange's times have them.
    """

    market: str
    trade_id: int
    first_part: int
    last_part: int
    price: str
    quantity: str
    is_sold: bool
    event_ms: int
    sent_ms: int
    received_ns: int
    payload: bytes
    event_micros: int = 0
    sent_micros: int = 0

    @property
    def event_us(self) -> int:
        """When it was traded, in microseconds since the epoch."""
        return self.event_ms * US_A_MS + self.event_micros

    @property
    def first_id(self) -> int:
        """The id as a stream of any kind has it."""
        return self.trade_id

    @property
    def final_id(self) -> int:
        """The id as a stream of any kind has it."""
        return self.trade_id

    @property
    def is_repaired(self) -> bool:
        """Whether it was asked for afterwards, and so has no receive time of its own."""
        return not self.received_ns


class TradeFields(msgspec.Struct, gc=False):
    """A trade in an answer of REST, by the exchange's names.

    `M` has no meaning, and may be left out.
    """

    a: WireInt
    p: _Decimal
    q: _Decimal
    f: _PartInt
    l: _PartInt  # noqa: E741 (the exchange's name)
    T: WireInt
    m: bool


class _Event(TradeFields, gc=False, kw_only=True):
    """A trade of the stream."""

    e: Literal["aggTrade"]
    E: WireInt
    s: str


_event_decoder: Final = msgspec.json.Decoder(_Event)
_row_decoder: Final = msgspec.json.Decoder(TradeFields)
_WHAT: Final = "trade"


def decode_trade(payload: bytes, received_ns: int = 0) -> Trade:
    """Decode an `aggTrade` event; raise `MalformedMessage` if it is not a valid one."""
    wire = decoded(_event_decoder, payload, _WHAT)
    return _trade(wire, wire.s, in_ms_and_us(wire.E), received_ns, payload)


def decode_repaired(payload: bytes, market: str) -> Trade:
    """Decode one trade of an answer to `GET /api/v3/aggTrades`; raise `MalformedMessage`."""
    return _trade(decoded(_row_decoder, payload, _WHAT), market, (0, 0), 0, payload)


def made_trade(market: str, fields: TradeFields, received_ns: int = 0) -> Trade:
    """Return a trade of which only `fields` are known, spelt as the exchange spells it.

    It counts as sent when it was traded. Without a time of receipt it is a repaired one. Raises
    `MalformedMessage`.
    """
    if not received_ns:
        return decode_repaired(ROW_TEXT.format(*_texts(fields)).encode(), market)
    return decode_trade(_event_text(market, fields), received_ns)


def event_of_repaired(payload: bytes, market: str) -> bytes:
    """Return a trade of an answer as the stream would have sent it when it was traded.

    Raises `MalformedMessage`.
    """
    return _event_text(market, decoded(_row_decoder, payload, _WHAT))


def _event_text(market: str, fields: TradeFields) -> bytes:
    return EVENT_TEXT.format(fields.T, market, *_texts(fields)).encode()


def _texts(fields: TradeFields) -> tuple[object, ...]:
    *others, is_sold = msgspec.structs.astuple(fields)
    return *others, "true" if is_sold else "false"


def with_id(trade: Trade, trade_id: int) -> Trade:
    """Return a trade of the stream with another id, also in its text."""
    fields = msgspec.json.decode(trade.payload, type=dict[str, msgspec.Raw])
    new = {"a": msgspec.Raw(str(trade_id).encode())}
    return decode_trade(msgspec.json.encode(fields | new), trade.received_ns)


def _trade(
    wire: TradeFields, market: str, sent: tuple[int, int], received_ns: int, payload: bytes
) -> Trade:
    if wire.l < wire.f or (wire.f == UNKNOWN_PART != wire.l):
        raise MalformedMessage(_WHAT, f"trade ids {wire.f}..{wire.l}", payload)
    try:
        is_nothing = not (_is_positive(wire.p) and _is_positive(wire.q))
    except MalformedMessage as error:
        raise MalformedMessage(_WHAT, error.reason, payload) from error
    if is_nothing:
        raise MalformedMessage(_WHAT, f"a quantity of {wire.q} at {wire.p}", payload)
    event_ms, event_micros = in_ms_and_us(wire.T)
    sent_ms, sent_micros = sent
    return Trade(
        *(market, wire.a, wire.f, wire.l, wire.p, wire.q, wire.m),
        *(event_ms, sent_ms, received_ns, payload, event_micros, sent_micros),
    )


def _is_positive(text: str) -> bool:
    return any(_value(text))


def _value(text: str) -> tuple[str, str]:
    """Return the digits of a decimal before and behind the point, without needless zeros."""
    whole, fraction = split_decimal(text)
    return whole.lstrip("0"), fraction


def fits_64_bits(trade: Trade) -> bool:
    """Return whether a scale holds the price of a trade, and one its quantity."""
    if max(len(trade.price), len(trade.quantity)) <= _SURELY_FITTING:
        return True
    try:
        for text in (trade.price, trade.quantity):
            fitting_exponent([text], EMPTY, DEFAULT_EXPONENT)
    except InexactValue:
        return False
    return True


def parts_missing(known: Trade, trade: Trade) -> int:
    """Return how many of the exchange's own trades lie between two aggregated ones in a row.

    The exchange leaves out such trades itself, where the ids of the aggregated ones go on.
    """
    if UNKNOWN_PART in (known.last_part, trade.first_part):
        return 0
    return max(0, trade.first_part - known.last_part - 1)


def is_same_trade(known: Trade, trade: Trade) -> bool:
    """Return whether two trades of one id do not contradict each other.

    They may be spelt differently, have their times in different units, and come by different ways.
    """
    return (
        known.is_sold == trade.is_sold
        and known.event_ms == trade.event_ms
        and _value(known.price) == _value(trade.price)
        and _value(known.quantity) == _value(trade.quantity)
        and _have_same_parts(known, trade)
    )


def _have_same_parts(known: Trade, trade: Trade) -> bool:
    """Whether two trades of one id are of the same parts, as far as that is known of both."""
    if UNKNOWN_PART in (known.last_part, trade.last_part):
        return True
    return (known.first_part, known.last_part) == (trade.first_part, trade.last_part)


def _continuity(known: Trade, trade: Trade) -> Continuity:
    known_ms, now_ms = known.received_ns // _NS_A_MS, trade.received_ns // _NS_A_MS
    if not may_follow(trade.trade_id, now_ms, known.trade_id, known_ms):
        return Continuity.IMPLAUSIBLE
    if trade.trade_id == known.trade_id + 1:
        follows = trade.first_part > known.last_part or trade.first_part == UNKNOWN_PART
        return Continuity.NEXT if follows else Continuity.IMPLAUSIBLE
    if trade.trade_id > known.trade_id:
        return Continuity.HOLE
    if trade.trade_id == known.trade_id and not _have_same_parts(known, trade):
        return Continuity.IMPLAUSIBLE
    return Continuity.OLD


TRADE: Final = StreamKind(
    name="trade",
    channel="@aggTrade",
    event_name="aggTrade",
    id_name="trade id",
    event=Trade,
    decode=decode_trade,
    continuity=_continuity,
    may_be_quiet=True,
)
