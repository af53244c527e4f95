"""The switch of the browser view, and the window's library."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from orderbook_desktop.app.browser_view import BrowserView, BrowserViewSwitch
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.desk import BrowserState
from orderbook_desktop.core.library import LentBook
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.followed_market import FollowedMarket
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.web import server
from orderbook_desktop.web.errors import CannotServe, PortTaken
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.server import listen
from tests.unhurried import DESK_TIMES, ENGINE_TIMES
from tests.web.hand_library import loaded_library
from tests.web.reader import watching


async def test_the_view_is_switched_on_and_off_again() -> None:
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


async def test_the_reason_of_a_failed_start_is_kept() -> None:
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
        program = Program(settings, times=DESK_TIMES)
        desk = LiveDesk(program, symbol="BTC/USDT", source_kind=SourceKind.DIRECT)
        engine, library = program.engine, library_of_desk(desk)
        book = library.lend(library.find("btcusdt"))
        session = _session(book)
        session.start()
        while not book.look().book.last_update_id:
            await asyncio.sleep(0.01)
        assert book.look().book is desk.source.look().book
        book.close()
        assert session.recording
        again = library.lend(desk.symbol)
        desk.close()
        assert again.look().book is session.live.book
        assert not session.recording
        assert engine.closing("BTCUSDT") is None
        again.close()
        assert engine.closing("BTCUSDT") is not None
        await program.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 100))


@pytest.mark.allows_log("no snapshot")
def test_viewers_follow_to_another_engine(settings: Settings) -> None:
    async def check() -> None:
        closed: list[FollowedMarket] = []
        book = FollowedMarket("BTC/USDT", lambda: SourceKind.MONGO, closed.append)
        assert (book.look().status.detail, book.look().book.last_update_id) == ("Starting.", 0)
        for _ in range(2):
            engine = Engine(settings, times=ENGINE_TIMES)
            book.take(engine)
            # To look opens and starts nothing.
            book.look()
            assert _session(book)._live_run is None
            book.start()
            while not book.look().book.last_update_id:
                await asyncio.sleep(0.01)
            book.leave()
            assert book.look().book.last_update_id == 0
            await engine.close()
        book.close()
        assert closed == [book]

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 100))


def _session(book: LentBook) -> MarketSession:
    # A window lends its replay in place of the live book while there is one.
    live = getattr(book, "_live", book)
    assert isinstance(live, FollowedMarket)
    assert live.session is not None
    return live.session


def a_switch(port: int = 0, host: str = "127.0.0.1") -> BrowserViewSwitch:
    return BrowserViewSwitch(BrowserView(loaded_library(), WebOptions(host, port)))


def port_of(switch: BrowserViewSwitch) -> int:
    return int(switch.status.link.rpartition(":")[2].partition("/")[0])


def state_of(switch: BrowserViewSwitch) -> BrowserState:
    return switch.status.state


@pytest.fixture
async def switch() -> AsyncIterator[BrowserViewSwitch]:
    made = a_switch()
    yield made
    await made.close()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def test_the_switch_serves_and_stops(switch: BrowserViewSwitch) -> None:
    assert state_of(switch) is BrowserState.OFF
    switch.switch(wanted=True)
    assert state_of(switch) is BrowserState.STARTING
    status = await switch.settled()
    assert status.state is BrowserState.ON
    assert status.local_only
    async with asyncio.timeout(60), watching(port_of(switch), "/stream") as viewer:
        await viewer.message()
        assert switch.status.viewers == 1
        switch.switch(wanted=False)
        assert state_of(switch) is BrowserState.STOPPING
        status = await switch.settled()
    assert (status.state, status.link, status.viewers) == (BrowserState.OFF, "", 0)


async def test_the_latest_wish_counts(switch: BrowserViewSwitch) -> None:
    switch.switch(wanted=True)
    switch.switch(wanted=False)
    assert state_of(switch) is BrowserState.STOPPING
    assert (await switch.settled()).state is BrowserState.OFF
    for wanted in (True, False, True):
        switch.switch(wanted)
    assert (await switch.settled()).state is BrowserState.ON


async def test_a_change_of_mind_while_it_starts(switch: BrowserViewSwitch) -> None:
    switch.switch(wanted=True)
    await asyncio.sleep(0)
    switch.switch(wanted=False)
    assert (await switch.settled()).state is BrowserState.OFF


@pytest.mark.expects_log("no browser view: Port .* is used by")
async def test_a_taken_port_is_explained_and_another_one_used(taken_port: int) -> None:
    switch = a_switch(taken_port)
    switch.switch(wanted=True)
    status = await switch.settled()
    assert status.state is BrowserState.FAILED
    assert status.problem.startswith(f"Port {taken_port} is used by ")
    assert status.other_port is not None
    assert status.other_port > taken_port
    switch.use_other_port()
    assert switch.status.problem == ""
    status = await switch.settled()
    assert status.state is BrowserState.ON
    assert port_of(switch) > taken_port
    assert status.other_port is None
    await switch.close()


@pytest.mark.expects_log("no browser view")
async def test_a_failure_is_forgotten_when_the_view_is_no_longer_wanted(taken_port: int) -> None:
    switch = a_switch(taken_port)
    switch.switch(wanted=True)
    assert (await switch.settled()).problem
    switch.switch(wanted=False)
    status = await switch.settled()
    assert (status.state, status.problem) == (BrowserState.OFF, "")
    await switch.close()


@pytest.mark.expects_log("cannot listen")
async def test_no_port_is_offered_where_none_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    view = BrowserView(loaded_library(), WebOptions("192.0.2.1", 0))

    async def refuse() -> None:
        raise CannotServe("192.0.2.1", 0, "Cannot assign requested address")

    monkeypatch.setattr(view, "switch_on", refuse)
    switch = BrowserViewSwitch(view)
    switch.switch(wanted=True)
    status = await switch.settled()
    assert (status.state, status.other_port) == (BrowserState.FAILED, None)
    switch.use_other_port()
    assert state_of(switch) is BrowserState.FAILED
    await switch.close()


@pytest.fixture
def every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a loopback address in place of 0.0.0.0, which no test may open."""
    monkeypatch.setattr(server, "listen", lambda _host, port: listen("127.0.0.1", port))


@pytest.mark.usefixtures("every_address")
async def test_others_are_let_in_with_a_token_and_kept_out_again(
    switch: BrowserViewSwitch,
) -> None:
    switch.switch(wanted=True)
    status = await switch.settled()
    assert (status.local_only, "token" in status.link) == (True, False)
    async with asyncio.timeout(60), watching(port_of(switch), "/stream") as viewer:
        await viewer.message()
        switch.admit_others(admitted=True)
        assert state_of(switch) is BrowserState.STARTING
        status = await switch.settled()
    assert (status.state, status.local_only, "?token=" in status.link) == (
        BrowserState.ON,
        False,
        True,
    )
    switch.admit_others(admitted=False)
    status = await switch.settled()
    assert (status.state, status.local_only, "token" in status.link) == (
        BrowserState.ON,
        True,
        False,
    )


async def test_letting_others_in_switches_nothing_on(switch: BrowserViewSwitch) -> None:
    switch.admit_others(admitted=True)
    assert (state_of(switch), switch.status.local_only) == (BrowserState.OFF, False)
    switch.switch(wanted=True)
    switch.admit_others(admitted=False)
    status = await switch.settled()
    assert (status.state, status.local_only) == (BrowserState.ON, True)


async def test_the_address_that_was_chosen_is_the_one_for_others() -> None:
    switch = a_switch(host="0.0.0.0")
    switch.admit_others(admitted=False)
    assert switch.status.local_only
    switch.admit_others(admitted=True)
    assert not switch.status.local_only
    await switch.close()
    switch.admit_others(admitted=False)
    assert not switch.status.local_only


async def test_the_link_has_the_token_and_the_repr_has_not() -> None:
    token = "a-token-that-is-long-enough"
    view = BrowserView(loaded_library(), WebOptions(port=0, token=token))
    switch = BrowserViewSwitch(view)
    switch.switch(wanted=True)
    status = await switch.settled()
    assert status.link.endswith(f"/?token={token}")
    assert token not in repr(status)
    await switch.close()


async def test_the_status_says_whether_others_can_open_the_view() -> None:
    assert a_switch().status.local_only
    assert not a_switch(host="0.0.0.0").status.local_only


async def test_closing_ends_a_start_that_is_under_way() -> None:
    switch = a_switch()
    switch.switch(wanted=True)
    await asyncio.sleep(0)
    await switch.close()
    assert state_of(switch) is BrowserState.OFF
    switch.switch(wanted=True)
    assert state_of(switch) is BrowserState.OFF


@pytest.mark.expects_log("ended unexpectedly")
async def test_a_bug_is_reported_and_leaves_the_view_off(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[BaseException] = []
    view = BrowserView(loaded_library(), WebOptions(port=0))

    async def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(view, "switch_on", fail)
    switch = BrowserViewSwitch(view, reported.append)
    switch.switch(wanted=True)
    status = await switch.settled()
    assert status.state is BrowserState.OFF
    await asyncio.sleep(0)
    assert [type(error) for error in reported] == [ZeroDivisionError]
    await switch.close()
