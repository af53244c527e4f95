"""Fixtures of the tests of the app."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.exchange.local import Fault, LocalExchange, SyntheticSource
from tests.storage.recording_fixtures import ServerThread

# No program listens on the first port.
NOWHERE = {"rest_url": "http://127.0.0.1:1", "ws_url": "ws://127.0.0.1:1"}
_names = (f"joined{number}" for number in count())


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    yield
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raising


class ExchangeThread:
    """A made-up market, served in a thread with its own event loop.

    On the test's own loop the exchange would also run between the test and its fixtures, when
    pytest-qt processes Qt events; asyncio has no running loop then.
    """

    def __init__(self, source: SyntheticSource) -> None:
        self._source = source
        self.rest_url = self.ws_url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()

    def inject(self, fault: Fault) -> None:
        """Make `fault` happen."""
        self._loop.call_soon_threadsafe(self._exchange.inject, fault)

    def close(self) -> None:
        """End the exchange and its thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with LocalExchange(self._source) as self._exchange:
            self.rest_url, self.ws_url = self._exchange.rest_url, self._exchange.ws_url
            self._ready.set()
            await self._stop.wait()


@pytest.fixture
def exchange(request: pytest.FixtureRequest) -> Iterator[ExchangeThread]:
    """Serve a made-up market, or the source that the test's parameter is."""
    exchange = ExchangeThread(getattr(request, "param", SyntheticSource(seed=7)))
    yield exchange
    exchange.close()


@pytest.fixture
def settings(exchange: ExchangeThread, tmp_path: Path) -> Settings:
    """Return settings with the addresses of `exchange` and the test's own folder."""
    return load_settings(
        rest_url=exchange.rest_url, ws_url=exchange.ws_url, data_dir=str(tmp_path / "data")
    )


@pytest.fixture
def stranded(tmp_path: Path) -> Settings:
    """Return settings whose exchange can't be reached."""
    return load_settings(**NOWHERE, data_dir=str(tmp_path / "data"))


@pytest.fixture
def joined(server: ServerThread, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data folder whose server runs, with a new database of its own for the test.

    A command joins that server. To start its own takes most of a quick command's time.
    """
    monkeypatch.setenv("DB_NAME", next(_names))
    return server.folder
