"""How the answers other than the wanted one are documented: all are one sentence."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

Responses = dict[int | str, dict[str, Any]]


class Refused(BaseModel):
    """Why there is no answer. Browsers that navigate get it as a page."""

    detail: str = Field(examples=["X/Y cannot be shown: it is not among the symbols on offer."])


_FORMS: Final = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Refused"}},
    "text/html": {"schema": {"type": "string"}},
}


def _documented(sentences: dict[int, str]) -> Responses:
    return {
        code: {"model": Refused, "description": text, "content": _FORMS}
        for code, text in sentences.items()
    }


def of_pages(responses: Responses) -> Responses:
    """Return `responses` for a path that answers with HTML: FastAPI takes a model for that's."""
    return {
        code: {name: value for name, value in response.items() if name != "model"}
        for code, response in responses.items()
    }


REFUSALS: Final = _documented(
    {
        401: "The token is missing or wrong.",
        403: "Another site's page asked.",
        405: "Only GET is served, and HEAD where an answer has an end.",
        413: "The request had a body.",
        414: "The address was too long.",
        421: "The Host header names another server.",
        429: "Too many requests, viewers or symbols.",
        431: "The request's head was too long.",
        503: "The server is being switched off.",
    }
)
OF_SYMBOLS: Final = _documented(
    {404: "The symbol is not on offer.", 422: "A value is not accepted."}
)
OF_VALUES: Final = _documented({422: "A value is not accepted."})
