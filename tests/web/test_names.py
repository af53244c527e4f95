"""Names outside ASCII: in addresses of browsers and of curl, in pages, JSON and streams."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx
import pytest

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.conftest import TOKEN
from tests.web.hand_library import HandBook, HandLibrary
from tests.web.reader import watching

_NAMES = ["币安人生", "ÉCU", "Ω1000", "ДОМ"]


@pytest.fixture(params=_NAMES)
def named(request: pytest.FixtureRequest, library: HandLibrary) -> SymbolInfo:
    """A symbol with a name outside ASCII, on offer and with a known book."""
    base: str = request.param
    info = SymbolInfo(f"{base}/USDT", f"{base}USDT", base, "USDT", 10**6, 10**3)
    library.symbols.append(info)
    book = library.books[info.market] = HandBook(info.market)
    book.load([("100.01", "1.5")], [("100.03", "0.5")])
    return info


async def test_a_name_is_shown_in_every_form_of_an_address(
    server: WebServer, named: SymbolInfo
) -> None:
    # A browser quotes the name, and `curl` sends it as it was typed.
    for symbol in (quote(named.symbol), quote(named.market), named.symbol, named.market):
        async with asyncio.timeout(60):
            async with watching(server.port, f"/stream?symbol={symbol}") as viewer:
                assert (await viewer.message())["symbol"] == named.symbol
            async with watching(server.port, f"/events?symbol={symbol}&group=0.1") as viewer:
                await viewer.event()
                assert named.symbol in (await viewer.event()).data


async def test_pages_and_json_have_the_name(client: httpx.AsyncClient, named: SymbolInfo) -> None:
    page = await client.get("/", params={"symbol": named.symbol})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<title>{named.symbol} order book</title>" in page.text
    assert f'value="{named.symbol}"' in page.text
    assert (await client.get("/api/book", params={"symbol": named.market})).json()["bids"]
    found = await client.get("/symbols", params={"symbol": named.base[:2].lower()})
    assert named.symbol in found.text


async def test_the_link_with_the_token_leads_to_the_name(
    library: HandLibrary, named: SymbolInfo
) -> None:
    server = WebServer(library, WebOptions(port=0, token=TOKEN))
    await server.start()
    try:
        async with asyncio.timeout(60):
            target = f"/?symbol={named.symbol}&token={TOKEN}"
            async with watching(server.port, target) as viewer:
                assert viewer.status == 303
                assert viewer.headers["location"] == f"/?symbol={quote(named.symbol, safe='')}"
                cookie = viewer.headers["set-cookie"].partition(";")[0]
            async with watching(server.port, viewer.headers["location"], cookie=cookie) as viewer:
                assert viewer.status == 200
    finally:
        await server.close()


@pytest.mark.parametrize("symbol", ["币安/USDT", "<币>/USDT", "币\u202e/USDT", "%ff%fe", "\ud83d"])
async def test_a_name_that_is_not_on_offer_is_refused_in_words(
    client: httpx.AsyncClient, symbol: str
) -> None:
    address = f"/?symbol={quote(symbol, errors='surrogatepass')}"
    answer = await client.get(address, headers={"accept": "text/html"})
    assert answer.status_code in (404, 422)
    assert "<币>" not in answer.text
