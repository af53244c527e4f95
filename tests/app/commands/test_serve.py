"""The browser view in the program: on Qt's loop, over a real engine, and as a command."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orderbook_desktop.app.settings import BadSetting, Settings, load_settings
from orderbook_desktop.core.library import NotOffered
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.library import Library, library_of_engine
from orderbook_desktop.desk.symbol_list import SymbolList
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.server import WebServer
from tests.unhurried import ENGINE_TIMES
from tests.web.hand_library import loaded_library
from tests.web.reader import Merged, watching


def _with_engine(settings: Settings, check: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    """Run `check` on the kind of loop that `serve` has, with an engine without a database."""

    async def run() -> None:
        engine = Engine(settings, times=ENGINE_TIMES)
        try:
            async with asyncio.timeout(60):
                await check(engine)
        finally:
            await engine.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run())


def _library(
    engine: Engine, offer: SymbolList | None = None, kind: SourceKind = SourceKind.DIRECT
) -> Library:
    return library_of_engine(engine, offer or SymbolList(), "BTC/USDT", kind)


async def test_the_view_is_served_on_qts_loop() -> None:
    library, merged = loaded_library(), Merged()
    server = WebServer(library, WebOptions(port=0))
    await server.start()
    try:
        async with asyncio.timeout(60), watching(server.port, "/stream") as viewer:
            merged.take(await viewer.message())
            library.btc.change(bids=[("100.02", "7")])
            merged.take(await viewer.message())
        assert merged.sides["bids"][Decimal("100.02")] == 7
    finally:
        await server.close()
    assert server.viewers == 0


@pytest.mark.allows_log("no snapshot")
def test_a_lent_book_is_followed_until_it_is_given_back(settings: Settings) -> None:
    async def check(engine: Engine) -> None:
        library = _library(engine)
        for _ in range(2):
            book = library.lend(library.find("btcusdt"))
            assert book.market == "BTCUSDT"
            while not book.look().book.last_update_id:
                await asyncio.sleep(0.01)
            book.close()
            book.close()
        while engine.closing("BTCUSDT"):
            await asyncio.sleep(0.01)

    _with_engine(settings, check)


@pytest.mark.parametrize("kind", [SourceKind.DIRECT, SourceKind.MONGO])
def test_the_database_is_asked_only_for_shown_books(settings: Settings, kind: SourceKind) -> None:
    async def check(engine: Engine) -> None:
        library = _library(engine, kind=kind)
        book = library.lend(library.find("BTCUSDT"))
        with engine.open_market("BTC/USDT", viewed=False) as lease:
            assert (lease.session._recorded_run is not None) is (kind is SourceKind.MONGO)
            book.close()
            assert lease.session.leases == 1
            assert not lease.session._is_viewed

    _with_engine(settings, check)


def test_only_traded_symbols_are_on_offer(settings: Settings) -> None:
    async def check(engine: Engine) -> None:
        offer = SymbolList()
        library = _library(engine, offer)
        assert library.find("BTC-USDT").market == "BTCUSDT"
        with pytest.raises(NotOffered, match="has not listed its symbols yet"):
            library.find("ETH/USDT")
        await offer.load(engine.symbols)
        assert library.find("ETH/USDT").tick_size > 0
        assert len(library.symbols) > 100
        with pytest.raises(NotOffered, match="not among"):
            library.find("NO/SUCH")
        with pytest.raises(NotOffered, match="not a symbol"):
            library.find("../etc")

    _with_engine(settings, check)


def test_named_symbols_are_the_only_ones_on_offer(settings: Settings) -> None:
    async def check(engine: Engine) -> None:
        offer = SymbolList(["SOL/USDT", "ETH/USDT"])
        library = library_of_engine(engine, offer, "SOL/USDT", SourceKind.DIRECT)
        await offer.load(engine.symbols)
        assert [info.symbol for info in library.symbols] == ["SOL/USDT", "ETH/USDT"]
        assert library.default_symbol == "SOL/USDT"
        assert library.symbols[0].tick_size > 0
        with pytest.raises(NotOffered, match="not among"):
            library.find("BTC/USDT")

    _with_engine(settings, check)


@pytest.mark.cold_start
async def test_the_command_serves_until_it_is_stopped(settings: Settings) -> None:
    options = {
        "--rest-url": settings.rest_url,
        "--ws-url": settings.ws_url,
        "--data-dir": str(settings.data_dir),
        "--host": "0.0.0.0",
        "--port": "0",
    }
    async with asyncio.timeout(100):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orderbook_desktop", "serve", "ETH/USDT"),
            *(part for pair in options.items() for part in pair),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        match = re.search(r"http://\S+:(\d+)/\?token=([\w-]+)", line)
        assert match is not None
        port, token = match.groups()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
        ) as asker:
            assert (await asker.get("/api/book")).status_code == 401
            book: Any = {"bids": []}
            while not book["bids"]:
                book = (await asker.get("/api/book", params={"token": token})).json()
        assert book["symbol"] == "ETH/USDT"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    logs = list(settings.data_dir.glob("logs/*.log"))
    assert logs
    assert not [path for path in logs if token in path.read_text()]


async def test_named_symbols_are_followed_before_the_first_request(settings: Settings) -> None:
    symbols = ["ETH/USDT", "SOL/USDT", "BTC/USDT"]
    variables = {
        "ORDERBOOK_REST_URL": settings.rest_url,
        "ORDERBOOK_WS_URL": settings.ws_url,
        "ORDERBOOK_DATA_DIR": str(settings.data_dir),
    }
    async with asyncio.timeout(100):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orderbook_desktop", "serve", *symbols, "--port", "0"),
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        match = re.search(r"http://\S+", (await process.stdout.readline()).decode())
        assert match is not None
        async with httpx.AsyncClient(base_url=match[0], trust_env=False, timeout=60) as asker:
            followed: list[Any] = []
            while not all(one["lastUpdateId"] for one in followed) or not followed:
                followed = (await asker.get("/api/status")).json()["symbols"]
                await asyncio.sleep(0.05)
        assert [one["symbol"] for one in followed] == symbols
        assert {one["viewers"] for one in followed} == {0}
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("web_port", "70000", "a whole number from 0 to 65535"),
        ("web_host", "a b", "an address of this computer"),
        ("web_token", "short", "16 to 128 letters"),
    ],
)
def test_a_bad_setting_is_reported_without_the_token(name: str, value: str, accepted: str) -> None:
    with pytest.raises(BadSetting, match=accepted) as caught:
        load_settings(**{name: value})
    assert name != "web_token" or value not in str(caught.value)


def test_the_settings_know_the_short_options() -> None:
    settings = load_settings(web_host="0.0.0.0", web_port="8123", web_token="t" * 16)
    assert (settings.web_host, settings.web_port) == ("0.0.0.0", 8123)
    assert "t" * 16 not in repr(settings)
    assert [settings.option(one) for one in ("web_host", "web_port", "web_token")] == [
        "--host",
        "--port",
        "--token",
    ]
