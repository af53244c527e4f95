"""Between depth events and arrays: reading the levels of many events at once, and spelling them.

An event is spelt canonically where its text is exactly what the exchange sends:
`{"e":"depthUpdate","E":…,"s":"…","U":…,"u":…,"b":[["…","…"],…],"a":[…]}` without spaces, and
decimals with eight places and no needless zero in front. Of such an event the numbers are enough
to give its text back byte for byte. The text of any other event is kept as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import add
from typing import Final, NamedTuple

import numpy as np

from orderbook_desktop.core.archive.numbers import EventNumbers, numbers_of
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff, TextLevels, level_texts
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import (
    DEFAULT_EXPONENT,
    INT64_MAX,
    Scale,
    format_units,
    parse_units,
)

_DIGITS: Final = b"0123456789"
_SPACES_FOR_OTHERS: Final = bytes(byte if byte in _DIGITS else 0x20 for byte in range(256))
_ZEROS_FOR_DIGITS: Final = bytes(0x30 if byte in _DIGITS else byte for byte in range(256))
_FRACTION: Final = b"." + DEFAULT_EXPONENT * b"0" + b'"'
_HEAD: Final = b'{"e":"depthUpdate","E":%d,'
_LEVELS_BEGIN: Final = b'"b":['
_LEVEL_SKELETON: Final = b'[".","."],'
_SKELETON: Final = b'{"e":"depthUpdate","E":,"s":"%b","U":,"u":,"b":[%b],"a":[%b]}'


class Changes(NamedTuple):
    """The changed levels of many events, event by event, bids before asks, as they were sent.

    Four arrays of one length: `events` is the index of the event, `asks` the side,
    `prices` and `quantities` are int64 in units of a `Scale`; quantity 0 removes the level.
    """

    events: Int64Array
    asks: BoolArray
    prices: Int64Array
    quantities: Int64Array


def read_changes(
    events: Sequence[DepthDiff], scale: Scale, *, only_fitting: bool = False
) -> tuple[Changes, list[int]]:
    """Return the changes of `events`, and the indexes of those not spelt canonically.

    Raises `InexactValue` where a value does not fit `scale`; if `only_fitting`, the event with
    such a value counts as one without levels, which is not how it is spelt.
    """
    if scale == Scale():
        numbers = _canonical_numbers(events)
        if numbers is not None:
            return Changes(*_sides(map(_lengths, events)), numbers[::2], numbers[1::2]), []
    # One odd event sends all of them this way, which takes several times as long.
    levels = [_units_of(event, scale, only_fitting=only_fitting) for event in events]
    sides = _sides((len(bids), len(asks)) for bids, asks in levels)
    pairs = list(chain.from_iterable(chain.from_iterable(levels)))
    parsed = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    changes = Changes(*sides, parsed[:, 0].copy(), parsed[:, 1].copy())
    spelt = spell(numbers_of(events), changes, scale, events[0].market)
    return changes, [
        index
        for index, (event, payload) in enumerate(zip(events, spelt, strict=True))
        if event.payload != payload
    ]


def spell(numbers: EventNumbers, changes: Changes, scale: Scale, market: str) -> list[bytes]:
    """Return the canonical text of each event."""
    count = len(numbers.first_ids)
    levels = _level_texts(changes, scale)
    # The boundaries of bids and asks of each event among the levels.
    bounds = np.bincount(2 * changes.events + changes.asks, minlength=2 * count).cumsum().tolist()
    name = market.encode()
    texts, begin = [], 0
    heads = zip(
        numbers.event_ms.tolist(),
        numbers.first_ids.tolist(),
        numbers.final_ids.tolist(),
        bounds[::2],
        bounds[1::2],
        strict=True,
    )
    for event_ms, first_id, final_id, middle, end in heads:
        bids, asks = b",".join(levels[begin:middle]), b",".join(levels[middle:end])
        texts.append(
            b'{"e":"depthUpdate","E":%d,"s":"%b","U":%d,"u":%d,"b":[%b],"a":[%b]}'
            % (event_ms, name, first_id, final_id, bids, asks)
        )
        begin = end
    return texts


def _level_texts(changes: Changes, scale: Scale) -> list[bytes]:
    """Return each level as `["price","quantity"]`; equal values are spelt once."""

    def texts(values: Int64Array, exponent: int, form: bytes) -> list[bytes]:
        distinct, at = np.unique(values, return_inverse=True)
        spelt = [form % decimal for decimal in _decimals(distinct, exponent)]
        return [spelt[index] for index in at.tolist()]

    prices = texts(changes.prices, scale.price, b'["%b","')
    quantities = texts(changes.quantities, scale.quantity, b'%b"]')
    return list(map(add, prices, quantities))


def _decimals(values: Int64Array, exponent: int) -> list[bytes]:
    """Return decimals with eight places, or more where a value needs them."""
    missing = DEFAULT_EXPONENT - exponent
    if missing < 0:
        return [format_units(v, exponent, DEFAULT_EXPONENT).encode() for v in values.tolist()]
    wholes, fractions = np.divmod(values, 10**exponent)
    fractions *= 10**missing
    return [b"%d.%08d" % pair for pair in zip(wholes.tolist(), fractions.tolist(), strict=True)]


def _units_of(
    event: DepthDiff, scale: Scale, *, only_fitting: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return bids and asks of `event`, prices and quantities in units of `scale`."""

    def units(texts: TextLevels) -> list[tuple[int, int]]:
        return [(parse_units(p, scale.price), parse_units(q, scale.quantity)) for p, q in texts]

    bids, asks = level_texts(event.payload)
    try:
        return units(bids), units(asks)
    except InexactValue:
        if not only_fitting:
            raise
        return [], []


def _lengths(event: DepthDiff) -> tuple[int, int]:
    return len(event.bids), len(event.asks)


def _sides(lengths: Iterable[tuple[int, int]]) -> tuple[Int64Array, BoolArray]:
    """Return for each level the index of its event, and whether it is an ask.

    `lengths` are the numbers of bids and asks of each event.
    """
    counts = list(chain.from_iterable(lengths))
    halves = np.repeat(np.arange(len(counts)), counts)
    return halves >> 1, (halves & 1).astype(np.bool_)


def _canonical_numbers(events: Sequence[DepthDiff]) -> Int64Array | None:
    """Return price and quantity of every level in turn, in units of 10^-8.

    None unless each event is spelt canonically. This is the proof: without their digits the texts
    are as they should be, so they can only differ in digits. The decoder has checked names, whole
    numbers and the market; it accepts no decimal without a whole part, and none with a needless
    zero in front. All digits behind the points are counted: there are eight behind each. So the
    digits of a decimal without its point are its units.
    """
    if not all(event.payload.startswith(_HEAD % event.event_ms) for event in events):
        # The time that counts differs from the time that was sent.
        return None
    market = events[0].market.encode()
    skeleton = b"".join(_skeletons(events, market.translate(None, _DIGITS)))
    if b"".join(event.payload for event in events).translate(None, _DIGITS) != skeleton:
        return None
    tails = b"".join(event.payload[event.payload.index(_LEVELS_BEGIN) :] for event in events)
    if tails.translate(_ZEROS_FOR_DIGITS).count(_FRACTION) != tails.count(b"."):
        return None
    numbers = np.fromstring(tails.translate(_SPACES_FOR_OTHERS, b"."), dtype=np.int64, sep=" ")
    # A number too large for 64 bits was read as the largest one.
    return numbers if numbers.max(initial=0) < INT64_MAX else None


def _skeletons(events: Iterable[DepthDiff], symbol: bytes) -> Iterable[bytes]:
    for event in events:
        bids, asks = len(event.bids) * _LEVEL_SKELETON, len(event.asks) * _LEVEL_SKELETON
        yield _SKELETON % (symbol, bids[:-1], asks[:-1])
