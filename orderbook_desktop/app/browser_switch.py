"""The window's switch of the browser view: wishes in, the embedded server follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from orderbook_desktop.app.browser_view import BrowserView
from orderbook_desktop.app.jobs import Jobs
from orderbook_desktop.core.browser_switch import BrowserState, BrowserStatus
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.web.errors import PortTaken
from orderbook_desktop.web.safety.hosts import is_loopback

_log = logging.getLogger(__name__)


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
        self._closed = False
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
        if self._following is None and wanted != self._view.is_on:
            self._following = self._jobs.start(self._follow(), "switch of the browser view")

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

    def _state(self) -> BrowserState:
        if self._following is not None:
            return BrowserState.STARTING if self._wanted else BrowserState.STOPPING
        if self._problem is not None:
            return BrowserState.FAILED
        return BrowserState.ON if self._view.is_on else BrowserState.OFF

    async def _follow(self) -> None:
        """Switch until what is wanted is so; a failure ends the wish."""
        try:
            while self._wanted != self._view.is_on:
                if self._wanted:
                    await self._switch_on()
                else:
                    await self._view.switch_off()
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
