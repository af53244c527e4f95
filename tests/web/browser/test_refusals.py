"""The pages of refusals: each looks like the other pages and says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page

from orderbook_desktop.web.options import Limits, WebOptions
from tests.web.browser.looking import (
    GONE_TAB,
    accessibility_faults,
    opened,
    seen,
    until,
    until_known,
)
from tests.web.browser.program import free_port
from tests.web.hand_library import loaded_library
from tests.web.threaded import serving

pytestmark = GONE_TAB

_GUARDED = WebOptions(port=0, token="a-token-for-the-tests-alone")
_COLOURS = {"dark": "rgb(13, 17, 23)", "light": "rgb(238, 241, 245)"}
_BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@contextmanager
def _refused(
    chromium: Browser, address: str, *, width: int, scheme: str = "dark"
) -> Iterator[Page]:
    """Open a refused address with the status changed, since the true one is a console error."""
    with opened(chromium, "about:blank", width=width, scheme=scheme) as page:
        page.route(address, lambda route: route.fulfill(response=route.fetch(), status=200))
        page.goto(address)
        yield page


def _is_laid_out(page: Page, width: int) -> bool:
    """Whether all parts are below each other, and within the window."""
    boxes = [one.bounding_box() for one in page.locator("main > *").all()]
    tops = [box["y"] for box in boxes if box is not None]
    fits: bool = page.evaluate("document.documentElement.scrollWidth") <= width
    return fits and tops == sorted(set(tops)) and len(tops) == len(boxes) >= 2


@pytest.mark.parametrize("width", [1600, 360])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_without_the_token_a_page_says_what_to_do(
    chromium: Browser, scheme: str, width: int
) -> None:
    with (
        serving(loaded_library(), _GUARDED) as server,
        _refused(chromium, server.address, scheme=scheme, width=width) as page,
    ):
        assert "whole link" in page.locator("main p").inner_text()
        # That would only be refused again.
        assert page.get_by_role("link").count() == 0
        assert page.evaluate(_BACKGROUND) == _COLOURS[scheme]
        assert _is_laid_out(page, width)
        assert accessibility_faults(page) == []


@pytest.mark.parametrize("target", ["?symbol=NO/SUCH", "nothing", "api/book?depth=0"])
@pytest.mark.parametrize("width", [1600, 360])
def test_a_symbol_not_on_offer_is_refused_with_a_link_to_the_book(
    chromium: Browser, width: int, target: str
) -> None:
    with (
        serving(loaded_library(), WebOptions(port=0)) as server,
        _refused(chromium, server.address + target, width=width) as page,
    ):
        assert page.locator("main p").first.inner_text().endswith(".")
        assert page.evaluate(_BACKGROUND) == _COLOURS["dark"]
        assert _is_laid_out(page, width)
        assert accessibility_faults(page) == []
        page.get_by_role("link").click()
        until_known(page)


def test_a_page_with_an_outdated_token_says_so(chromium: Browser) -> None:
    port, library = free_port(), loaded_library()
    # A server that is ending refuses a new stream by 503.
    expected_errors = ("ERR_", "status of 401", "status of 503")
    with opened(chromium, "about:blank", expected_errors=expected_errors) as page:
        with serving(library, WebOptions(port=port, token="a" * 20)) as server:
            page.goto(server.link)
            until_known(page)
        with serving(library, WebOptions(port=port, token="b" * 20)):
            until(lambda: seen(page, "document.querySelector('h1').textContent") == "Not shown")


def test_a_stream_that_is_refused_leaves_the_book_in_its_place(chromium: Browser) -> None:
    options = WebOptions(port=0, limits=Limits(viewers=0))
    with (
        serving(loaded_library(), options) as server,
        opened(chromium, "about:blank", expected_errors=("status of 429",), is_own=True) as page,
    ):
        page.add_init_script("""
          window.answered = 0;
          document.addEventListener("htmx:finally:request", () => window.answered++);
        """)
        page.goto(f"{server.address}?live=fragments")
        until(lambda: seen(page, "window.answered"))
        assert page.locator("#bids tr").count() == 25
        assert "100.01" in page.locator("#bids").inner_text()
