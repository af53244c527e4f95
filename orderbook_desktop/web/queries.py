"""The parameters of requests, and the documentation of refusals, once for all paths."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final

from fastapi import Header, Query
from pydantic import BaseModel, Field

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.number_format import step_text
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import INT64_MAX, MAX_EXPONENT
from orderbook_desktop.web.book_view import default_step_for, step_of, steps_for

MAX_DEPTH: Final = 10_000
MAX_TRADES: Final = 1_000
_USUAL_DIGITS: Final = ("1", "2", "5")


class Unit(Enum):
    """The asset that sizes and totals are shown in."""

    BASE = "base"
    QUOTE = "quote"


SymbolQuery = Annotated[
    str | None,
    Query(
        description="Spot symbol such as `BTC/USDT` or `BTCUSDT`; left out: the default symbol.",
        min_length=1,
        max_length=32,
        examples=["BTC/USDT"],
    ),
]
DepthQuery = Annotated[int, Query(ge=1, le=MAX_DEPTH, description="Levels a side, at most.")]
TradesQuery = Annotated[int, Query(ge=1, le=MAX_TRADES, description="Trades, at most.")]
BeforeQuery = Annotated[
    int | None,
    Query(
        ge=0,
        le=INT64_MAX,
        description="Only trades with a lower id than this: the `id` of the first trade of an"
        " answer continues it into the past. Left out: the newest trades.",
    ),
]
GroupQuery = Annotated[
    str | None,
    Query(
        description="Price step to group by, one of the steps on the page; left out: the finest"
        " one that shows the book and not its dust."
        " Another step of 1, 2 or 5 with zeros selects the nearest finer step on the page.",
        max_length=31,
        pattern=r"^[0-9]{1,12}(\.[0-9]{1,18})?$",
        examples=["0.1"],
    ),
]
UnitQuery = Annotated[
    Unit, Query(description="Whether sizes and totals are in the base or in the quote asset.")
]
TypedQuery = Annotated[
    str, Query(description="Text that a person typed to find a symbol.", max_length=32)
]
LastEventId = Annotated[
    str | None,
    Header(
        description="The id of the last event; a browser that connects again sends it.",
        max_length=40,
    ),
]
AcceptEncoding = Annotated[str, Header(include_in_schema=False, max_length=200)]

_Responses = dict[int | str, dict[str, Any]]


class NotAGrouping(KnownError):
    """The grouping `typed` is not on offer; the groupings on offer are `offered`."""

    typed: str
    offered: list[str]

    def __str__(self) -> str:
        return f"{self.typed} is no grouping here; these are: {', '.join(self.offered)}."


def chosen_step(info: SymbolInfo, image: BookImage, typed: str | None) -> int:
    """Return the grouping step for `typed`, in the units of `steps_for`; raises `NotAGrouping`.

    The steps on offer depend on symbol and price. A step that is on offer for another symbol or
    price selects the nearest finer step on offer. While the book is unknown its price is unknown
    too; then a step of at least the finest one is taken as it is.
    """
    steps = steps_for(info, image)
    if typed is None:
        return default_step_for(info, image)
    step = step_of(typed)
    if step in steps or (step >= steps[0] and not image.last_update_id):
        return step
    if str(step).rstrip("0") not in _USUAL_DIGITS:
        raise NotAGrouping(typed, [step_text(offered, MAX_EXPONENT) for offered in steps])
    return max((offered for offered in steps if offered < step), default=steps[0])


class Refused(BaseModel):
    """The reason of a refusal. A browser that opens a page gets it as a page."""

    detail: str = Field(examples=["X/Y cannot be shown: it is not among the symbols on offer."])


_FORMS: Final = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Refused"}},
    "text/html": {"schema": {"type": "string"}},
}


def _documented(sentences: dict[int, str]) -> _Responses:
    return {
        code: {"model": Refused, "description": text, "content": _FORMS}
        for code, text in sentences.items()
    }


def of_pages(responses: _Responses) -> _Responses:
    """Return `responses` without models: FastAPI takes a model for the schema of the HTML."""
    return {
        code: {name: value for name, value in response.items() if name != "model"}
        for code, response in responses.items()
    }


REFUSALS: Final = _documented(
    {
        401: "The token is missing or wrong.",
        403: "The request came from another site's page.",
        405: "Only GET is served, and HEAD for answers that have an end.",
        413: "The request had a body.",
        414: "The address was too long.",
        421: "The Host header names another server.",
        429: "Too many requests, viewers or symbols.",
        431: "The request's head was too long.",
        503: "The server is being switched off, or recorded trades can't be read now.",
    }
)
OF_SYMBOLS: Final = _documented(
    {404: "The symbol is not on offer.", 422: "A value is not accepted."}
)
OF_VALUES: Final = _documented({422: "A value is not accepted."})
