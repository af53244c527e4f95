"""The trades of a channel: what is new on its tape, as messages, and as rows of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from orderbook_desktop.core.number_format import MarketFormat, exact_text
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Direction, Tape, TapeTrade
from orderbook_desktop.core.tape_rows import Missing, Summed, TapeRow, rows_of
from orderbook_desktop.core.tape_texts import RowTexts, TapeFormat
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import Scale, format_units

# The trades that a new viewer gets, and the most that one message has.
FIRST_TRADES: Final = 50
TRADES_AT_ONCE: Final = 500
ROWS_SHOWN: Final = 25
_READ_FOR_ROWS: Final = 200
_ARROWS: Final = {Direction.UP: "▲", Direction.DOWN: "▼", Direction.NONE: ""}


class TradeFields(Struct, rename="camel", omit_defaults=True):
    """A trade for programs: price and quantity as decimals, exactly the exchange's.

    `id` is the exchange's id of the aggregated trade, `time` its time (ms since the epoch), `side`
    that of the taker. `repaired` is true, and else absent, where it was asked for afterwards.
    """

    id: int
    time: int
    price: str
    quantity: str
    side: Literal["buy", "sell"]
    repaired: bool = False


class TradesMessage(Struct, rename="camel", omit_defaults=True):
    """The data of an event `trades` of `/stream`: trades in the order in which they came.

    `direction` is where the last price came from: `up`, `down` or `none`; before the first trade
    `last_price` is empty. `left_out` is how many trades before these are left out, because there
    were too many. `anew` is true, and else absent, where all trades sent before are to be
    forgotten: the clock of a replay went elsewhere, or a replay has begun or ended.
    """

    run: str
    symbol: str
    last_price: str
    direction: str
    trades: list[TradeFields]
    left_out: int = 0
    anew: bool = False


class TradeRow(Struct, frozen=True):
    """A row of the page's tape; `exact` is its tool tip.

    `side` is `buy` or `sell`, `sum` for trades that are summed, `gap` for missing ones.
    """

    texts: RowTexts
    side: str
    exact: str


class LastView(Struct, frozen=True):
    """The last price: its text with an arrow, and its direction, `up`, `down` or `none`."""

    price: str = ""
    arrow: str = ""
    direction: str = Direction.NONE.value


def fields_of_trade(trade: Trade) -> TradeFields:
    """Return a recorded trade for programs."""
    return TradeFields(
        trade.trade_id,
        trade.event_ms,
        trade.price,
        trade.quantity,
        "sell" if trade.is_sold else "buy",
        trade.is_repaired,
    )


def fields_on_tape(trades: Sequence[TapeTrade], scale: Scale) -> list[TradeFields]:
    """Return trades of a tape for programs; `scale` is the tape's."""
    return [
        TradeFields(
            trade.trade_id,
            trade.event_ms,
            format_units(trade.price, scale.price, None),
            format_units(trade.quantity, scale.quantity, None),
            "sell" if trade.is_sold else "buy",
            trade.is_repaired,
        )
        for trade in trades
    ]


def trades_message(
    run: str, symbol: str, tape: Tape | None, trades: Sequence[TapeTrade], *, anew: bool = False
) -> TradesMessage:
    """Return the message of `trades`, which are of `tape`."""
    shown, last = trades[-TRADES_AT_ONCE:], None if tape is None else tape.last
    return TradesMessage(
        run,
        symbol,
        "" if last is None else format_units(last.price, last.exponent, 0),
        (Direction.NONE if last is None else last.direction).value,
        [] if tape is None else fields_on_tape(shown, tape.scale),
        len(trades) - len(shown),
        anew,
    )


def last_view(tape: Tape | None, market: MarketFormat) -> LastView:
    """Return the last price; without a trade its texts are empty."""
    last = None if tape is None else tape.last
    if last is None:
        return LastView()
    price = exact_text(last.price, last.exponent, market.price_places)
    return LastView(price, _ARROWS[last.direction], last.direction.value)


def trade_rows(
    tape: Tape | None, info: SymbolInfo, market: MarketFormat, *, in_quote: bool
) -> list[TradeRow] | None:
    """Return the newest rows of the tape, the newest first; None without a tape."""
    if tape is None:
        return None
    style = TapeFormat(market, info, in_quote)
    rows = rows_of(tape.newest(_READ_FOR_ROWS), tape.scale, tape)
    return [
        TradeRow(style.texts(row), _side_of(row), style.describe(row))
        for row in rows[: -ROWS_SHOWN - 1 : -1]
    ]


def _side_of(row: TapeRow) -> str:
    if isinstance(row, Missing):
        return "gap"
    if isinstance(row, Summed):
        return "sum"
    return "sell" if row.is_sold else "buy"
