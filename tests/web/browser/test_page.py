"""The page in a real browser: the true book, also after restarts and sleep, by any input."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from playwright.sync_api import Browser, Page, Route

from orderbook_desktop.web.options import WebOptions
from tests.examples import some_of
from tests.exchange.local.true_book import TrueBook, capture_messages
from tests.web.browser.conftest import Served
from tests.web.browser.looking import (
    GONE_TAB,
    Shown,
    accessibility_faults,
    opened,
    rows_of,
    seen,
    until,
    until_known,
)
from tests.web.hand_library import loaded_library
from tests.web.threaded import serving

pytestmark = GONE_TAB

_LOOKS = [("dark", 1600), ("light", 1600), ("light", 360), ("dark", 360)]
Levels = list[tuple[Decimal, Decimal]]


def _true_book(capture: Path, update_id: int) -> tuple[Levels, Levels]:
    """Return the book of the capture at an update id, best levels first."""
    messages = [json.loads(text) for _, text in capture_messages(capture)]
    book = TrueBook(next(one for one in messages if "lastUpdateId" in one))
    for message in messages:
        if "@depth" in message.get("stream", "") and message["data"]["u"] <= update_id:
            book.apply(message["data"])
    assert book.last_update_id == update_id
    return sorted(book.bids.items(), reverse=True), sorted(book.asks.items())


def _asked(address: str) -> Any:
    with build_opener(ProxyHandler({})).open(address, timeout=60) as answer:
        return json.load(answer)


def _api_book(address: str, symbol: str = "BTC/USDT") -> Any:
    return _asked(f"{address}/api/book?symbol={symbol}&depth=10000")


def _until_symbols_are_known(served: Served) -> None:
    until(lambda: _asked(f"{served.address}/api/status")["symbolsOnOffer"] > 100)


def _levels(pairs: list[list[str]]) -> Levels:
    return [
        (Decimal(price.replace(",", "")), Decimal(size.replace(",", ""))) for price, size in pairs
    ]


def _is_api_book(page: Page, address: str, symbol: str = "BTC/USDT") -> bool:
    """Whether page and API show the same book; false if they show different moments."""
    answer, shown = _api_book(address, symbol), Shown(page)
    if not shown.update_id or shown.update_id != answer["lastUpdateId"]:
        return False
    step = Decimal(page.locator("select[name=group]").input_value())
    bids, asks = (_grouped(_levels(answer[name]), step, name) for name in ("bids", "asks"))
    assert shown.bids == rows_of(bids, 25)
    assert shown.asks == rows_of(asks, 25)
    return True


def _grouped(levels: Levels, step: Decimal, side: str) -> Levels:
    """Return `levels` grouped as the ladder is: bids are rounded down, asks up."""
    groups: dict[Decimal, Decimal] = {}
    for price, size in levels:
        down = price // step * step
        group = down if side == "bids" or price == down else down + step
        groups[group] = groups.get(group, Decimal(0)) + size
    return list(groups.items())


def _shown_after(page: Page, update_id: int) -> Shown:
    """Return the next book on the page after the book with `update_id`."""
    until(lambda: Shown(page).update_id > update_id)
    return Shown(page)


@pytest.mark.sweep
@pytest.mark.parametrize(("scheme", "width"), some_of(_LOOKS, 2))
def test_the_page_shows_the_true_book_while_a_capture_is_played(
    chromium: Browser, played: Served, scheme: str, width: int
) -> None:
    assert played.capture is not None
    with opened(chromium, f"{played.address}/?group=0.01", scheme=scheme, width=width) as page:
        last = 0
        until(lambda: Shown(page).state == "synced")
        for _ in range(4):
            shown = _shown_after(page, last)
            bids, asks = _true_book(played.capture, shown.update_id)
            assert shown.bids == rows_of(bids, 25)
            assert shown.asks == rows_of(asks, 25)
            assert shown.state == "synced"
            last = shown.update_id
        until(lambda: _is_api_book(page, played.address))
        answer = _api_book(played.address)
        truth = _true_book(played.capture, answer["lastUpdateId"])
        assert (_levels(answer["bids"]), _levels(answer["asks"])) == truth
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(238, 241, 245)")
        assert accessibility_faults(page) == []


@pytest.mark.parametrize("width", [1600, 360])
def test_the_rows_next_to_the_spread_are_in_view(
    chromium: Browser, endless: Served, width: int
) -> None:
    with opened(chromium, endless.address, width=width) as page:
        until_known(page)
        until(lambda: Shown(page).update_id)
        for selector in ("#asks tr:last-child", "#bids tr:first-child", ".between", "#badge"):
            assert page.locator(selector).is_visible()
            box = page.locator(selector).bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= page.viewport_size["height"]  # type: ignore[index]


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_the_page_survives_a_restart_of_the_server(
    chromium: Browser, endless: Served, live: str
) -> None:
    with opened(chromium, f"{endless.address}/?live={live}") as page:
        until(lambda: Shown(page).state == "synced")
        assert endless.command.stop() == 0
        until(lambda: Shown(page).state == "reconnecting")
        before = Shown(page)
        endless.command.start()
        until(lambda: Shown(page).state == "synced" and Shown(page).bids != before.bids)
        if live == "changes":
            until(lambda: _is_api_book(page, endless.address))


def test_the_page_survives_sleep(chromium: Browser, endless: Served) -> None:
    with opened(chromium, endless.address, is_own=True) as page:
        until(lambda: Shown(page).update_id)
        browser = page.context.new_cdp_session(page)
        browser.send("Page.setWebLifecycleState", {"state": "frozen"})
        began = _api_book(endless.address)["lastUpdateId"]
        until(lambda: _api_book(endless.address)["lastUpdateId"] > began + 200)
        browser.send("Page.setWebLifecycleState", {"state": "active"})
        until(lambda: _is_api_book(page, endless.address))


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_a_hidden_tab_leaves_its_connection_to_others(chromium: Browser, live: str) -> None:
    library = loaded_library()
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, "about:blank", is_own=True) as page,
    ):
        # In a headless browser every tab is visible, so the test sets the state.
        page.add_init_script("""
          window.away = false;
          Object.defineProperty(document, "hidden", { get: () => window.away });
          window.hide = (away) => {
            window.away = away;
            document.dispatchEvent(new Event("visibilitychange"));
          };
        """)
        page.goto(f"{server.address}?live={live}")
        until(lambda: server.viewers == 1)
        page.evaluate("hide(true)")
        until(lambda: server.viewers == 0)
        library.btc.load([("99.01", "2")], [("99.03", "0.5")])
        page.evaluate("hide(false)")
        until(lambda: Shown(page).bids == rows_of([(Decimal("99.01"), Decimal(2))], 25))
        assert page.locator("[role=status]").inner_text() == ""


def test_a_missing_change_is_noticed_and_mended(chromium: Browser, endless: Served) -> None:
    with opened(chromium, "about:blank", is_own=True) as page:
        page.add_init_script("""
          const Real = EventSource;
          let dropped = 0;
          window.opened = 0;
          window.EventSource = class extends Real {
            constructor(...all) { super(...all); window.opened++; }
            set onmessage(take) {
              super.onmessage = (event) => {
                if (JSON.parse(event.data).kind === "diff" && dropped++ === 5) return;
                take(event);
              };
            }
          };
          window.EventSource.CLOSED = Real.CLOSED;
          window.EventSource.OPEN = Real.OPEN;
        """)
        page.goto(endless.address)
        until(lambda: seen(page, "window.opened") == 2)
        until(lambda: _is_api_book(page, endless.address))


def test_symbols_are_searched_and_switched_by_keyboard(chromium: Browser, endless: Served) -> None:
    _until_symbols_are_known(endless)
    with opened(chromium, endless.address) as page:
        until_known(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "symbol"
        page.keyboard.type("ethus")
        until(lambda: 0 < page.locator("#suggestions option").count() < 20)
        offered = page.locator("#suggestions option").evaluate_all("all => all.map(o => o.value)")
        assert offered[0] == "ETH/USDT"
        page.keyboard.type("dt")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("symbol=ethusdt"))
        until_known(page)
        assert page.title() == "ETH/USDT order book"
        until(lambda: _is_api_book(page, endless.address, "ETH/USDT"))


def test_a_chosen_suggestion_is_shown_at_once(chromium: Browser, endless: Served) -> None:
    _until_symbols_are_known(endless)
    with opened(chromium, endless.address) as page:
        until_known(page)
        page.locator("input[name=symbol]").evaluate(
            "box => { box.value = 'SOL/USDT'; box.dispatchEvent(new InputEvent('input')); }"
        )
        page.wait_for_url(re.compile("symbol=SOL%2FUSDT"))
        until(lambda: _is_api_book(page, endless.address, "SOL/USDT"))


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_grouping_keeps_every_quantity(chromium: Browser, endless: Served, live: str) -> None:
    with opened(chromium, f"{endless.address}/?live={live}") as page:
        until_known(page)
        page.locator("select[name=group]").select_option("10")
        page.wait_for_url(re.compile("group=10"))
        until(lambda: all(price % 10 == 0 for price, _, _ in Shown(page).bids))
        until(lambda: all(price % 10 == 0 for price, _, _ in Shown(page).asks))
        shown = Shown(page)
        for rows in (shown.bids, shown.asks):
            assert rows[-1][2] == sum(size for _, size, _ in rows)


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_another_symbol_begins_with_its_own_grouping(
    chromium: Browser, endless: Served, live: str
) -> None:
    _until_symbols_are_known(endless)
    with opened(chromium, f"{endless.address}/?group=500&live={live}") as page:
        until_known(page)
        page.locator("input[name=symbol]").fill("DOGE/USDT")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("symbol=DOGE"))
        assert "group" not in page.url
        until_known(page)
        usual = page.locator("select[name=group]").input_value()
        assert usual in page.locator("select[name=group] option").all_inner_texts()
        assert Decimal(usual) < 1


def test_all_texts_with_the_grouping_follow_it(chromium: Browser, endless: Served) -> None:
    with opened(chromium, endless.address) as page:
        until_known(page)
        page.locator("select[name=group]").select_option("10")
        assert "grouped by 10 USDT" in page.locator("caption").inner_text()
        page.get_by_text("Redraw the whole book each time").click()
        page.wait_for_url(re.compile("live=fragments"))
        until_known(page)
        assert "grouped by 10 USDT" in page.locator("caption").inner_text()


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_a_page_made_before_the_book_was_known_reloads(chromium: Browser, live: str) -> None:
    library = loaded_library()
    library.btc.be_unknown("Loading the book.")
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(lambda: Shown(page).state == "reconnecting")
        assert page.locator("select[name=group] option").all_inner_texts() == ["0.01"]
        library.btc.load([("100.01", "1.5")], [("100.03", "0.5")])
        until_known(page)
        assert page.locator("select[name=group] option").count() > 3
        assert Shown(page).bids[0] == (Decimal("100.01"), Decimal("1.5"), Decimal("1.5"))


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_a_page_that_reloads_is_not_reloaded_again(chromium: Browser, live: str) -> None:
    library = loaded_library()
    library.btc.be_unknown("Loading the book.")
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(lambda: Shown(page).state == "reconnecting")
        asked: list[Route] = []

        def hold(route: Route) -> None:
            asked.append(route)

        page.route(re.compile("live="), hold)
        for size in range(1, 11):
            library.btc.load([("100.01", f"{size}")], [("100.03", "0.5")])
            page.wait_for_timeout(150)
        assert len(asked) == 1
        asked[0].continue_()
        until_known(page)


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_a_demo_that_begins_while_the_page_is_open_is_shown(chromium: Browser, live: str) -> None:
    library = loaded_library()
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(lambda: Shown(page).state in ("synced", "stale"))
        assert not page.locator(".demo").is_visible()
        library.demo = True
        until(lambda: page.locator(".demo").is_visible())
        assert page.title().startswith("DEMO · BTC/USDT")


def test_the_link_with_the_token_can_be_followed_from_another_site(chromium: Browser) -> None:
    options = WebOptions(port=0, token="a-token-for-the-tests-alone")
    with serving(loaded_library(), options) as server, opened(chromium, "about:blank") as page:
        # A name and an address are different sites; the page of the other site is made up here.
        elsewhere = "http://localhost/letter"
        page.route(
            elsewhere,
            lambda route: route.fulfill(
                body=f'<a href="{server.link}">the book</a>', content_type="text/html"
            ),
        )
        page.goto(elsewhere)
        page.get_by_role("link").click()
        until(lambda: Shown(page).update_id)


def _reading(page: Page) -> tuple[int, str, str]:
    """Return the book's update id, the text of the crosshair, and that for a screen reader."""
    read: list[Any] = page.evaluate("""() => [
      Number(document.getElementById("book").dataset.updateId),
      document.getElementById("reading").textContent,
      document.querySelector("svg").getAttribute("aria-valuetext"),
    ]""")
    return read[0], read[1], read[2]


def _is_true_reading(page: Page, address: str) -> bool:
    """Whether the crosshair shows the API's sum; false if they show different moments."""
    answer, (update_id, text, _) = _api_book(address), _reading(page)
    if update_id != answer["lastUpdateId"]:
        return False
    price, away, total = (part.split()[0] for part in text.split(" · "))
    side = answer["asks"] if away.startswith("+") else answer["bids"]
    best = Decimal(side[0][0])
    # The crosshair is between two ticks; the level at the next tick may or may not count.
    reach = abs(Decimal(price.replace(",", "")) - best)
    sums = [
        sum(size for level, size in _levels(side) if abs(level - best) <= reach + slack)
        for slack in (Decimal("-0.01"), Decimal(0), Decimal("0.01"))
    ]
    assert Decimal(total.replace(",", "")) in sums
    return True


@pytest.mark.parametrize("width", [1600, 360])
def test_the_crosshair_follows_mouse_and_keys(
    chromium: Browser, endless: Served, width: int
) -> None:
    with opened(chromium, endless.address, width=width) as page:
        until_known(page)
        until(lambda: Shown(page).update_id)
        assert _reading(page)[1] == ""
        page.locator("svg").hover(position={"x": width / 8, "y": 60})
        until(lambda: re.search(r"^[\d,]+\.\d\d USDT · -", _reading(page)[1]))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        until(lambda: _is_true_reading(page, endless.address))
        page.mouse.move(1, 1)
        until(lambda: _reading(page)[1] == "")
        page.locator("svg").focus()
        for _ in range(3):
            page.keyboard.press("Shift+ArrowRight")
        until(lambda: _is_true_reading(page, endless.address))
        _, _, heard = _reading(page)
        assert re.search(r"^[\d,]+\.\d\d USDT · \+", heard)
        assert page.locator("svg").get_attribute("aria-valuenow") == "130"
        assert accessibility_faults(page) == []
        page.keyboard.press("Escape")
        assert _reading(page)[1] == ""


def test_whole_fragments_are_swapped_in_by_htmx(chromium: Browser, endless: Served) -> None:
    with opened(chromium, endless.address) as page:
        until_known(page)
        page.get_by_text("Redraw the whole book each time").click()
        page.wait_for_url(re.compile("live=fragments"))
        until_known(page)
        first = Shown(page)
        until(lambda: Shown(page).bids != first.bids)
        shown = Shown(page)
        assert len(shown.bids) == len(shown.asks) == 25
        assert shown.bids[0][0] < shown.asks[0][0]
        assert accessibility_faults(page) == []


def test_without_javascript_the_page_refreshes_itself(chromium: Browser, endless: Served) -> None:
    with opened(chromium, endless.address, java_script_enabled=False) as page:
        prices = "[...document.querySelectorAll('#bids td')].map((cell) => cell.textContent).join()"
        first = ""
        # A page that was made before the book was known also refreshes itself.
        while not re.search(r"\d+\.\d+", first):
            first = seen(page, prices) or ""
        until(lambda: seen(page, prices) not in (first, None))


def test_only_a_change_of_state_is_announced(chromium: Browser, endless: Served) -> None:
    with opened(chromium, endless.address) as page:
        until_known(page)
        until(lambda: Shown(page).update_id)
        live = page.locator("[role=status], [aria-live]")
        assert live.count() == 1
        assert live.inner_text() == ""
