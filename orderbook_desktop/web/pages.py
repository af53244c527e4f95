"""The paths for people: the page, its fragments, and the symbol picker's suggestions."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, StreamingResponse

from orderbook_desktop.core.number_format import step_text
from orderbook_desktop.core.symbols import search_symbols
from orderbook_desktop.core.units import MAX_EXPONENT
from orderbook_desktop.core.version import __version__
from orderbook_desktop.web.book_view import steps_for, view_of
from orderbook_desktop.web.changes_stream import moment_id, resumed_seq
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.frames import Encoding, Frame, accepts_gzip, event_frame
from orderbook_desktop.web.hub import Hub, SeatedStream
from orderbook_desktop.web.queries import (
    OF_SYMBOLS,
    OF_VALUES,
    REFUSALS,
    AcceptEncoding,
    GroupQuery,
    LastEventId,
    SymbolQuery,
    TypedQuery,
    Unit,
    UnitQuery,
    chosen_step,
    of_pages,
)
from orderbook_desktop.web.templates import PageView, Templates

# After this time the page is sent without a book: it then says "syncing".
_FIRST_BOOK_S: Final = 1.0
_SUGGESTIONS: Final = 60
_NOT_STORED: Final = {"cache-control": "no-store"}


class FragmentsForm:
    """Makes the frames of `/events`, grouped by `step`; is a `StreamForm`.

    The step is in the units of `steps_for`. Sizes and totals are in the asset that `unit` names.

    All viewers of a symbol with the same grouping and unit share one rendering.
    """

    def __init__(self, templates: Templates, step: int, unit: Unit = Unit.BASE) -> None:
        self._templates = templates
        self._step = step
        self._unit = unit

    def frame(self, channel: Channel, last_seq: int | None) -> Frame:
        """Return the visible book, for every `last_seq`."""
        del last_seq
        key = ("fragment", self._step, self._unit)
        return channel.shared(key, lambda: self._render(channel))

    def beat(self, channel: Channel) -> Frame:
        """Return the visible book with its age as of now."""
        return self.frame(channel, None)

    def _render(self, channel: Channel) -> Frame:
        in_quote = self._unit is Unit.QUOTE
        memory = channel.ladder_memory(self._step, in_quote=in_quote)
        view = view_of(
            *(channel.info, channel.moment, channel.badge(), self._step, memory), in_quote=in_quote
        )
        # One line, since each line of an event is sent with a prefix.
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
    bool, Query(description="Whether the page reloads itself in a browser without JavaScript.")
]


_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events whose data is the visible book as HTML.",
        "content": {"text/event-stream": {}},
    },
    **OF_SYMBOLS,
}


def page_routes(hub: Hub, templates: Templates) -> APIRouter:
    """Return the paths for people, served from `hub`."""
    router = APIRouter(tags=["for people"], responses=of_pages(REFUSALS))
    pages = _Pages(hub, templates)
    router.get("/", response_class=HTMLResponse, responses=of_pages(OF_SYMBOLS))(pages.page)
    router.get("/symbols", response_class=HTMLResponse, responses=of_pages(OF_VALUES))(
        pages.symbols
    )
    # With FastAPI's own class the endpoint itself would have to be a generator.
    router.get("/events", response_class=StreamingResponse, responses=_EVENTS)(pages.events)
    return router


class _Pages:
    def __init__(self, hub: Hub, templates: Templates) -> None:
        self._hub = hub
        self._templates = templates

    async def page(
        self,
        symbol: SymbolQuery = None,
        group: GroupQuery = None,
        unit: UnitQuery = Unit.BASE,
        live: LiveQuery = Live.CHANGES,
        refresh: RefreshQuery = True,
    ) -> HTMLResponse:
        """Return the page with the book as it is now."""
        library = self._hub.library
        info = library.find(symbol or library.default_symbol)
        in_quote = unit is Unit.QUOTE
        async with self._hub.channel(info, _FIRST_BOOK_S) as channel:
            moment, badge = channel.moment, channel.badge()
            step = chosen_step(info, moment.shown, group)
            memory = channel.ladder_memory(step, in_quote=in_quote)
        book = view_of(info, moment, badge, step, memory, in_quote=in_quote)
        view = PageView(
            book=book,
            steps=[step_text(offered, MAX_EXPONENT) for offered in steps_for(info, moment.shown)],
            live=live.value,
            events="/events?"
            + urlencode({"symbol": info.symbol, "group": book.step, "unit": unit.value}),
            symbols=search_symbols(library.symbols, "")[:_SUGGESTIONS],
            demo=library.demo,
            version=__version__,
            refresh=refresh,
        )
        return HTMLResponse(self._templates.page(view), headers=_NOT_STORED)

    async def symbols(self, symbol: TypedQuery = "") -> HTMLResponse:
        """Return the likeliest symbols for the typed text, as `<option>`s."""
        found = search_symbols(self._hub.library.symbols, symbol)[:_SUGGESTIONS]
        return HTMLResponse(self._templates.options(found), headers=_NOT_STORED)

    async def events(
        self,
        symbol: SymbolQuery = None,
        group: GroupQuery = None,
        unit: UnitQuery = Unit.BASE,
        last_event_id: LastEventId = None,
        accept_encoding: AcceptEncoding = "",
    ) -> SeatedStream:
        """Follow the visible book as HTML, at most ten times a second."""
        info = self._hub.library.find(symbol or self._hub.library.default_symbol)
        seat = self._hub.take_seat(info)
        try:
            step = chosen_step(info, seat.channel.moment.shown, group)
            last_seq = resumed_seq(seat.channel, last_event_id or "")
            encoding = Encoding(gzip=accepts_gzip(accept_encoding))
            form = FragmentsForm(self._templates, step, unit)
            return SeatedStream(seat, form, last_seq=last_seq, encoding=encoding)
        except BaseException:
            seat.leave()
            raise
