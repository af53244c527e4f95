"""The page and its parts, rendered by Jinja2; whatever is put in is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.web.book_view import BookView


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything that `page.html` shows.

    `steps` are the groupings on offer, as decimals. `live` is how the page follows the
    book: `changes` (JavaScript merges them) or `fragments` (htmx swaps them). `events` is
    the address of its stream. `symbols` are suggestions; all others are found by typing.
    `refresh` is whether it loads itself anew where there is no JavaScript.
    """

    book: BookView
    steps: Sequence[str]
    live: str
    events: str
    symbols: Sequence[SymbolInfo]
    demo: bool
    version: str
    refresh: bool = True


class Templates:
    """Renders the templates of `resources/web/templates`."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(resource_path("web/templates")),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, view: PageView) -> str:
        """Return the whole page."""
        return self._environment.get_template("page.html").render(view=view, book=view.book)

    def fragment(self, book: BookView) -> str:
        """Return the visible book: what changes while the page is open."""
        return self._environment.get_template("book.html").render(book=book)

    def options(self, symbols: Sequence[SymbolInfo]) -> str:
        """Return the suggestions of the symbol picker."""
        return self._environment.get_template("options.html").render(symbols=symbols)

    def refusal(self, sentence: str, style: str, *, has_way_on: bool) -> str:
        """Return a page that says why there is no book; `style`, a style sheet, stays as it is."""
        return self._environment.get_template("refusal.html").render(
            sentence=sentence, style=style, has_way_on=has_way_on
        )
