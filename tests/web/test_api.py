"""The paths for programs and people, over a real port."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.web.api import BookAnswer, StatusAnswer
from orderbook_desktop.web.application import create_app
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.hand_library import THREE_GAPS, HandLibrary
from tests.web.reader import watching


async def _json(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_book_is_as_documented(client: httpx.AsyncClient) -> None:
    book = await _json(client, "/api/book?symbol=BTC/USDT&depth=2")
    assert book == {
        "symbol": "BTC/USDT",
        "lastUpdateId": 10,
        "bids": [["100.01000000", "1.50000000"], ["100.00000000", "2.00000000"]],
        "asks": [["100.03000000", "0.50000000"], ["100.04000000", "1.00000000"]],
        "status": "synced",
        "eventTime": 1_700_000_000_000,
        "knownFrom": None,
        "knownTo": None,
    }
    BookAnswer.model_validate(book)


async def test_a_book_says_how_deep_it_is_known(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.btc.load([("9.5", "1"), ("9.25", "2")], [("9.75", "1")], depth=2)
    book = await _json(client, "/api/book?symbol=BTC/USDT")
    assert (book["knownFrom"], book["knownTo"]) == ("9.25000000", None)
    BookAnswer.model_validate(book)
    library.btc.load([("9.5", "1")], [], depth=None)
    assert "knownFrom" not in await _json(client, "/api/book?symbol=BTC/USDT")


async def test_the_default_symbol_and_another_spelling(client: httpx.AsyncClient) -> None:
    assert (await _json(client, "/api/book"))["symbol"] == "BTC/USDT"
    assert (await _json(client, "/api/book?symbol=ethusdt"))["symbol"] == "ETH/USDT"


async def test_the_book_is_the_present_one(client: httpx.AsyncClient, library: HandLibrary) -> None:
    await _json(client, "/api/book")
    library.btc.change(bids=[("100.02", "9")])
    book: Any = {}
    while book.get("lastUpdateId") != 13:
        book = await _json(client, "/api/book")
    assert book["bids"][0] == ["100.02000000", "9.00000000"]


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/symbols", "/api/book", "/api/book?depth=0", "/api/status", "/healthz"),
        *("/openapi.json", "/static/page.css", "/icon.svg", "/nothing"),
    ],
)
async def test_an_answer_to_head_has_the_headers_of_the_whole_answer(
    server: WebServer, path: str
) -> None:
    # Over a socket: an answer with a body would shift the next answer.
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=60) as client:
        head, whole = await client.head(path), await client.get(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    for changing in ("date", "content-length"):
        assert changing in head.headers
        head.headers.pop(changing)
        whole.headers.pop(changing)
    assert head.headers == whole.headers


@pytest.mark.parametrize("path", ["/stream", "/events"])
async def test_an_endless_answer_refuses_head(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    assert (head.status_code, head.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "path",
    [
        "/api/book?depth=0",
        "/api/book?depth=10001",
        "/api/book?depth=many",
        "/api/book?symbol=" + "A" * 33,
        "/api/book?symbol=",
        "/?group=0.07",
        "/?group=1e5",
        "/?live=maybe",
        "/events?group=-1",
        "/symbols?symbol=" + "A" * 33,
    ],
)
async def test_a_bad_value_is_refused_in_a_sentence(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("asked", "given"), [("50", "1"), ("1", "1"), ("0.5", "0.5"), ("0.00001", "0.01")]
)
async def test_a_grouping_of_another_symbol_or_price_gives_the_nearest(
    client: httpx.AsyncClient, asked: str, given: str
) -> None:
    page = await client.get("/", params={"group": asked})
    assert page.status_code == 200
    assert f'<option value="{given}" selected>' in page.text
    assert f'data-step="{given}"' in page.text


@pytest.mark.parametrize("path", ["/api/book", "/stream", "/events", "/"])
async def test_a_symbol_that_is_not_on_offer_is_not_found(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path, params={"symbol": "NO/SUCH"})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("NO/SUCH cannot be shown")


async def test_people_are_refused_with_a_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/?symbol=<b>", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "&lt;b&gt; cannot be shown" in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({"accept": "text/html"}, "text/html"),
        ({}, "application/json"),
        ({"accept": "text/html", "hx-request": "true"}, "application/json"),
    ],
)
async def test_an_unknown_path_is_refused_in_a_sentence(
    client: httpx.AsyncClient, headers: dict[str, str], form: str
) -> None:
    answer = await client.get("/nothing", headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
    assert "There is nothing at this address." in answer.text
    assert answer.headers["content-type"].startswith(form)


async def test_status_lists_the_followed_symbols_with_their_viewers(
    server: WebServer,
) -> None:
    async with (
        asyncio.timeout(60),
        watching(server.port, "/stream?symbol=ETH/USDT") as viewer,
        httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=60) as client,
    ):
        await viewer.message()
        status = StatusAnswer.model_validate(await _json(client, "/api/status"))
    assert status.viewers == 1
    assert [(one.symbol, one.viewers, one.lastUpdateId) for one in status.symbols] == [
        ("ETH/USDT", 1, 10),
        ("BTC/USDT", 0, 10),
    ]
    assert (status.symbolsOnOffer, status.demo) == (3, False)


async def test_status_lists_the_default_symbol_without_viewers(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.btc.status = replace(library.btc.status, source=SourceKind.MONGO)
    status = StatusAnswer.model_validate(await _json(client, "/api/status"))
    assert status.symbol == "BTC/USDT"
    (only,) = status.symbols
    assert (only.symbol, only.source, only.status) == (
        "BTC/USDT",
        SourceKind.MONGO,
        FeedState.SYNCED,
    )
    assert (only.viewers, status.viewers) == (0, 0)


async def test_status_has_the_gaps_of_each_recording(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    status = StatusAnswer.model_validate(await _json(client, "/api/status"))
    assert (status.symbols[0].gaps, status.symbols[0].sessionGaps) == (None, None)
    library.gaps["BTCUSDT"] = THREE_GAPS
    gaps: tuple[int | None, int | None] = None, None
    while gaps != (3, 1):
        status = StatusAnswer.model_validate(await _json(client, "/api/status"))
        gaps = status.symbols[0].gaps, status.symbols[0].sessionGaps


async def test_status_lists_pinned_symbols_without_viewers(
    server: WebServer, library: HandLibrary
) -> None:
    server.follow(["ethusdt", "BTC/USDT"])
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=60) as client:
        status = StatusAnswer.model_validate(await _json(client, "/api/status"))
    assert [(one.symbol, one.lastUpdateId, one.viewers) for one in status.symbols] == [
        ("ETH/USDT", 10, 0),
        ("BTC/USDT", 10, 0),
    ]
    assert library.loans == 2


async def test_status_has_the_present_state_of_a_book_without_viewers(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    await _json(client, "/api/book?symbol=ETHUSDT")
    library.books["ETHUSDT"].change(bids=[("100.02", "9")])
    last_update_id = 0
    while last_update_id != 13:
        status = StatusAnswer.model_validate(await _json(client, "/api/status"))
        last_update_id = status.symbols[0].lastUpdateId
    assert status.symbols[0].symbol == "ETH/USDT"


async def test_status_answers_while_the_default_symbol_cannot_be_shown(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.default_symbol = "NO/SUCH"
    status = StatusAnswer.model_validate(await _json(client, "/api/status"))
    assert (status.symbol, status.symbols) == ("NO/SUCH", [])


async def test_a_request_while_the_server_is_switched_off_is_told_so(library: HandLibrary) -> None:
    hub, options = Hub(library, Limits()), WebOptions()
    transport = httpx.ASGITransport(create_app(hub, options))
    hub.close()
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/api/book")
    assert (answer.status_code, library.loans) == (503, 0)
    assert answer.json()["detail"] == "The browser view is being switched off."


async def test_health(client: httpx.AsyncClient) -> None:
    assert await _json(client, "/healthz") == {"status": "ok"}


async def test_the_schema_documents_every_path(client: httpx.AsyncClient) -> None:
    schema = await _json(client, "/openapi.json")
    assert set(schema["paths"]) == {
        *("/", "/events", "/symbols", "/stream"),
        *("/api/book", "/api/trades", "/api/status", "/healthz"),
        *("/api/heatmap", "/api/heatmap/live", "/api/heatmap/colours"),
    }
    for operations in schema["paths"].values():
        for code, response in operations["get"]["responses"].items():
            json_or_page = {"application/json", "text/html"}
            assert code == "200" or response["content"].keys() == json_or_page
    for path in ("/events", "/stream"):
        content = schema["paths"][path]["get"]["responses"]["200"]["content"]
        assert list(content) == ["text/event-stream"]


async def test_the_page_shows_the_book_without_javascript(client: httpx.AsyncClient) -> None:
    answer = await client.get("/?symbol=BTC/USDT")
    assert answer.headers["content-type"].startswith("text/html")
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in answer.text
    for text in ("100.01", "1.50000", "100.03", "synced"):
        assert f">{text}<" in answer.text


async def test_without_javascript_the_refreshing_can_be_stopped_to_type(
    client: httpx.AsyncClient,
) -> None:
    refreshing = (await client.get("/?group=0.1")).text
    link = re.search(r'<noscript><a href="([^"]+)" rel="nofollow">Stop refreshing<', refreshing)
    assert link is not None
    still = await client.get(html.unescape(link[1]))
    assert "http-equiv" not in still.text
    assert 'data-step="0.1"' in still.text
    assert ">Refresh again<" in still.text


async def test_a_page_says_whether_the_book_was_known_when_it_was_made(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    assert " data-known\n" in (await client.get("/")).text
    library.books["ETHUSDT"].be_unknown("Connecting.")
    assert "data-known" not in (await client.get("/?symbol=ETHUSDT")).text


async def test_suggestions_are_searched(client: httpx.AsyncClient) -> None:
    answer = await client.get("/symbols?symbol=eth")
    assert answer.text.split() == ["<option", 'value="ETH/USDT"', 'label="ETHUSDT"></option>']
    everything = await client.get("/symbols")
    assert "&lt;SCRIPT&gt;" in everything.text
    assert "<SCRIPT>" not in everything.text


@pytest.mark.parametrize(
    "name",
    ["page.js", "page.css", "book_feed.js", "numbers.js", "htmx/htmx.min.js", "htmx/LICENSE"],
)
async def test_static_files_are_revalidated(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/static/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_large_answers_are_compressed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/static/page.css", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"


async def test_the_merging_script_is_short() -> None:
    from orderbook_desktop.system.bundle import resource_path  # noqa: PLC0415

    lines = resource_path("web/static/book_feed.js").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
