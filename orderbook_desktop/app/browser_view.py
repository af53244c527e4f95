"""The browser view as a part of the program that can be switched on and off."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.desk import BrowserState, BrowserStatus
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.system.tasks import Jobs
from orderbook_desktop.web.errors import PortTaken
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.safety.hosts import is_loopback

if TYPE_CHECKING:
    from orderbook_desktop.web.server import WebServer

_log = logging.getLogger(__name__)

_SERVER: Final = "orderbook_desktop.web.server"

_OWN_HOST: Final = "127.0.0.1"
_EVERY_HOST: Final = "0.0.0.0"  # noqa: S104 (only when a person admits others, and with a token)


class BrowserView:
    """Serves `library` while it is switched on, in the caller's event loop.

    Call `switch_off()` at the end. `problem` says why it could not be switched on, or is empty.
    `link` holds the token if a token is required: show the link, never log it.
    """

    def __init__(self, library: BookLibrary, options: WebOptions) -> None:
        self.options = options
        self.problem = ""
        self._library = library
        self._server: WebServer | None = None
        self._switching = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether it is switched on."""
        return self._server is not None

    @property
    def link(self) -> str:
        """The address to open in a browser; empty while it is off."""
        return self._server.link if self._server else ""

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return self._server.viewers if self._server else 0

    async def switch_on(self) -> None:
        """Serve; raises the `KnownError` why that is impossible, with its text in `problem`."""
        async with self._switching:
            if self._server is not None:
                return
            # The imports take half a second, and a window without viewers never needs them.
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
        """Follow `symbols` while it is on, also without viewers; raises `NotOffered`."""
        if self._server is not None:
            self._server.follow(symbols)

    async def switch_off(self) -> None:
        """End every viewer's stream, then the server."""
        async with self._switching:
            server, self._server = self._server, None
            if server is not None:
                await server.close()


def web_options(settings: Settings) -> WebOptions:
    """Return the browser view's address, token and proxy from the settings."""
    return WebOptions(
        settings.web_host, settings.web_port, settings.web_token, proxy=settings.web_proxy
    )


class BrowserViewSwitch:
    """A `core.desk.BrowserSwitch` for `view`; no other code may switch that `view`.

    Use it in the event loop's thread, and await `close()` at the end. `failed` is called with
    each exception that is a bug.
    """

    def __init__(
        self, view: BrowserView, failed: Callable[[BaseException], None] | None = None
    ) -> None:
        self._view = view
        self._jobs = Jobs(failed)
        self._following: asyncio.Task[None] | None = None
        self._wanted = False
        self._outdated = False
        self._closed = False
        host = view.options.host
        self._own_host = host if is_loopback(host) else _OWN_HOST
        self._open_host = _EVERY_HOST if is_loopback(host) else host
        self._problem: KnownError | None = None

    @property
    def status(self) -> BrowserStatus:
        """The state of the browser view now."""
        return BrowserStatus(
            self._state(),
            self._view.link,
            is_loopback(self._view.options.host),
            self._view.viewers,
            str(self._problem or ""),
            self._problem.free_port if isinstance(self._problem, PortTaken) else None,
        )

    def switch(self, wanted: bool) -> None:
        """Serve, or stop serving; the latest wish counts. After `close()` this does nothing."""
        if self._closed:
            return
        _log.info("user: switches the browser view %s", "on" if wanted else "off")
        self._wanted = wanted
        self._problem = None
        self._begin()

    def admit_others(self, admitted: bool) -> None:
        """Serve where other computers can connect, with a token, or only on this computer."""
        host = self._open_host if admitted else self._own_host
        if self._closed or host == self._view.options.host:
            return
        who = "other devices" if admitted else "only this computer"
        _log.info("user: lets %s watch the browser view", who)
        self._view.options = replace(self._view.options, host=host)
        self._problem = None
        self._outdated = self._view.is_on or self._following is not None
        self._begin()

    def use_other_port(self) -> None:
        """Serve on `status.other_port` from now on, the free port that a `PortTaken` names."""
        port = self.status.other_port
        if port is not None:
            self._view.options = replace(self._view.options, port=port)
            self.switch(wanted=True)

    async def settled(self) -> BrowserStatus:
        """Return the state once the latest wish has come true or has failed."""
        if self._following is not None:
            await asyncio.wait([self._following])
        return self.status

    async def close(self) -> None:
        """Stop serving; later wishes have no effect."""
        self._closed = True
        self._wanted = False
        # Wait for a running start: cancelling it half-way would leave the port open.
        await self.settled()
        await self._view.switch_off()

    def _begin(self) -> None:
        if self._following is None and (self._outdated or self._wanted != self._view.is_on):
            self._following = self._jobs.start(self._follow(), "switch of the browser view")

    def _state(self) -> BrowserState:
        if self._following is not None:
            return BrowserState.STARTING if self._wanted else BrowserState.STOPPING
        if self._problem is not None:
            return BrowserState.FAILED
        return BrowserState.ON if self._view.is_on else BrowserState.OFF

    async def _follow(self) -> None:
        """Switch until the view is as wanted; a failure ends the wish."""
        try:
            while self._outdated or self._wanted != self._view.is_on:
                self._outdated = False
                if self._view.is_on:
                    await self._view.switch_off()
                elif self._wanted:
                    await self._switch_on()
        finally:
            self._following = None
            self._wanted = self._view.is_on

    async def _switch_on(self) -> None:
        try:
            await self._view.switch_on()
        except KnownError as error:
            _log.warning("no browser view: %s", error)
            # A person who has switched it off meanwhile needs no report of the failure.
            self._problem = error if self._wanted else None
            self._wanted = False
