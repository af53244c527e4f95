"""Reads the page as a person sees it, and checks that apply to every page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

_AXE = Path(__file__).parent / "axe" / "axe.min.js"
_EMPTY = "about:blank"
_SERIOUS = ("serious", "critical")
# Console errors of the browser and of htmx while the server is away, or is ending (503).
_AWAY = (
    *("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "htmx:sse:error: Failed to fetch"),
    *("status of 503", "failed with status 503"),
)
# A tab may disconnect at any time, also while a frame is being written to it in several parts.
GONE_TAB = pytest.mark.allows_log(r"WARNING asyncio: socket\.send\(\) raised exception")
_READ = """({
  id: Number(document.getElementById("book").dataset.updateId),
  state: document.getElementById("state").textContent,
  asks: [...document.querySelectorAll("#asks tr")].map((row) =>
    [...row.cells].map((cell) => cell.title || cell.textContent)).reverse(),
  bids: [...document.querySelectorAll("#bids tr")].map((row) =>
    [...row.cells].map((cell) => cell.title || cell.textContent)),
})"""

Rows = list[tuple[Decimal, Decimal, Decimal]]


class Shown:
    """The book on the page at one instant: rows are (price, size, total), exact, best first."""

    def __init__(self, page: Page) -> None:
        read = _read(page)
        self.update_id: int = read["id"] or 0
        self.state: str = read["state"]
        self.bids: Rows = [_row(row) for row in read["bids"] if row[0]]
        self.asks: Rows = [_row(row) for row in read["asks"] if row[0]]


def seen(page: Page, expression: str) -> Any:
    """Return the value of `expression` on the page; None while the page loads.

    A page without its style sheet counts as loading, since its parts are not in their places.
    """
    try:
        return page.evaluate(f"() => document.readyState === 'complete' ? {expression} : null")
    except Error as error:
        if "because of a navigation" not in error.message:
            raise
        return None


def _read(page: Page) -> dict[str, Any]:
    """Return the content of the page, as soon as it has a book."""
    while True:
        page.locator("#book").wait_for(state="attached")
        read: dict[str, Any] | None = seen(page, _READ)
        if read:
            return read
        page.wait_for_timeout(20)


def _row(cells: list[str]) -> tuple[Decimal, Decimal, Decimal]:
    price, size, total = (Decimal(cell.replace(",", "")) for cell in cells)
    return price, size, total


def rows_of(levels: list[tuple[Decimal, Decimal]], count: int) -> Rows:
    """Return the ungrouped rows that the page must show for the best levels."""
    rows, total = [], Decimal(0)
    for price, size in levels[:count]:
        total += size
        rows.append((price, size, total))
    return rows


def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def until_known(page: Page) -> None:
    """Wait for a page that was made with its book, since any other page reloads itself.

    A test that clicks, types or reads several parts in turn needs a page that stays.
    """
    until(lambda: seen(page, "document.getElementById('book')?.dataset.known !== undefined"))


@contextmanager
def opened(
    chromium: Browser,
    address: str,
    *,
    width: int = 1600,
    scheme: str = "dark",
    expected_errors: tuple[str, ...] = _AWAY,
    is_own: bool = False,
    **options: Any,
) -> Iterator[Page]:
    """Open a page; at the end, all its console errors must have a text of `expected_errors`.

    The tests use one page in turn, since a page of a context of its own takes a second to open.
    With `is_own`, or with options of the context, a test gets such a page.
    """
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    def note_error(error: Error) -> None:
        errors.append(str(error))

    lent = _own_page(chromium, **options) if is_own or options else _shared_page(chromium)
    with lent as page:
        page.set_viewport_size({"width": width, "height": 800 if width < 600 else 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", note)
        page.on("pageerror", note_error)
        try:
            page.goto(address)
            yield page
        finally:
            # pytest shows this if the test fails.
            print(f"console: {errors}, page: {page.locator('body').inner_text()[:300]}")
            page.remove_listener("console", note)
            page.remove_listener("pageerror", note_error)
    unexpected = [error for error in errors if not any(text in error for text in expected_errors)]
    assert not unexpected


@contextmanager
def _own_page(chromium: Browser, **options: Any) -> Iterator[Page]:
    """Open a page in a new context, which has nothing of others."""
    context = chromium.new_context(**options)
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def _shared_page(chromium: Browser) -> Iterator[Page]:
    """Lend the page that the tests use in turn, and empty it after that.

    One that could not be emptied is not lent again.
    """
    pages = [page for context in chromium.contexts for page in context.pages]
    empty = [page for page in pages if page.url == _EMPTY]
    page = empty[0] if empty else chromium.new_context().new_page()
    page.mouse.move(0, 0)
    try:
        yield page
    finally:
        page.unroute_all(behavior="ignoreErrors")
        # An empty page has no storage.
        with suppress(Error):
            page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        page.context.clear_cookies()
        page.goto(_EMPTY)


def accessibility_faults(page: Page) -> list[str]:
    """Return axe-core's serious findings."""
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run()")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in _SERIOUS
    ]
