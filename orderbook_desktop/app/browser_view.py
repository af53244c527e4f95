"""The browser view's switch: on or off, in the loop of whoever has it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.web.options import WebOptions

if TYPE_CHECKING:
    from orderbook_desktop.web.server import WebServer

_SERVER: Final = "orderbook_desktop.web.server"


class BrowserView:
    """Serves `library` while it is switched on. Call `switch_off()` at the end.

    `problem` says why it could not be switched on, or is empty. `link` holds the token,
    where one is required: it is for the screen, never for the log.
    """

    def __init__(self, library: BookLibrary, options: WebOptions) -> None:
        self.options = options
        self.problem = ""
        self._library = library
        self._server: WebServer | None = None
        self._switching = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether it is served."""
        return self._server is not None

    @property
    def link(self) -> str:
        """What to open in a browser; empty while it is off."""
        return self._server.link if self._server else ""

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return self._server.viewers if self._server else 0

    async def switch_on(self) -> None:
        """Serve; raises the `KnownError` why that can't be, and keeps it as `problem`."""
        async with self._switching:
            if self._server is not None:
                return
            # Half a second of imports, which a window without viewers never needs.
            module = await asyncio.to_thread(importlib.import_module, _SERVER)
            server: WebServer = module.WebServer(self._library, self.options)
            try:
                await server.start()
            except KnownError as error:
                self.problem = str(error)
                raise
            self.problem = ""
            self._server = server

    def follow(self, symbols: Iterable[str]) -> None:
        """Follow `symbols` while it is served, also while nobody watches; raises `NotOffered`."""
        if self._server is not None:
            self._server.follow(symbols)

    async def switch_off(self) -> None:
        """End every viewer's stream, and the server."""
        async with self._switching:
            server, self._server = self._server, None
            if server is not None:
                await server.close()


def web_options(settings: Settings) -> WebOptions:
    """Return how the browser view is to be reached, as the settings say."""
    return WebOptions(
        settings.web_host, settings.web_port, settings.web_token, proxy=settings.web_proxy
    )
