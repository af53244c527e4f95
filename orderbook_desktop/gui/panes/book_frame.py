"""One look at a book: everything a display frame needs to draw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.levels import EMPTY, Int64Array, Levels
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale, places_of
from orderbook_desktop.gui.panes.number_text import exact_text, short_text

_NO_LEVELS = Levels(EMPTY, EMPTY)


@dataclass(frozen=True, slots=True)
class MarketFormat:
    """How one market's numbers are written.

    `tick` is the finest price step in price units of `scale`; the places are the fraction
    digits that prices and quantities are padded to.
    """

    scale: Scale
    tick: int
    price_places: int
    quantity_places: int

    def price(self, units: int, step: int = 0) -> str:
        """Return a price exactly; a grouping `step` may need fewer places than the tick."""
        places = places_of(step, self.scale.price) if step else self.price_places
        return exact_text(units, self.scale.price, places)

    def half_price(self, twice: int) -> str:
        """Return half of `twice` (price units) exactly."""
        return exact_text(twice * 5, self.scale.price + 1, self.price_places)

    def quantity(self, units: int) -> str:
        """Return a quantity exactly."""
        return exact_text(units, self.scale.quantity, self.quantity_places)

    def short_quantity(self, units: int, widest: int) -> str:
        """Return a quantity in at most about `widest` characters."""
        return short_text(units, self.scale.quantity, self.quantity_places, widest)

    def cost(self, units: int) -> str:
        """Return a price times a quantity exactly."""
        return exact_text(units, self.scale.notional, 2)


@dataclass(frozen=True, slots=True, eq=False)
class BookFrame:
    """The book as one frame shows it.

    `bids` and `asks` are empty while the book is unknown; `problem` is a sentence where it
    cannot be read, else empty. `event_ms` is 0 while no event is known.
    """

    symbol: SymbolInfo
    status: FeedStatus
    format: MarketFormat
    bids: Levels
    asks: Levels
    update_id: int
    event_ms: int
    problem: str = ""

    @property
    def has_levels(self) -> bool:
        """Whether there is anything to draw."""
        return len(self.bids.prices) > 0 or len(self.asks.prices) > 0


@dataclass(frozen=True, slots=True)
class Message:
    """What stands where the book would be: a short title and a sentence."""

    title: str
    detail: str


def read_frame(symbol: SymbolInfo, look: BookLook) -> BookFrame:
    """Return the frame of what `look` saw; a book that can't be read becomes a `problem`."""
    book = look.book
    bids = asks = _NO_LEVELS
    problem = ""
    try:
        bids, asks = book.bids(), book.asks()
    except KnownError as error:
        problem = str(error)
    return BookFrame(
        symbol,
        look.status,
        market_format(symbol, book.scale, bids, asks),
        bids,
        asks,
        book.last_update_id,
        book.event_ms,
        problem,
    )


def message_of(frame: BookFrame) -> Message | None:
    """Return what to show in place of the book, or None where there is a book to show."""
    name = frame.symbol.symbol
    if frame.problem:
        return Message(f"The book of {name} cannot be shown", frame.problem)
    if frame.has_levels:
        return None
    titles = {
        FeedState.SYNCING: f"Syncing {name}",
        FeedState.SYNCED: f"The book of {name} is empty",
        FeedState.STALE: f"The book of {name} is empty",
        FeedState.RECONNECTING: f"Reconnecting to {name}",
        FeedState.DATABASE_AWAY: "The database is away",
        FeedState.REPLAY: f"Nothing of {name} was recorded here",
        FeedState.NOT_TRADED: f"The exchange doesn't trade {name}",
    }
    details = {
        FeedState.SYNCING: "Waiting for a snapshot of the book.",
        FeedState.SYNCED: "There are neither bids nor asks.",
        FeedState.RECONNECTING: "The book is unknown until the stream is back.",
        FeedState.DATABASE_AWAY: "The book returns as soon as the database does.",
    }
    status, state = frame.status, frame.status.state
    if state is FeedState.RECONNECTING and not (status.arrived_ns or status.last_received_ns):
        # There never was a book: nothing is connected again.
        titles[state] = f"Connecting to {name}"
        details[state] = "Waiting for the stream."
    return Message(titles[state], status.detail or details.get(state, ""))


def market_format(symbol: SymbolInfo, scale: Scale, bids: Levels, asks: Levels) -> MarketFormat:
    """Return how to write the market's numbers.

    Where the exchange did not tell the tick or step size (or it is finer than the book's
    unit), the greatest common divisor of the values on display stands in.
    """
    tick = _rescaled(symbol.tick_size, scale.price) or _divisor(bids.prices, asks.prices)
    step = _rescaled(symbol.step_size, scale.quantity) or _divisor(bids.quantities, asks.quantities)
    return MarketFormat(scale, tick, places_of(tick, scale.price), places_of(step, scale.quantity))


def _rescaled(units: int, exponent: int) -> int:
    """Return units of 10^-8 at `exponent`, or 0 where that would not be exact."""
    if exponent >= DEFAULT_EXPONENT:
        return int(units * 10 ** (exponent - DEFAULT_EXPONENT))
    quotient, rest = divmod(units, 10 ** (DEFAULT_EXPONENT - exponent))
    return 0 if rest else int(quotient)


def _divisor(first: Int64Array, second: Int64Array) -> int:
    return int(np.gcd(np.gcd.reduce(first, initial=0), np.gcd.reduce(second, initial=0)))
