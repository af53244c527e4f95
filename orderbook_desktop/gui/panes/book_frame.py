"""The book as read once for a display frame: everything that the panes need to draw it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.number_format import MarketFormat, market_format
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import LastPrice, Tape

_NO_LEVELS = Levels(EMPTY, EMPTY)


class BookFrame(Struct, frozen=True, eq=False):
    """The book as one frame shows it.

    `bids` and `asks` are empty while the book is unknown. `problem` is a sentence if the book
    cannot be read, else empty. `event_ms` is 0 while no event is known. `horizon` are the prices
    within which the book is whole, at the scale of `format`; None: it is not known how deep.
    `is_lost` is whether this is the last book that was known, as the present one is unknown. A pane
    that `explains` says why there is no book; the panes beside it only say that there is none.

    `last` is the price of the newest trade, and `tape` has the trades, of which new ones come while
    the frame is shown; both are None where trades are not followed. `depth` has the newest minutes
    of the live book's events, to which new ones come, too; None in a replay.
    """

    symbol: SymbolInfo
    status: FeedStatus
    format: MarketFormat
    bids: Levels
    asks: Levels
    update_id: int
    event_ms: int
    horizon: Horizon | None
    problem: str = ""
    is_lost: bool = False
    explains: bool = True
    last: LastPrice | None = None
    tape: Tape | None = None
    depth: DepthTail | None = None

    @property
    def has_levels(self) -> bool:
        """Whether the book has a bid or an ask."""
        return len(self.bids.prices) > 0 or len(self.asks.prices) > 0

    def has_book_of(self, other: BookFrame | None) -> bool:
        """Return whether this is the book of `other`, with newer trades."""
        if other is None or not self.has_levels or self.symbol != other.symbol:
            return False
        return self.bids is other.bids and self.asks is other.asks


class Message(Struct, frozen=True):
    """A short title and a sentence that a pane shows in place of a book."""

    title: str
    detail: str


def read_frame(symbol: SymbolInfo, look: BookLook) -> BookFrame:
    """Return the frame for `look`; if its book can't be read, the frame has a `problem`."""
    book, tape = look.book, look.tape
    last = tape.last if tape is not None else None
    if look.last is not None:
        lost = _lost_frame(symbol, look.status, look.last)
        return replace(lost, last=last, tape=tape, depth=look.depth)
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
        book.horizon,
        problem,
        last=last,
        tape=tape,
        depth=look.depth,
    )


def _lost_frame(symbol: SymbolInfo, status: FeedStatus, last: BookImage) -> BookFrame:
    return BookFrame(
        symbol,
        status,
        market_format(symbol, last.scale, last.bids, last.asks),
        last.bids,
        last.asks,
        last.last_update_id,
        last.event_ms,
        last.horizon,
        is_lost=True,
    )


def message_of(frame: BookFrame) -> Message | None:
    """Return the message to show in place of the book; None if there is a book to show."""
    message = _explanation_of(frame)
    return message if message is None or frame.explains else Message(message.title, "")


def _explanation_of(frame: BookFrame) -> Message | None:
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
        FeedState.DATABASE_LATE: "The database is late",
        FeedState.REPLAY: f"The book of {name} is not known here",
        FeedState.NOT_TRADED: f"The exchange doesn't trade {name}",
    }
    details = {
        FeedState.SYNCING: "Waiting for a snapshot of the book.",
        FeedState.SYNCED: "There are neither bids nor asks.",
        FeedState.RECONNECTING: "The book is unknown until the stream is back.",
        FeedState.DATABASE_AWAY: "The book returns as soon as the database does.",
    }
    status, state = frame.status, frame.status.state
    if state is FeedState.RECONNECTING and not (status.as_of_ns or status.last_received_ns):
        # No book was there before, so this connection is the first.
        titles[state] = f"Connecting to {name}"
        details[state] = "Waiting for the stream."
    return Message(titles[state], status.detail or details.get(state, ""))
