"""What the local exchange serves, from a played capture or a synthetic market."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from orderbook_desktop.exchange.http import NO_END, NOWHERE

TextLevel = tuple[str, str]


class LocalBook(NamedTuple):
    """A book as decimal text: (price, quantity), best first on both sides.

    `known` are the lowest price of its known bids and the highest of its known asks; an end of None
    is no end. Beyond them the book has only the levels that changed. If `known` itself is None, it
    has only such levels.
    """

    last_update_id: int
    bids: list[TextLevel]
    asks: list[TextLevel]
    known: tuple[str | None, str | None] | None = (None, None)

    def as_json(self, limit: int | None = None) -> bytes:
        """Return the body of `GET /api/v3/depth` with the best `limit` levels of each side."""
        return msgspec.json.encode(
            {
                "lastUpdateId": self.last_update_id,
                "bids": self.bids[:limit],
                "asks": self.asks[:limit],
            }
        )

    @property
    def known_texts(self) -> tuple[str, str]:
        """Both ends of `known` as the headers of an answer have them."""
        if self.known is None:
            return NOWHERE, NOWHERE
        lowest, highest = self.known
        return lowest or NO_END, highest or NO_END


class Listing(Struct, frozen=True):
    """A spot symbol and its filters, as in `exchangeInfo`; sizes are decimal text.

    `price` and `day_volume` (the volume of 24 hours in the quote asset) are for its ticker; they
    are zero where the source does not know them.
    """

    market: str
    base: str
    quote: str
    tick_size: str
    step_size: str
    min_notional: str = "5.00000000"
    price: str = "0.00000000"
    day_volume: str = "0.00000000"


class StreamEvent(Struct, frozen=True):
    """One event on its way to the subscribers of `stream` and of the names in `also`.

    `payload` is the event's JSON object, `frame` the combined frame around it where it has
    been made already (it is then sent on as it stands). `is_diff` marks the depth diffs
    that faults are injected into. `final_id` is the `u` of a diff, or the id of a trade; 0 where it
    is not known.
    """

    stream: str
    market: str
    payload: bytes
    frame: bytes = b""
    also: tuple[str, ...] = ()
    is_diff: bool = False
    final_id: int = 0

    @property
    def kind(self) -> str:
        """The stream's name behind the symbol, such as `depth@100ms` or `aggTrade`."""
        return self.stream.partition("@")[2]


Publish = Callable[[StreamEvent], None]


class Outlet(Protocol):
    """The clients of a `LocalExchange`, for a source that must not outrun or mislead them."""

    async def drained(self, backlog: int = 0) -> None:
        """Return when no client has more than `backlog` bytes still to take."""
        ...

    async def cut_off(self, code: int, within_s: float) -> None:
        """Close all websockets with `code`, and let their clients come back.

        Returns when each stream that had a subscriber has one again, or after `within_s`.
        """
        ...


class MarketSource(Protocol):
    """Makes the books and events that a `LocalExchange` serves. It is used once."""

    @property
    def listings(self) -> Mapping[str, Listing]:
        """The symbols by market (`BTCUSDT`); complete after `open`."""
        ...

    @property
    def played(self) -> int:
        """How many lines, or steps of the market, were played."""
        ...

    async def open(self) -> None:
        """Get ready. Raises a `KnownError` where nothing can be served."""
        ...

    async def run(self, publish: Publish) -> None:
        """Publish events at their time until there are no more, or until cancelled.

        Raises a `KnownError` where the rest cannot be played.
        """
        ...

    def want(self, streams: Collection[str]) -> None:
        """Note all streams that have a subscriber now."""
        ...

    async def book(self, market: str) -> LocalBook:
        """Return the book of a listed market after the last published event.

        It waits where the source does not know the book yet.
        """
        ...

    def older_book(self, market: str) -> LocalBook | None:
        """Return an older book, or None where none is known."""
        ...

    def update_id(self, market: str) -> int:
        """Return the last published update id of `market`, 0 where there is none yet."""
        ...

    async def close(self) -> None:
        """Release files and threads. `run` has ended or has been cancelled."""
        ...
