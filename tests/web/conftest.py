"""Servers for the tests, over a library that moves by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.web.application import create_app
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.hand_library import HandLibrary, loaded_library

TOKEN = "a-token-for-the-tests-alone"
_NARROW = Limits(viewers=2, connections=20, silent_s=3.0, requests_per_s=0.001, request_burst=30)


@pytest.fixture
def library() -> HandLibrary:
    """Three symbols, all known."""
    return loaded_library()


@pytest.fixture
async def server(library: HandLibrary) -> AsyncIterator[WebServer]:
    """A server on a real port."""
    serving = WebServer(library, WebOptions(port=0))
    await serving.start()
    try:
        yield serving
    finally:
        await serving.close()


@pytest.fixture
async def client(library: HandLibrary) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application itself, for all answers but endless streams."""
    async with asking(library, WebOptions()) as opened:
        yield opened


@pytest.fixture
async def guarded(library: HandLibrary) -> AsyncIterator[WebServer]:
    """A server that requires a token, with narrow limits."""
    serving = WebServer(library, WebOptions(port=0, token=TOKEN, limits=_NARROW))
    await serving.start()
    try:
        yield serving
    finally:
        await serving.close()


@pytest.fixture
async def stranger(library: HandLibrary) -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token."""
    async with asking(library, WebOptions(token=TOKEN, limits=_NARROW)) as opened:
        yield opened


@asynccontextmanager
async def asking(library: BookLibrary, options: WebOptions) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application without a port."""
    hub = Hub(library, options.limits)
    transport = httpx.ASGITransport(create_app(hub, options))
    address = f"http://127.0.0.1:{options.port}"
    try:
        async with httpx.AsyncClient(transport=transport, base_url=address) as opened:
            yield opened
    finally:
        hub.close()
