"""The paths for people: the page, its fragments, and the symbol picker's suggestions."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, StreamingResponse

from orderbook_desktop.core.market_format import step_text
from orderbook_desktop.core.symbols import search_symbols
from orderbook_desktop.core.units import MAX_EXPONENT
from orderbook_desktop.core.version import __version__
from orderbook_desktop.web.book_view import steps_for, view_of
from orderbook_desktop.web.changes_stream import moment_id, seen_moment
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.frames import Encoding, Frame, accepts_gzip, event_frame
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.queries import (
    OF_SYMBOLS,
    OF_VALUES,
    REFUSALS,
    AcceptEncoding,
    GroupQuery,
    LastEventId,
    SymbolQuery,
    TypedQuery,
    chosen_step,
    of_pages,
)
from orderbook_desktop.web.seated_stream import SeatedStream
from orderbook_desktop.web.templates import PageView, Templates

# A person would rather see an empty page that says "syncing" than none.
_FIRST_BOOK_S: Final = 1.0
_SUGGESTIONS: Final = 60
_NOT_STORED: Final = {"cache-control": "no-store"}


class FragmentsForm:
    """Makes the frames of `/events`, grouped by `step` (as `steps_for`); is a `StreamForm`.

    One rendering serves everybody who watches the symbol with the same grouping.
    """

    def __init__(self, templates: Templates, step: int) -> None:
        self._templates = templates
        self._step = step

    def frame(self, channel: Channel, seen: int | None) -> Frame:
        """Return the visible book, whatever was seen before."""
        del seen
        return channel.shared(("fragment", self._step), lambda: self._render(channel))

    def beat(self, channel: Channel) -> Frame:
        """Return the visible book with its age as of now."""
        return self.frame(channel, None)

    def _render(self, channel: Channel) -> Frame:
        view = view_of(channel.info, channel.moment, channel.badge(), self._step)
        # In one line, as each one would be sent with a prefix.
        html = "".join(self._templates.fragment(view).splitlines())
        return event_frame(html, moment_id(channel))


class Live(Enum):
    """How a page follows the book."""

    CHANGES = "changes"
    FRAGMENTS = "fragments"


LiveQuery = Annotated[
    Live, Query(description="How the page follows the book: by changes, or by whole fragments.")
]
RefreshQuery = Annotated[
    bool, Query(description="Whether the page loads itself anew where there is no JavaScript.")
]


def page_routes(hub: Hub, templates: Templates) -> APIRouter:
    """Return the paths for people, served from `hub`."""
    router = APIRouter(tags=["for people"], responses=of_pages(REFUSALS))

    @router.get("/", response_class=HTMLResponse, responses=of_pages(OF_SYMBOLS))
    async def page(
        symbol: SymbolQuery = None,
        group: GroupQuery = None,
        live: LiveQuery = Live.CHANGES,
        refresh: RefreshQuery = True,
    ) -> HTMLResponse:
        """Return the page with the book as it is now."""
        library = hub.library
        info = library.find(symbol or library.default_symbol)
        async with hub.channel(info, _FIRST_BOOK_S) as channel:
            moment, badge = channel.moment, channel.badge()
        book = view_of(info, moment, badge, chosen_step(info, moment.image, group))
        view = PageView(
            book=book,
            steps=[step_text(one, MAX_EXPONENT) for one in steps_for(info, moment.image)],
            live=live.value,
            events="/events?" + urlencode({"symbol": info.symbol, "group": book.step}),
            symbols=search_symbols(library.symbols, "")[:_SUGGESTIONS],
            demo=library.demo,
            version=__version__,
            refresh=refresh,
        )
        return HTMLResponse(templates.page(view), headers=_NOT_STORED)

    @router.get("/symbols", response_class=HTMLResponse, responses=of_pages(OF_VALUES))
    async def symbols(symbol: TypedQuery = "") -> HTMLResponse:
        """Return the likeliest symbols for what was typed, as `<option>`s."""
        found = search_symbols(hub.library.symbols, symbol)[:_SUGGESTIONS]
        return HTMLResponse(templates.options(found), headers=_NOT_STORED)

    @router.get(
        "/events",
        # As FastAPI's own class it would want the endpoint itself to be a generator.
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events whose data is the visible book as HTML.",
                "content": {"text/event-stream": {}},
            },
            **OF_SYMBOLS,
        },
    )
    async def events(
        symbol: SymbolQuery = None,
        group: GroupQuery = None,
        last_event_id: LastEventId = None,
        accept_encoding: AcceptEncoding = "",
    ) -> SeatedStream:
        """Follow the visible book as HTML, at most ten times a second."""
        info = hub.library.find(symbol or hub.library.default_symbol)
        seat = hub.take_seat(info)
        try:
            step = chosen_step(info, seat.channel.moment.image, group)
            seen = seen_moment(seat.channel, last_event_id or "")
            encoding = Encoding(gzip=accepts_gzip(accept_encoding))
            return SeatedStream(seat, FragmentsForm(templates, step), seen=seen, encoding=encoding)
        except BaseException:
            seat.leave()
            raise

    return router
