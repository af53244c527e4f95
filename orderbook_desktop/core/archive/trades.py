"""Chunks of trades: an unbroken run of aggregated trades as columns, byte for byte.

A chunk can be read without any other data. Trades are kept in the order of their ids. Every column
is a row of whole numbers (`archive.tokens`) with one number per trade, except the times of sending
and receipt, which a repaired trade does not have. A trade whose text is spelt as the exchange
spells it is made of its numbers again; the text of any other is kept as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import msgspec
import numpy as np
from msgspec.structs import replace

from orderbook_desktop.core.archive.chunk import MILLISECONDS
from orderbook_desktop.core.archive.lanes import fitting
from orderbook_desktop.core.archive.tokens import (
    BoolArray,
    Column,
    read_signed,
    read_unsigned,
    write_signed,
    write_unsigned,
)
from orderbook_desktop.core.errors import BugError, DamagedChunk, InexactValue
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.levels import EMPTY, Int64Array, fitting_exponent
from orderbook_desktop.core.trades import EVENT_TEXT, ROW_TEXT, Trade, decode_repaired, decode_trade
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale, format_units, parse_units

TRADES_VERSION: Final = 1
MICROSECONDS: Final = "us"
_NS_A_MS: Final = 1_000_000
# What a millisecond is in each unit of times.
_UNITS_A_MS: Final = {MILLISECONDS: 1, MICROSECONDS: US_A_MS}


class TradeHeader(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a chunk of trades covers, and how its numbers are scaled.

    `first_id` is the id of its first trade, and `first_part` that of the first part of it.
    `from_ms` is the time of its first trade, `least_ms` and `greatest_ms` the earliest and the
    latest of all. `unit` is that of the columns of times: ms, or us where a time has microseconds.
    Prices are units of 10^-`price_exponent` and multiples of
    `price_step`, quantities units of 10^-`quantity_exponent` and multiples of `quantity_step`.

    Of the trades that were received: `first_received_ns` is when the first one was, and
    `least_delay_ns` the least time from a trade's sending to its receipt. `by_delay` says which of
    two ways the column of receive times is written in.
    """

    schema_version: int
    market: str
    count: int
    first_id: int
    first_part: int
    from_ms: int
    least_ms: int
    greatest_ms: int
    price_exponent: int
    quantity_exponent: int
    price_step: int
    quantity_step: int
    first_received_ns: int
    least_delay_ns: int
    by_delay: bool
    unit: str = MILLISECONDS


class TradeColumns(msgspec.Struct, frozen=True, array_like=True):
    """The columns of a chunk of trades.

    `part_steps` is `first_part` less the last part of the trade before, less 1; `part_spans` how
    many more parts there are. `times` is the time since the trade before. `prices` is the
    difference from the last price of the same side, in steps, `quantities` is in steps. `sold` and
    `repaired` are bits. `sent` is the time from trade to sending. `received` is the time since the
    trade before was received, or, if `by_delay`, from sending to receipt, less `least_delay_ns`.
    `odd` lists the trades that are not spelt canonically; `lengths` and `texts` have their texts.
    """

    part_steps: Column
    part_spans: Column
    times: Column
    prices: Column
    quantities: Column
    sold: Column
    repaired: Column
    sent: Column
    received: Column
    odd: Column
    lengths: Column
    texts: Column


class TradeChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk of trades ready to be packed, or unpacked and ready to be decoded."""

    header: TradeHeader
    columns: TradeColumns


class TradeArrays(NamedTuple):
    """Trades as arrays of one length, in the order of their ids.

    `ids`, `first_parts` and `last_parts` are those of `core.trades.Trade`. `times_ms`, `sent_ms`
    and `received_ns` are since the epoch; the last two are 0 for repaired trades. `prices` and
    `quantities` are units of a `Scale`. `sold` is whether the taker sold. `micros` and
    `sent_micros` are the microseconds that follow `times_ms` and `sent_ms`.
    """

    ids: Int64Array
    first_parts: Int64Array
    last_parts: Int64Array
    times_ms: Int64Array
    sent_ms: Int64Array
    received_ns: Int64Array
    prices: Int64Array
    quantities: Int64Array
    sold: BoolArray
    repaired: BoolArray
    micros: Int64Array
    sent_micros: Int64Array

    @property
    def times_us(self) -> Int64Array:
        """When each was traded, in microseconds since the epoch."""
        return self.times_ms * US_A_MS + self.micros


def encode_trades(trades: Sequence[Trade]) -> TradeChunk:
    """Return the chunk of `trades`, of one market and with ids that go on without a hole.

    Raises `InexactValue` where no scale holds all their prices, or all their quantities.
    """
    _check_run(trades)
    arrays, scale = _arrays_of(trades)
    heard = (~arrays.repaired).nonzero()[0]
    unit = MICROSECONDS if (arrays.micros | arrays.sent_micros).any() else MILLISECONDS
    units_a_ms = _UNITS_A_MS[unit]
    times, sent = _times_in(units_a_ms, arrays)
    sent_ns = sent[heard] * (_NS_A_MS // units_a_ms)
    received, fields_of_received = _write_received(arrays.received_ns[heard], sent_ns)
    price_step, quantity_step = _step(arrays.prices), _step(arrays.quantities)
    header = TradeHeader(
        **_covered_by(trades[0].market, arrays),
        price_exponent=scale.price,
        quantity_exponent=scale.quantity,
        price_step=price_step,
        quantity_step=quantity_step,
        **fields_of_received,
        unit=unit,
    )
    expected = np.concatenate(([header.first_part], arrays.last_parts[:-1] + 1))
    return TradeChunk(
        header,
        TradeColumns(
            write_signed(arrays.first_parts - expected),
            write_unsigned(arrays.last_parts - arrays.first_parts),
            write_signed(np.diff(times, prepend=header.from_ms * units_a_ms)),
            write_signed(_price_steps(arrays.prices // price_step, arrays.sold)),
            write_unsigned(arrays.quantities // quantity_step),
            _write_bits(arrays.sold),
            _write_bits(arrays.repaired),
            write_signed((sent - times)[heard]),
            received,
            *_write_odd(trades, _spelt(arrays, scale, header)),
        ),
    )


class DecodedTrades(msgspec.Struct, frozen=True, eq=False):
    """Trades with ids that go on without a hole. The arrays must not be written to.

    `odd_payloads` are, by index, the texts that are not spelt canonically, or not known to be.
    """

    header: TradeHeader
    arrays: TradeArrays
    odd_payloads: dict[int, bytes]

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> Self:
        """Return `trades`, as for a chunk of them. Raises what `encode_trades` raises."""
        _check_run(trades)
        arrays, scale = _arrays_of(trades)
        header = TradeHeader(
            **_covered_by(trades[0].market, arrays),
            price_exponent=scale.price,
            quantity_exponent=scale.quantity,
            price_step=1,
            quantity_step=1,
            first_received_ns=0,
            least_delay_ns=0,
            by_delay=False,
        )
        return cls(header, arrays, dict(enumerate(trade.payload for trade in trades)))

    def __len__(self) -> int:
        return self.header.count

    @property
    def scale(self) -> Scale:
        """What unit prices and quantities are in."""
        return Scale(self.header.price_exponent, self.header.quantity_exponent)

    def between(self, first_id: int, last_id: int) -> Self | None:
        """Return the part with the ids `first_id` to `last_id`; None if there is none."""
        begin = max(first_id - self.header.first_id, 0)
        end = min(last_id + 1 - self.header.first_id, self.header.count)
        if begin >= end:
            return None
        if end - begin == self.header.count:
            return self
        arrays = TradeArrays._make(column[begin:end] for column in self.arrays)
        header = replace(self.header, **_covered_by(self.header.market, arrays))
        odd = {at - begin: text for at, text in self.odd_payloads.items() if begin <= at < end}
        return type(self)(header, arrays, odd)

    def payloads(self) -> list[bytes]:
        """Return the text of each trade, as it was sent."""
        if len(self.odd_payloads) == len(self):
            return list(self.odd_payloads.values())
        texts = _spelt(self.arrays, self.scale, self.header)
        for at, text in self.odd_payloads.items():
            texts[at] = text
        return texts

    def trades(self) -> list[Trade]:
        """Return the trades, equal in every field. Raises `MalformedMessage` if one is damaged."""
        market = self.header.market
        heard = zip(self.arrays.repaired.tolist(), self.arrays.received_ns.tolist(), strict=True)
        return [
            decode_repaired(payload, market) if repaired else decode_trade(payload, received_ns)
            for payload, (repaired, received_ns) in zip(self.payloads(), heard, strict=True)
        ]


def fitting_runs(trades: Sequence[Trade]) -> list[Sequence[Trade]]:
    """Return `trades` in as few pieces as halving gives, each of which one scale can hold.

    Raises `InexactValue` where no scale holds one of them.
    """
    try:
        for texts in ([trade.price for trade in trades], [trade.quantity for trade in trades]):
            _units_of(texts)
    except InexactValue:
        if len(trades) == 1:
            raise
        half = len(trades) // 2
        return fitting_runs(trades[:half]) + fitting_runs(trades[half:])
    return [trades]


def decode_trades(chunk: TradeChunk) -> DecodedTrades:
    """Return what `chunk` holds. Raises `DamagedChunk` where it contradicts itself."""
    header, columns = chunk.header, chunk.columns
    count = header.count
    units_a_ms = _UNITS_A_MS.get(header.unit)
    if header.schema_version != TRADES_VERSION or units_a_ms is None:
        raise DamagedChunk(f"trades of the version {header.schema_version}, in {header.unit}")
    spans = fitting(read_unsigned(columns.part_spans), count)
    steps = fitting(read_signed(columns.part_steps), count)
    last_parts = (steps + spans + 1).cumsum() + header.first_part - 1
    times = fitting(read_signed(columns.times), count).cumsum() + header.from_ms * units_a_ms
    sold, repaired = _read_bits(columns.sold, count), _read_bits(columns.repaired, count)
    heard = (~repaired).nonzero()[0]
    sent, received_ns = np.zeros((2, count), dtype=np.int64)
    sent[heard] = fitting(read_signed(columns.sent), len(heard)) + times[heard]
    sent_ns = sent[heard] * (_NS_A_MS // units_a_ms)
    received_ns[heard] = _received(header, columns.received, sent_ns)
    prices = _prices_of(fitting(read_signed(columns.prices), count), sold)
    quantities = fitting(read_unsigned(columns.quantities), count)
    arrays = TradeArrays(
        np.arange(header.first_id, header.first_id + count),
        last_parts - spans,
        last_parts,
        times // units_a_ms,
        sent // units_a_ms,
        received_ns,
        prices * header.price_step,
        quantities * header.quantity_step,
        sold,
        repaired,
        times % units_a_ms,
        sent % units_a_ms,
    )
    return DecodedTrades(header, arrays, _odd_payloads(columns, count))


def _check_run(trades: Sequence[Trade]) -> None:
    if not trades:
        raise BugError("a chunk without trades")
    for before, trade in pairwise(trades):
        if trade.market != before.market or trade.trade_id != before.trade_id + 1:
            raise BugError(f"trade {trade.trade_id} does not follow {before.trade_id}")


def _covered_by(market: str, arrays: TradeArrays) -> dict[str, Any]:
    """Return the fields of a header that say which trades there are."""
    return {
        "schema_version": TRADES_VERSION,
        "market": market,
        "count": len(arrays.ids),
        "first_id": int(arrays.ids[0]),
        "first_part": int(arrays.first_parts[0]),
        "from_ms": int(arrays.times_ms[0]),
        "least_ms": int(arrays.times_ms.min()),
        "greatest_ms": int(arrays.times_ms.max()),
    }


def _arrays_of(trades: Sequence[Trade]) -> tuple[TradeArrays, Scale]:
    prices, price_exponent = _units_of([trade.price for trade in trades])
    quantities, quantity_exponent = _units_of([trade.quantity for trade in trades])

    def numbers(values: list[int]) -> Int64Array:
        return np.array(values, dtype=np.int64)

    arrays = TradeArrays(
        numbers([trade.trade_id for trade in trades]),
        numbers([trade.first_part for trade in trades]),
        numbers([trade.last_part for trade in trades]),
        numbers([trade.event_ms for trade in trades]),
        numbers([trade.sent_ms for trade in trades]),
        numbers([trade.received_ns for trade in trades]),
        prices,
        quantities,
        np.array([trade.is_sold for trade in trades], dtype=np.bool_),
        np.array([trade.is_repaired for trade in trades], dtype=np.bool_),
        numbers([trade.event_micros for trade in trades]),
        numbers([trade.sent_micros for trade in trades]),
    )
    return arrays, Scale(price_exponent, quantity_exponent)


def _times_in(units_a_ms: int, arrays: TradeArrays) -> tuple[Int64Array, Int64Array]:
    """Return when each trade was traded, and when it was sent, in the unit of a chunk."""
    micros_a_unit = US_A_MS // units_a_ms
    return (
        arrays.times_ms * units_a_ms + arrays.micros // micros_a_unit,
        arrays.sent_ms * units_a_ms + arrays.sent_micros // micros_a_unit,
    )


def _units_of(texts: list[str]) -> tuple[Int64Array, int]:
    """Return decimals in the units of an exponent that holds them all, and the exponent."""
    exponent = fitting_exponent(texts, EMPTY, DEFAULT_EXPONENT)
    units = [parse_units(text, exponent) for text in texts]
    return np.array(units, dtype=np.int64), exponent


def _step(values: Int64Array) -> int:
    """Return the largest number that all `values` are multiples of."""
    return int(np.gcd.reduce(values)) or 1


def _price_steps(prices: Int64Array, sold: BoolArray) -> Int64Array:
    """Return the difference of each price from the last one of the same side, at first from 0."""
    steps = np.empty_like(prices)
    for side in (sold, ~sold):
        steps[side] = np.diff(prices[side], prepend=0)
    return steps


def _prices_of(steps: Int64Array, sold: BoolArray) -> Int64Array:
    """Undo `_price_steps`."""
    prices = np.empty_like(steps)
    for side in (sold, ~sold):
        prices[side] = steps[side].cumsum()
    return prices


def _write_bits(flags: BoolArray) -> Column:
    """Return the column of flags: their bits, or nothing where none is true."""
    return Column(np.packbits(flags).tobytes() if flags.any() else b"")


def _read_bits(column: Column, count: int) -> BoolArray:
    if not column.tokens:
        return np.zeros(count, dtype=np.bool_)
    if len(column.tokens) != (count + 7) // 8:
        raise DamagedChunk("flags do not fit their trades")
    packed = np.frombuffer(column.tokens, dtype=np.uint8)
    return np.unpackbits(packed, count=count).astype(np.bool_)


def _write_received(received_ns: Int64Array, sent_ns: Int64Array) -> tuple[Column, dict[str, Any]]:
    """Return the column of receive times, in the shorter of its two ways, and its header fields."""
    first_ns = int(received_ns[0]) if len(received_ns) else 0
    delays = received_ns - sent_ns
    least_ns = int(delays.min()) if len(delays) else 0
    by_step = write_signed(np.diff(received_ns, prepend=first_ns))
    by_delay = write_unsigned(delays - least_ns)
    is_by_delay = len(by_delay.bits) < len(by_step.bits)
    fields: dict[str, Any] = {
        "first_received_ns": first_ns,
        "least_delay_ns": least_ns,
        "by_delay": is_by_delay,
    }
    return by_delay if is_by_delay else by_step, fields


def _write_odd(trades: Sequence[Trade], spelt: Sequence[bytes]) -> tuple[Column, Column, Column]:
    """Return the columns of the trades that are not spelt canonically, which is `spelt`."""
    odd = [at for at, trade in enumerate(trades) if trade.payload != spelt[at]]
    places: Int64Array = np.array(odd, dtype=np.int64)
    texts = [trades[at].payload for at in odd]
    return (
        write_unsigned(np.diff(places, prepend=0)),
        write_unsigned(np.array([len(text) for text in texts], dtype=np.int64)),
        Column(b"".join(texts)),
    )


def _received(header: TradeHeader, column: Column, sent_ns: Int64Array) -> Int64Array:
    """Return when the trades that were sent at `sent_ns` were received (ns since the epoch)."""
    if header.by_delay:
        return sent_ns + fitting(read_unsigned(column), len(sent_ns)) + header.least_delay_ns
    return fitting(read_signed(column), len(sent_ns)).cumsum() + header.first_received_ns


def _spelt(arrays: TradeArrays, scale: Scale, header: TradeHeader) -> list[bytes]:
    """Return the text of each trade as the exchange spells it: an event, or a row of an answer."""
    times, sent_times = _times_in(_UNITS_A_MS[header.unit], arrays)
    columns = (
        arrays.ids.tolist(),
        [format_units(units, scale.price, DEFAULT_EXPONENT) for units in arrays.prices.tolist()],
        [
            format_units(units, scale.quantity, DEFAULT_EXPONENT)
            for units in arrays.quantities.tolist()
        ],
        arrays.first_parts.tolist(),
        arrays.last_parts.tolist(),
        times.tolist(),
        ["true" if sold else "false" for sold in arrays.sold.tolist()],
    )
    sent = zip(arrays.repaired.tolist(), sent_times.tolist(), strict=True)
    market = header.market
    return [
        (
            ROW_TEXT.format(*fields) if repaired else EVENT_TEXT.format(time, market, *fields)
        ).encode()
        for (repaired, time), fields in zip(sent, zip(*columns, strict=True), strict=True)
    ]


def _odd_payloads(columns: TradeColumns, count: int) -> dict[int, bytes]:
    """Return the texts that are stored as they were sent, by the index of their trade."""
    odd = read_unsigned(columns.odd).cumsum().tolist()
    ends = fitting(read_unsigned(columns.lengths), len(odd)).cumsum().tolist()
    texts = columns.texts.tokens
    if odd and not (ends[-1] == len(texts) and odd[0] >= 0 and odd[-1] < count):
        raise DamagedChunk("texts that were kept do not fit their trades")
    begins = [0, *ends][: len(ends)]
    return {at: texts[begin:end] for at, begin, end in zip(odd, begins, ends, strict=True)}
