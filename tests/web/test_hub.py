"""Seats and their frames, and channels that open and close with their users."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.web.changes_stream import ChangesForm
from orderbook_desktop.web.errors import Closing, TooMany
from orderbook_desktop.web.hub import Hub, HubTimes
from orderbook_desktop.web.options import Limits
from tests.web.hand_library import BTC, ETH, NOW_NS, HandLibrary
from tests.web.reader import Merged

_LIMITS = Limits(viewers=2, markets=2)


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub(library: HandLibrary, clock: Clock) -> AsyncIterator[Hub]:
    """A hub that looks at its books."""
    opened = Hub(library, _LIMITS, lambda: NOW_NS, now=clock)
    looking = asyncio.create_task(opened.run())
    yield opened
    opened.close()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


def _json(frame_bytes: bytes) -> Any:
    return json.loads(frame_bytes.split(b"data: ", 1)[1].split(b"\n", 1)[0])


async def test_a_seat_gets_the_book_then_its_changes(hub: Hub, library: HandLibrary) -> None:
    seat, merged = hub.take_seat(BTC), Merged()
    async with asyncio.timeout(60), aclosing(seat.frames(ChangesForm(), None)) as frames:
        assert b"retry" in (await anext(frames)).plain
        merged.take(_json((await anext(frames)).plain))
        library.btc.change(bids=[("100.02", "3")], asks=[("100.03", "0")])
        message = _json((await anext(frames)).plain)
        merged.take(message)
    assert message["kind"] == "diff"
    assert [str(price) for price in sorted(merged.sides["asks"])] == ["100.04", "101"]
    seat.leave()


async def test_none_waits_for_a_book_where_a_replay_has_none(
    hub: Hub, library: HandLibrary
) -> None:
    library.btc.play(None, 1_723_099_999_250, "A gap.")
    async with asyncio.timeout(60), hub.channel(BTC, patience_s=3_600) as channel:
        assert channel.moment.image.last_update_id == 0


async def test_a_slow_viewer_skips_steps_and_misses_nothing(hub: Hub, library: HandLibrary) -> None:
    seat, merged = hub.take_seat(BTC), Merged()
    async with asyncio.timeout(60), aclosing(seat.frames(ChangesForm(), None)) as frames:
        await anext(frames)
        merged.take(_json((await anext(frames)).plain))
        for number in range(1, 6):
            library.btc.change(bids=[("100.02", str(number))])
            seat.channel.look()
        message = _json((await anext(frames)).plain)
        merged.take(message)
        assert message["seq"] - message["from"] == 5
        assert message["bids"] == [["100.02", "5"]]
    seat.leave()


async def test_a_viewer_that_returns_gets_only_the_changes(hub: Hub, library: HandLibrary) -> None:
    seat = hub.take_seat(BTC)
    seen = seat.channel.moment.seq
    library.btc.change(bids=[("100.02", "3")])
    seat.channel.look()
    async with aclosing(seat.frames(ChangesForm(), seen)) as frames:
        await anext(frames)
        assert _json((await anext(frames)).plain)["kind"] == "diff"
    seat.leave()


async def test_a_quiet_book_has_a_heartbeat(hub: Hub, clock: Clock) -> None:
    seat = hub.take_seat(BTC)
    async with asyncio.timeout(60), aclosing(seat.frames(ChangesForm(), None)) as frames:
        await anext(frames)
        await anext(frames)
        clock.ahead_s += HubTimes().beat_s
        assert _json((await anext(frames)).plain)["kind"] == "beat"
    seat.leave()


async def test_there_are_no_more_than_ten_moments_a_second(hub: Hub, library: HandLibrary) -> None:
    seat, loop = hub.take_seat(BTC), asyncio.get_running_loop()
    async with asyncio.timeout(60), aclosing(seat.frames(ChangesForm(), None)) as frames:
        for _ in range(2):
            await anext(frames)
        began = loop.time()
        for number in range(1, 7):
            library.btc.change(bids=[("100.02", str(number))])
            await anext(frames)
        # One moment may come at once, and one may come early after a late one.
        assert loop.time() - began > 4 * HubTimes().tick_s - 0.01
    seat.leave()


class Suspended:
    """A hub that doesn't look at its books, as one that was suspended, and the clock of ages."""

    def __init__(self, library: HandLibrary) -> None:
        self.now_ns = NOW_NS
        self.hub = Hub(library, _LIMITS, lambda: self.now_ns, times=HubTimes(beat_s=0.0))
        library.btc.status = replace(library.btc.status, as_of_ns=NOW_NS)


async def test_what_was_made_before_a_suspension_is_not_sent_after_it(library: HandLibrary) -> None:
    """The viewers are called after the suspension, before the hub has looked at the books."""
    suspended = Suspended(library)
    hub, seats = suspended.hub, [suspended.hub.take_seat(BTC) for _ in range(2)]
    form, channel = ChangesForm(), seats[0].channel
    async with (
        asyncio.timeout(60),
        aclosing(seats[0].frames(form, None)) as frames,
        aclosing(seats[1].frames(form, None)) as others,
    ):
        for viewer in (frames, others):
            await anext(viewer)
            assert _json((await anext(viewer)).plain)["status"] == "synced"
        # One viewer is called for a change, the other waits.
        library.btc.change(bids=[("100.02", "3")])
        channel.look()
        channel.shared(("changes", channel.moment.seq - 1), lambda: form.frame(channel, None))
        suspended.now_ns += 11_000_000_000
        message = _json((await anext(frames)).plain)
        assert (message["status"], message["ageMs"]) == ("stale", 11_000)
        # The hub finds the moment that began for the first viewer, and calls the others.
        assert hub._look_at_all(hub.now() + 1) == [channel]
        assert _json((await anext(others)).plain)["status"] == "stale"
    for seat in seats:
        seat.leave()
    hub.close()


async def test_a_request_after_a_suspension_gets_the_true_state(library: HandLibrary) -> None:
    suspended = Suspended(library)
    seat = suspended.hub.take_seat(BTC)
    suspended.now_ns += 11_000_000_000
    async with suspended.hub.channel(BTC) as channel:
        assert channel.moment.badge.state is FeedState.STALE
    seat.leave()
    suspended.hub.close()


async def test_an_old_stream_ends(library: HandLibrary) -> None:
    hub = Hub(library, replace(_LIMITS, stream_age_s=0.0))
    seat = hub.take_seat(BTC)
    assert len([frame async for frame in seat.frames(ChangesForm(), None)]) == 1
    seat.leave()
    hub.close()


async def test_closing_ends_every_stream_and_every_loan(hub: Hub, library: HandLibrary) -> None:
    seats = [hub.take_seat(BTC), hub.take_seat(ETH)]

    async def read(number: int) -> int:
        return len([frame async for frame in seats[number].frames(ChangesForm(), None)])

    readers = [asyncio.create_task(read(0)), asyncio.create_task(read(1))]
    await asyncio.sleep(0)
    hub.close()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*readers) == [2, 2]
    assert library.loans == 0


async def test_one_viewer_too_many_is_refused_until_another_leaves(hub: Hub) -> None:
    seats = [hub.take_seat(BTC), hub.take_seat(BTC)]
    with pytest.raises(TooMany, match="2 viewers already"):
        hub.take_seat(ETH)
    seats[0].leave()
    seats[0].leave()
    assert hub.viewers == 1
    hub.take_seat(ETH).leave()


async def test_a_market_without_users_makes_room(hub: Hub, library: HandLibrary) -> None:
    hub.take_seat(BTC).leave()
    eth = hub.take_seat(ETH)
    hub.take_seat(library.symbols[2])
    assert {channel.info.market for channel, _ in await hub.channels()} == {
        "ETHUSDT",
        "<SCRIPT>USDT",
    }
    eth.leave()


async def test_one_market_too_many_is_refused(library: HandLibrary) -> None:
    hub = Hub(library, replace(_LIMITS, markets=1))
    hub.take_seat(BTC)
    with pytest.raises(TooMany, match="symbols"):
        hub.take_seat(ETH)
    hub.close()


async def test_a_book_without_users_is_given_back_after_a_while(
    hub: Hub, library: HandLibrary, clock: Clock
) -> None:
    hub.take_seat(BTC).leave()
    assert library.loans == 1
    clock.ahead_s += HubTimes().linger_s + 1
    async with asyncio.timeout(60):
        while library.loans:
            await asyncio.sleep(0.01)
    assert not await hub.channels()


async def test_a_pinned_market_is_followed_without_viewers(
    hub: Hub, library: HandLibrary, clock: Clock
) -> None:
    hub.take_seat(BTC).leave()
    hub.follow(BTC)
    hub.follow(BTC)
    hub.take_seat(ETH).leave()
    clock.ahead_s += HubTimes().linger_s + 1
    async with asyncio.timeout(60):
        while library.loans > 1:
            await asyncio.sleep(0.01)
    assert [channel.info for channel, _ in await hub.channels()] == [BTC]
    hub.take_seat(BTC).leave()
    await asyncio.sleep(0)
    assert library.btc.loans == 1
    hub.close()
    assert library.loans == 0


async def test_pinned_markets_do_not_count_for_the_limit(library: HandLibrary) -> None:
    hub = Hub(library, replace(_LIMITS, markets=1))
    for info in (BTC, ETH):
        hub.follow(info)
    hub.take_seat(library.symbols[2])
    hub.take_seat(BTC)
    assert library.loans == 3
    hub.close()


async def test_no_book_is_lent_while_the_hub_closes(library: HandLibrary) -> None:
    hub = Hub(library, _LIMITS)
    hub.close()
    with pytest.raises(Closing, match="switched off"):
        hub.take_seat(BTC)
    with pytest.raises(Closing):
        hub.follow(BTC)
    with pytest.raises(Closing):
        async with hub.channel(BTC, 1.0):
            pass
    assert (library.loans, await hub.channels()) == (0, [])


async def test_the_end_does_not_wait_for_a_request_that_waits_for_a_book(
    hub: Hub, library: HandLibrary
) -> None:
    library.btc.lose("Connecting.")

    async def wait() -> bool:
        async with hub.channel(BTC, 600.0) as channel:
            return channel.known

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    hub.close()
    async with asyncio.timeout(60):
        assert not await waiting
    assert library.loans == 0


async def test_later_information_about_a_symbol_is_used(hub: Hub) -> None:
    seat = hub.take_seat(unlisted("BTC/USDT"))
    assert seat.channel.info.tick_size == 0
    hub.take_seat(BTC).leave()
    assert seat.channel.info == BTC
    seat.leave()


async def test_an_unknown_book_is_waited_for(hub: Hub, library: HandLibrary) -> None:
    library.btc.lose("Connecting.")
    asyncio.get_running_loop().call_later(0.05, library.btc.load, [("1", "1")], [("2", "1")])
    async with asyncio.timeout(60), hub.channel(BTC, 8.0) as channel:
        assert channel.known


async def test_an_unknown_book_is_not_waited_for_for_ever(hub: Hub, library: HandLibrary) -> None:
    library.btc.lose("Connecting.")
    async with asyncio.timeout(60), hub.channel(BTC, 0.05) as channel:
        assert not channel.known
