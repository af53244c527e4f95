"""The newest events of a live book are kept while a window views it, and only then."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.engine.engine import Engine
from tests.engine.test_book_feed import _TOO_FINE, BTC, by_hand, diff
from tests.engine.test_widening import Asked, answer
from tests.unhurried import ENGINE_TIMES

_ALL_TIMES = 0, 1 << 50


@pytest.fixture
async def engine(stranded: Settings) -> AsyncIterator[Engine]:
    engine = Engine(stranded, times=ENGINE_TIMES)
    yield engine
    await engine.close()


def ids_of(tail: DepthTail) -> list[tuple[int, list[int], bool]]:
    return [
        (span.start_id, span.final_ids.tolist(), opens) for span, opens in tail.spans(*_ALL_TIMES)
    ]


async def test_only_a_viewed_market_keeps_its_events(engine: Engine) -> None:
    with engine.open_market("BTC/USDT", viewed=False) as recorder:
        session = recorder.session
        assert recorder.look().depth is None
        viewers = [engine.open_market("BTC/USDT", viewed=True) for _ in range(2)]
        depth = viewers[0].look().depth
        assert depth is not None
        assert session.view.look(SourceKind.DIRECT).depth is depth
        viewers[0].close()
        assert recorder.look().depth is depth
        viewers[1].close()
        assert recorder.look().depth is None
        with engine.open_market("BTC/USDT", viewed=True) as anew:
            assert anew.look().depth not in (None, depth)


async def test_a_tail_is_told_all_that_the_book_is_made_of() -> None:
    async with by_hand() as hand:
        tail = DepthTail(BTC)
        hand.feed.keep(tail)
        await hand.synced()
        await hand.give(diff(11), diff(12))
        await hand.give(StreamBroken(GapCause.SILENCE, "hush"), StreamConnected())
        await hand.synced(20)
        await hand.give(diff(21))
    assert ids_of(tail) == [(10, [11, 12], True), (20, [21], True)]
    assert [gap.cause for gap in tail.gaps] == [GapCause.SILENCE]


async def test_a_tail_that_comes_later_begins_with_the_book_as_it_is() -> None:
    async with by_hand() as hand:
        await hand.synced()
        await hand.give(diff(11))
        tail = DepthTail(BTC)
        hand.feed.keep(tail)
        await hand.give(diff(12))
        hand.feed.keep(None)
        await hand.give(diff(13))
    assert ids_of(tail) == [(11, [12], True)]


@pytest.mark.expects_log("At update id 12 the value 0.1111")
async def test_a_tail_goes_on_when_the_book_can_be_read_again() -> None:
    async with by_hand() as hand:
        tail = DepthTail(BTC)
        hand.feed.keep(tail)
        await hand.synced()
        await hand.give(diff(11), diff(12, quantity=_TOO_FINE), diff(13), diff(14))
    assert ids_of(tail) == [(10, [11], True), (13, [14], True)]
    assert [gap.cause for gap in tail.gaps] == [GapCause.TOO_WIDE]


async def test_a_tail_is_known_deeper_where_its_book_is() -> None:
    async with by_hand() as hand:
        tail = DepthTail(BTC)
        hand.feed.keep(tail)
        one = Asked(hand)
        await one.begin()
        await hand.give(diff(11))
        await one.ask()
        one.request.give(answer(11, 4))
        await one.outcome()
        await hand.give(diff(12))
    assert ids_of(tail) == [(10, [11], True), (11, [12], False)]
    before, after = (span.horizon for span, _ in tail.spans(*_ALL_TIMES))
    assert before is not None
    assert after is not None
    assert (before.known_from, after.known_from) == (99 * 10**8, 97 * 10**8)
