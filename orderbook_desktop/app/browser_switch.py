"""The window's switch of the browser view: wishes in, the embedded server follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from orderbook_desktop.app.browser_view import BrowserView
from orderbook_desktop.core.browser_switch import BrowserState, BrowserStatus
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.engine.jobs import Jobs
from orderbook_desktop.web.errors import PortTaken
from orderbook_desktop.web.safety.hosts import is_loopback

_log = logging.getLogger(__name__)

_OWN_HOST: Final = "127.0.0.1"
_EVERY_HOST: Final = "0.0.0.0"  # noqa: S104 (only when asked for, and then with a token)


class BrowserViewSwitch:
    """A `core.browser_switch.BrowserSwitch` on `view`, which nobody else may switch.

    Use it in the event loop's thread, and await `close()` at the end. `failed` is told of
    what is a bug.
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
        """How the browser view is doing now."""
        return BrowserStatus(
            self._state(),
            self._view.link,
            is_loopback(self._view.options.host),
            self._view.viewers,
            str(self._problem or ""),
            self._problem.free_port if isinstance(self._problem, PortTaken) else None,
        )

    def switch(self, wanted: bool) -> None:
        """Serve, or stop serving; the latest wish counts. After `close()` nothing happens."""
        if self._closed:
            return
        self._wanted = wanted
        self._problem = None
        self._begin()

    def admit_others(self, admitted: bool) -> None:
        """Serve at an address that others can reach, with a token, or only at our own."""
        host = self._open_host if admitted else self._own_host
        if self._closed or host == self._view.options.host:
            return
        self._view.options = replace(self._view.options, host=host)
        self._problem = None
        self._outdated = self._view.is_on or self._following is not None
        self._begin()

    def use_other_port(self) -> None:
        """Serve on the port that is offered in place of a taken one, from now on."""
        port = self.status.other_port
        if port is not None:
            self._view.options = replace(self._view.options, port=port)
            self.switch(wanted=True)

    async def settled(self) -> BrowserStatus:
        """Return how it is doing once the latest wish has come true, or has failed."""
        if self._following is not None:
            await asyncio.wait([self._following])
        return self.status

    async def close(self) -> None:
        """Stop serving, for good."""
        self._closed = True
        self._wanted = False
        # Let it finish rather than cancel it: half a start would leave the port open.
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
        """Switch until what is wanted is so; a failure ends the wish."""
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
            # Who has changed their mind meanwhile need not hear of it.
            self._problem = error if self._wanted else None
            self._wanted = False
