"""The stream of JSON for `book_feed.js` and other programs: a book, its changes, and the trades."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.checkpoint import BookChanges, BookImage
from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.units import Scale, format_units
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.frames import Frame, event_frame
from orderbook_desktop.web.trades import FIRST_TRADES, trades_message

_Characters = npt.NDArray[np.uint8]
_Shown = npt.NDArray[np.bool_]

# A table gives this many digits at a time.
_WIDTH: Final = 4
_PART: Final = 10**_WIDTH
_ZERO: Final = ord("0")
_TABLE: Final[_Characters] = np.frombuffer(
    b"".join(b"%0*d" % (_WIDTH, number) for number in range(_PART)), dtype=np.uint8
).reshape(_PART, _WIDTH)

TextLevels = list[tuple[str, str]]

# For fewer levels numpy costs more than it saves.
_MANY: Final = 100
_NO_LEVELS: Final = msgspec.Raw(b"[]")


def json_levels(levels: Levels, scale: Scale, *, trimmed: bool) -> bytes:
    """Return the levels as a JSON array of pairs of exact decimals, `[["60000.01","0.5"],…]`.

    The decimals are those of `format_units`: with `trimmed` its text for 0 places, else all
    places of the scale. Prices and quantities must not be negative. The function works on arrays
    of digits: one number at a time, a book of 5,000 levels a side takes longer than a frame of
    the window.
    """
    count = len(levels.prices)
    if not count:
        return b"[]"
    parts = (
        _constant(b'["', count),
        *_decimals(levels.prices, scale.price, trimmed=trimmed),
        _constant(b'","', count),
        *_decimals(levels.quantities, scale.quantity, trimmed=trimmed),
        _constant(b'"],', count),
    )
    text = np.concatenate([characters for characters, _ in parts], axis=1)
    shown = np.concatenate([mask for _, mask in parts], axis=1)
    pairs: bytes = text[shown].tobytes()
    return b"[" + pairs[:-1] + b"]"


def _constant(text: bytes, count: int) -> tuple[_Characters, _Shown]:
    shape = (count, len(text))
    characters = np.frombuffer(text, dtype=np.uint8)
    return np.broadcast_to(characters, shape), np.broadcast_to(np.True_, shape)


def _decimals(
    units: Int64Array, exponent: int, *, trimmed: bool
) -> tuple[tuple[_Characters, _Shown], ...]:
    """Return three columns, each with its mask: digits before the point, point, digits after it."""
    digits = _digits(units, at_least=exponent + 1)
    point = digits.shape[1] - exponent
    counts = digits != _ZERO
    whole = np.logical_or.accumulate(counts[:, :point], axis=1)
    whole[:, -1] = True
    fraction = counts[:, point:]
    if trimmed:
        fraction = np.logical_or.accumulate(fraction[:, ::-1], axis=1)[:, ::-1]
    else:
        fraction = np.ones_like(fraction)
    # This has no columns if the scale has no fraction.
    has_point = fraction[:, :1]
    return (
        (digits[:, :point], whole),
        (np.full(has_point.shape, ord("."), dtype=np.uint8), has_point),
        (digits[:, point:], fraction),
    )


def _digits(units: Int64Array, at_least: int) -> _Characters:
    """Return a row of digits for each number, as long as the largest number needs."""
    needed = max(at_least, len(str(int(units.max()))))
    parts = np.empty((len(units), -(-needed // _WIDTH)), dtype=np.int64)
    rest = units
    for column in reversed(range(parts.shape[1])):
        above = rest // _PART
        parts[:, column] = rest - above * _PART
        rest = above
    return _TABLE[parts].reshape(len(units), -1)


class BookMessage(msgspec.Struct, rename="camel", omit_defaults=True):
    """A message of `/stream`.

    `kind` is `book` (replace the book), `diff` (set these levels; a quantity of 0 removes its
    level) or `beat` (nothing changed). A diff applies to the book whose `seq` is `from`; a
    client with another book connects anew. Levels are exact decimals, best price first, as
    JSON. Times are ms. `age_ms` is the age of the book when the message was made, None before the
    first one. `demo` is true while the market is made up, and absent otherwise.

    `current` is false while the book may be wrong by now, and absent otherwise. While the book is
    not known, both sides are empty and `last_update_id` is 0.

    `known_from` and `known_to` are the prices within which the book is whole (None: no end). A book
    has both, unless it is not known how deep it is known. A diff has both if one of them changed.

    `replay_time` is the time of the clock (ms) while the book is one of a replay, and absent while
    it is live. At a gap of the recording the book is empty.

    `gaps` is how many gaps the recording of the symbol has, `session_gaps` how many of them began
    in this session of the program; both are absent while that is not known.
    """

    kind: Literal["book", "diff", "beat"]
    run: str
    from_: int = msgspec.field(name="from")
    seq: int
    symbol: str
    last_update_id: int
    event_time: int
    status: str
    detail: str
    age_ms: int | None
    bids: msgspec.Raw
    asks: msgspec.Raw
    demo: bool = False
    current: bool = True
    known_from: str | msgspec.UnsetType | None = msgspec.UNSET
    known_to: str | msgspec.UnsetType | None = msgspec.UNSET
    gaps: int | msgspec.UnsetType = msgspec.UNSET
    session_gaps: int | msgspec.UnsetType = msgspec.UNSET
    replay_time: int | msgspec.UnsetType = msgspec.UNSET


class ChangesForm:
    """Makes the frames of `/stream`; is a `StreamForm`."""

    def frame(self, channel: Channel, last_seq: int | None) -> Frame:
        """Return the changes since the moment `last_seq`, or the whole book, and the new trades."""
        return channel.shared(("changes", last_seq), lambda: _with_trades(channel, last_seq))

    def beat(self, channel: Channel) -> Frame:
        """Return a message without levels."""
        return channel.shared("beat", lambda: _encoded(_message(channel, "beat")))


def moment_id(channel: Channel) -> str:
    """Return the event id of the channel's present moment."""
    return f"{channel.run}-{channel.moment.seq}"


def resumed_seq(channel: Channel, last_event_id: str) -> int | None:
    """Return the `seq` of the moment that a `Last-Event-ID` header names; None: no such moment."""
    run, _, seq = last_event_id.partition("-")
    if run != channel.run or not (seq.isascii() and seq.isdigit() and len(seq) < 16):
        return None
    return int(seq) if int(seq) <= channel.moment.seq else None


def text_levels(levels: Levels, scale: Scale, places: int | None) -> TextLevels:
    """Return levels as decimals with at least `places` places (None: all places of the scale)."""
    price, quantity = scale.price, scale.quantity
    return [
        (format_units(p, price, places), format_units(q, quantity, places))
        for p, q in zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
    ]


def raw_levels(levels: Levels, scale: Scale, places: Literal[0] | None) -> msgspec.Raw:
    """Return levels as JSON; many levels are written by numpy, which is faster."""
    if len(levels.prices) < _MANY:
        return msgspec.Raw(msgspec.json.encode(text_levels(levels, scale, places)))
    return msgspec.Raw(json_levels(levels, scale, trimmed=places == 0))


def _with_trades(channel: Channel, last_seq: int | None) -> Frame:
    """Return the frame of the book, with an event `trades` before it if there are new ones.

    Only the book's event has an id, so a viewer that got that one has got the other, too. A viewer
    that asks for no events of this name gets books only.
    """
    moment, trades = channel.moment, channel.trades_since(last_seq)
    tape = moment.tape
    # A viewer that connects anew while the book is live keeps what it has.
    is_first = last_seq is None and moment.replay is None
    anew = channel.is_other_tape(last_seq) and not is_first
    if trades is None:
        trades = [] if tape is None else tape.newest(FIRST_TRADES)
    book = _frame(channel, last_seq)
    if not trades and not anew:
        return book
    message = trades_message(channel.run, channel.info.symbol, tape, trades, anew=anew)
    return event_frame(msgspec.json.encode(message).decode(), name="trades") + book


def _frame(channel: Channel, last_seq: int | None) -> Frame:
    changes = None if last_seq is None else channel.changes_since(last_seq)
    if changes is None or last_seq is None:
        # All viewers that need the whole book share one frame.
        return channel.shared("book", lambda: _book(channel))
    message = _message(channel, "diff")
    message.from_ = last_seq
    if last_seq < channel.horizon_since:
        _tell_horizon(message, channel)
    return _with_levels(message, channel, changes)


def _book(channel: Channel) -> Frame:
    message = _message(channel, "book")
    _tell_horizon(message, channel)
    return _with_levels(message, channel, channel.moment.image)


def _tell_horizon(message: BookMessage, channel: Channel) -> None:
    horizon = channel.moment.image.horizon
    if horizon is not None:
        message.known_from, message.known_to = horizon.texts(0)


def _with_levels(message: BookMessage, channel: Channel, levels: BookImage | BookChanges) -> Frame:
    scale = channel.moment.image.scale
    message.bids = raw_levels(levels.bids, scale, 0)
    message.asks = raw_levels(levels.asks, scale, 0)
    return _encoded(message, moment_id(channel))


def _message(channel: Channel, kind: Literal["book", "diff", "beat"]) -> BookMessage:
    moment, badge = channel.moment, channel.badge()
    gaps = moment.gaps
    return BookMessage(
        kind=kind,
        run=channel.run,
        from_=moment.seq,
        seq=moment.seq,
        symbol=channel.info.symbol,
        last_update_id=moment.image.last_update_id,
        event_time=moment.image.event_ms,
        status=moment.badge.state.value,
        detail=moment.badge.detail,
        age_ms=badge.age_ms,
        bids=_NO_LEVELS,
        asks=_NO_LEVELS,
        demo=moment.demo,
        current=moment.badge.is_current,
        gaps=msgspec.UNSET if gaps is None else len(gaps.gaps),
        session_gaps=msgspec.UNSET if gaps is None else gaps.in_session,
        replay_time=msgspec.UNSET if moment.replay is None else moment.replay.at_ms,
    )


def _encoded(message: BookMessage, event_id: str | None = None) -> Frame:
    return event_frame(msgspec.json.encode(message).decode(), event_id)
