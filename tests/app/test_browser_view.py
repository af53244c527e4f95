"""The switch of the browser view, and the window's library."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from orderbook_desktop.app.browser_view import BrowserView
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.desk.desk_library import DeskLibrary
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.web.errors import PortTaken
from orderbook_desktop.web.options import WebOptions
from tests.unhurried import ENGINE_TIMES
from tests.web.hand_library import loaded_library
from tests.web.reader import watching


class Desk:
    """A `SharedDesk` whose engine comes and goes."""

    def __init__(self, engine: Engine | None) -> None:
        self.engine = engine
        self.symbol = unlisted("BTC/USDT")
        self.symbols: Sequence[SymbolInfo] = []
        self.demo = False


async def test_it_is_switched_on_and_off_again() -> None:
    library = loaded_library()
    view = BrowserView(library, WebOptions(port=0))
    assert (view.is_on, view.link, view.viewers) == (False, "", 0)
    await asyncio.gather(view.switch_on(), view.switch_on())
    assert view.is_on
    port = int(view.link.rpartition(":")[2].rstrip("/"))
    async with asyncio.timeout(60), watching(port, "/stream") as viewer:
        await viewer.message()
        assert view.viewers == 1
        await view.switch_off()
    assert (view.is_on, view.link, view.viewers) == (False, "", 0)
    assert library.loans == 0


async def test_why_it_could_not_be_switched_on_is_kept() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        view = BrowserView(loaded_library(), WebOptions(port=taken.getsockname()[1]))
        with pytest.raises(PortTaken):
            await view.switch_on()
    assert not view.is_on
    assert "is used by" in view.problem
    await view.switch_on()
    assert view.problem == ""
    await view.switch_off()


def test_the_window_does_not_wait_for_the_web() -> None:
    script = "import sys, orderbook_desktop.app.window; print('fastapi' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# The database is not started.
@pytest.mark.allows_log("no snapshot", "could not be written")
def test_window_and_viewers_share_a_market(settings: Settings) -> None:
    async def check() -> None:
        engine = Engine(settings, times=ENGINE_TIMES)
        desk = Desk(engine)
        shown = engine.open_market("BTC/USDT", viewed=True)
        shown.set_recording(wanted=True)
        shown.start()
        book = DeskLibrary(desk).lend(desk.symbol)
        while not book.look().book.last_update_id:
            await asyncio.sleep(0.01)
        assert book.look().book is shown.view.look().book
        book.give_back()
        assert shown.recording
        again = DeskLibrary(desk).lend(desk.symbol)
        assert again.look().status.state is not FeedState.REPLAY
        engine.close_market(shown)
        assert again.look().book is shown.view.look().book
        assert engine.closing("BTCUSDT") is None
        again.give_back()
        assert engine.closing("BTCUSDT") is not None
        await engine.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 100))


@pytest.mark.allows_log("no snapshot")
def test_viewers_go_along_to_another_engine(settings: Settings) -> None:
    async def check() -> None:
        first, second = Engine(settings, times=ENGINE_TIMES), Engine(settings, times=ENGINE_TIMES)
        desk = Desk(None)
        book = DeskLibrary(desk).lend(desk.symbol)
        assert (book.look().status.detail, book.look().book.last_update_id) == ("Starting.", 0)
        for engine in (first, second):
            desk.engine = engine
            while not book.look().book.last_update_id:
                await asyncio.sleep(0.01)
            desk.engine = None
            assert book.look().book.last_update_id == 0
            await engine.close()
        book.give_back()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 100))
