"""The page and its parts, rendered by Jinja2, which escapes all values."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from msgspec import Struct

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.web.book_view import BookView


class PageView(Struct, frozen=True):
    """Everything that `page.html` shows.

    `steps` are the groupings on offer, as decimals. `live` is how the page follows the book:
    `changes` (JavaScript merges them) or `fragments` (htmx swaps them). `events` is the address
    of its stream. `symbols` are the first suggestions; typing finds the other symbols.
    `refresh` is whether the page reloads itself in a browser without JavaScript.
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
        """Return the visible book, the part of the page that changes while it is open."""
        return self._environment.get_template("book.html").render(book=book)

    def options(self, symbols: Sequence[SymbolInfo]) -> str:
        """Return the suggestions of the symbol picker."""
        return self._environment.get_template("options.html").render(symbols=symbols)

    def refusal(self, sentence: str, style: str, *, has_way_on: bool) -> str:
        """Return a page that says why there is no book; the style sheet `style` is not escaped."""
        return self._environment.get_template("refusal.html").render(
            sentence=sentence, style=style, has_way_on=has_way_on
        )
