"""The paths for programs: books and status as JSON, and the stream of changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.version import __version__
from orderbook_desktop.web.changes_stream import (
    ChangesForm,
    raw_levels,
    resumed_seq,
)
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.errors import Unreadable
from orderbook_desktop.web.frames import Encoding, accepts_gzip
from orderbook_desktop.web.hub import Hub, SeatedStream
from orderbook_desktop.web.queries import (
    OF_SYMBOLS,
    REFUSALS,
    AcceptEncoding,
    BeforeQuery,
    DepthQuery,
    LastEventId,
    SymbolQuery,
    TradesQuery,
)
from orderbook_desktop.web.trades import TradeFields, fields_of_trade, fields_on_tape

_log = logging.getLogger(__name__)

# How long a request waits for a symbol's first book.
FIRST_BOOK_S: Final = 3.0

_LEVELS: Final = Field(
    description="Price and quantity as decimals, exactly the exchange's, best price first.",
    examples=[[["60000.01000000", "0.50000000"]]],
)


class BookAnswer(BaseModel):
    """A book. While the book is unknown both sides are empty and `lastUpdateId` is 0."""

    symbol: str = Field(examples=["BTC/USDT"])
    lastUpdateId: int = Field(description="The exchange's update id of the last change.")  # noqa: N815
    bids: list[tuple[str, str]] = _LEVELS
    asks: list[tuple[str, str]] = _LEVELS
    status: FeedState = Field(description="How far the book can be trusted.")
    eventTime: int = Field(description="The exchange's time of the last event, ms; 0: none.")  # noqa: N815
    replayTime: int | None = Field(  # noqa: N815
        default=None,
        description="The time of the clock (ms) while the book is one of a replay (`status` is"
        " `replay`); absent while it is live.",
    )
    knownFrom: str | None = Field(  # noqa: N815
        default=None,
        description="The lowest price down to which all bids are known; a sum that reaches below it"
        " is a lower bound. Null: all bids are known. Absent: it is not known how deep.",
        examples=["59000.01000000"],
    )
    knownTo: str | None = Field(  # noqa: N815
        default=None,
        description="The same for asks: the highest price up to which all are known.",
        examples=["61000.01000000"],
    )


class TradeAnswer(BaseModel):
    """An aggregated trade of the exchange."""

    id: int = Field(description="The exchange's id of the aggregated trade; ids have no holes.")
    time: int = Field(description="The exchange's time of the trade, ms.")
    price: str = Field(examples=["60000.01000000"])
    quantity: str = Field(examples=["0.50000000"])
    side: Literal["buy", "sell"] = Field(description="The side of the taker.")
    repaired: bool = Field(
        default=False, description="True where it was asked for after it was traded."
    )


class TradesAnswer(BaseModel):
    """Trades in the order of their ids. Where an id is missing, that trade is not recorded."""

    symbol: str = Field(examples=["BTC/USDT"])
    trades: list[TradeAnswer]


class FollowedSymbol(BaseModel):
    """A symbol that the server follows."""

    symbol: str
    source: SourceKind = Field(
        description="The present source of its book: the recording, or the exchange itself."
    )
    status: FeedState
    detail: str = Field(description="What is wrong, in a sentence; empty while all is well.")
    ageMs: int | None = Field(description="How old the book is; null before the first.")  # noqa: N815
    lastUpdateId: int  # noqa: N815
    viewers: int
    gaps: int | None = Field(
        description="How many gaps its recording has, of all causes; null while not known."
    )
    sessionGaps: int | None = Field(  # noqa: N815
        description="How many of them began in this session of the program."
    )


class StatusAnswer(BaseModel):
    """What the server is doing."""

    version: str
    uptimeMs: int  # noqa: N815
    demo: bool = Field(description="Whether this is the made-up market of the demo.")
    viewers: int
    viewersLimit: int  # noqa: N815
    symbolsOnOffer: int  # noqa: N815
    symbol: str = Field(description="The symbol that is shown by default.", examples=["BTC/USDT"])
    symbols: list[FollowedSymbol] = Field(
        description="The symbols that the server follows. A request for the status makes it follow"
        " the default symbol."
    )


class Health(BaseModel):
    """The answer of a server that works."""

    status: str = "ok"


_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events whose data is JSON. The first book has the `kind`"
        " `book`. Each `diff` after it sets levels (quantity 0 removes a level) of the"
        " book whose `seq` is the diff's `from`. A `beat` comes while nothing changes."
        " Events with the name `trades` have new trades, at first the newest ones.",
        "content": {"text/event-stream": {}},
    },
    **OF_SYMBOLS,
}


def api_routes(hub: Hub, now: Callable[[], float] = time.monotonic) -> APIRouter:
    """Return the paths for programs, served from `hub`."""
    router = APIRouter(tags=["for programs"], responses=REFUSALS)
    api = _Api(hub, now)
    router.get("/api/book", response_model=BookAnswer, responses=OF_SYMBOLS)(api.book)
    router.get("/api/trades", response_model=TradesAnswer, responses=OF_SYMBOLS)(api.trades)
    router.get("/api/status")(api.status)
    router.get("/healthz")(api.health)
    # With FastAPI's own class the endpoint itself would have to be a generator.
    router.get("/stream", response_class=StreamingResponse, responses=_STREAM)(api.stream)
    return router


class _Api:
    def __init__(self, hub: Hub, now: Callable[[], float]) -> None:
        self._hub = hub
        self._now = now
        self._began = now()
        self._changes = ChangesForm()

    async def book(self, symbol: SymbolQuery = None, depth: DepthQuery = 100) -> Response:
        """Return the book as it is now, at most `depth` levels a side."""
        library = self._hub.library
        info = library.find(symbol or library.default_symbol)
        async with self._hub.channel(info, FIRST_BOOK_S) as channel:
            moment = channel.moment
        image = moment.image
        answer = {
            "symbol": info.symbol,
            "lastUpdateId": image.last_update_id,
            "bids": raw_levels(_best(image.bids, depth), image.scale, None),
            "asks": raw_levels(_best(image.asks, depth), image.scale, None),
            "status": moment.badge.state.value,
            "eventTime": image.event_ms,
        }
        if moment.replay is not None:
            answer["replayTime"] = moment.replay.at_ms
        if image.horizon is not None:
            answer["knownFrom"], answer["knownTo"] = image.horizon.texts()
        return Response(
            msgspec.json.encode(answer),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    async def trades(
        self, symbol: SymbolQuery = None, limit: TradesQuery = 100, before: BeforeQuery = None
    ) -> Response:
        """Return the newest trades, or the last ones before an id, at most `limit`.

        They come from the recording, and the newest ones from the stream. In a replay none is of
        after the clock's time. Raises `Unreadable`.
        """
        library = self._hub.library
        info = library.find(symbol or library.default_symbol)
        async with self._hub.channel(info, FIRST_BOOK_S) as channel:
            tape = channel.moment.tape
        found: list[TradeFields] = []
        if tape is not None:
            newest = tape.newest(limit) if before is None else tape.before(before, limit)
            found = fields_on_tape(newest, tape.scale)
        if len(found) < limit or _have_hole(found):
            end_id = INT64_MAX if before is None else before
            try:
                recorded = await library.trades.before(info.market, end_id, limit)
            except KnownError as error:
                raise Unreadable(str(error)) from error
            found = _joined(map(fields_of_trade, recorded), found)[-limit:]
        return Response(
            msgspec.json.encode({"symbol": info.symbol, "trades": found}),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    async def status(self, response: Response) -> StatusAnswer:
        """Return what the server is doing."""
        hub = self._hub
        response.headers["cache-control"] = "no-store"
        await _follow_default(hub)
        return StatusAnswer(
            version=__version__,
            uptimeMs=int((self._now() - self._began) * 1000),
            demo=hub.library.demo,
            viewers=hub.viewers,
            viewersLimit=hub.limits.viewers,
            symbolsOnOffer=len(hub.library.symbols),
            symbol=hub.library.default_symbol,
            symbols=[_followed(channel, viewers) for channel, viewers in await hub.channels()],
        )

    async def health(self, response: Response) -> Health:
        """Return that the server answers, without a token and without further information."""
        response.headers["cache-control"] = "no-store"
        return Health()

    async def stream(
        self,
        symbol: SymbolQuery = None,
        last_event_id: LastEventId = None,
        accept_encoding: AcceptEncoding = "",
    ) -> SeatedStream:
        """Follow a book: the whole book, then its changes, at most ten times a second."""
        library = self._hub.library
        seat = self._hub.take_seat(library.find(symbol or library.default_symbol))
        last_seq = resumed_seq(seat.channel, last_event_id or "")
        encoding = Encoding(gzip=accepts_gzip(accept_encoding))
        return SeatedStream(seat, self._changes, last_seq=last_seq, encoding=encoding)


def _best(levels: Levels, depth: int) -> Levels:
    return Levels(levels.prices[:depth], levels.quantities[:depth])


async def _follow_default(hub: Hub) -> None:
    """Follow the default symbol; a failure is logged."""
    try:
        async with hub.channel(hub.library.find(hub.library.default_symbol)):
            pass
    except KnownError as error:
        _log.info("the status is without %s: %s", hub.library.default_symbol, error)


def _followed(channel: Channel, viewers: int) -> FollowedSymbol:
    badge, gaps = channel.badge(), channel.moment.gaps
    return FollowedSymbol(
        symbol=channel.info.symbol,
        source=channel.source,
        status=badge.state,
        detail=badge.detail,
        ageMs=badge.age_ms,
        lastUpdateId=channel.moment.image.last_update_id,
        viewers=viewers,
        gaps=None if gaps is None else len(gaps.gaps),
        sessionGaps=None if gaps is None else gaps.in_session,
    )


def _have_hole(trades: Sequence[TradeFields]) -> bool:
    """Whether trades are missing, which a repair may have stored: it does not reach every tape."""
    return any(later.id > trade.id + 1 for trade, later in pairwise(trades))


def _joined(recorded: Iterable[TradeFields], on_tape: Iterable[TradeFields]) -> list[TradeFields]:
    """Return all trades in the order of their ids, each once."""
    found = {trade.id: trade for trade in (*recorded, *on_tape)}
    return [found[trade_id] for trade_id in sorted(found)]
