"""A session runs while there is a lease of it; a forgotten lease is logged."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.app.settings import Settings, Switch
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.recording_meter import problem_of, unarchived
from orderbook_desktop.storage.store.trade_batches import TradeConflict
from tests.app.conftest import ExchangeThread
from tests.exchange.listener import until
from tests.exchange.scripted_server import scripted_server
from tests.storage.processes import eventually
from tests.unhurried import ENGINE_TIMES


@pytest.fixture
async def engine(stranded: Settings) -> AsyncIterator[Engine]:
    """An engine that is never started, and connects to nothing."""
    engine = Engine(stranded, times=ENGINE_TIMES)
    yield engine
    await engine.close()


async def test_a_session_goes_on_while_it_is_on_loan(engine: Engine) -> None:
    first = engine.open_market("BTC/USDT", viewed=False)
    with engine.open_market("btcusdt", viewed=True) as second:
        assert second.session is first.session
        assert second.session.leases == 2
    assert first.session.leases == 1
    assert engine.closing("BTCUSDT") is None
    first.close()
    assert engine.closing("BTCUSDT") is not None
    with engine.open_market("BTC/USDT", viewed=False) as anew:
        assert anew.session is not first.session


async def test_a_lease_that_is_closed_twice_takes_nothing_from_others(engine: Engine) -> None:
    first = engine.open_market("BTC/USDT", viewed=True)
    second = engine.open_market("BTC/USDT", viewed=True)
    for _ in range(3):
        first.close()
    assert second.session.leases == 1
    assert engine.closing("BTCUSDT") is None
    second.close()
    with engine.open_market("BTC/USDT", viewed=True) as anew:
        # A lease of an earlier session is not a lease of this session.
        second.close()
        assert anew.session.leases == 1


async def test_a_lease_is_closed_after_an_error_too(engine: Engine) -> None:
    def fail() -> None:
        with engine.open_market("BTC/USDT", viewed=False):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert engine.closing("BTCUSDT") is not None


@pytest.mark.allows_log(r"WARNING .*exchange\.stream\w*: The exchange at .* can't be reached")
async def test_only_viewers_have_the_recorded_book_followed(engine: Engine) -> None:
    with engine.open_market("BTC/USDT", viewed=False) as recorder:
        session = recorder.session
        session.start()
        assert session._recorded_run is None
        viewers = [engine.open_market("BTC/USDT", viewed=True) for _ in range(2)]
        run = session._recorded_run
        assert run is not None
        viewers[0].close()
        assert not run.cancelling()
        viewers[1].close()
        assert run.cancelling()
    # Close while the test's loop runs, since the feed needs the loop to end.
    await engine.close()


async def test_a_recorded_book_is_late_by_what_the_exchange_s_own_events_show(
    engine: Engine,
) -> None:
    """The recorder's events were late from the first one on; only the live feed can tell."""
    with engine.open_market("BTC/USDT", viewed=True) as lease:
        live, recorded = (
            feed._times._punctuality for feed in (lease.session.live, lease.session.recorded)
        )
        for event_ms in (1_000, 2_000):
            live.take(event_ms, 0, event_ms * 1_000_000 + 50)
        assert recorded.due_ns(3_000, 20_000_000_000) == 3_000_000_050


@pytest.mark.allows_log("no snapshot")
async def test_each_lease_shows_its_own_source(settings: Settings) -> None:
    """Two windows may show one market from different sources."""
    engine = Engine(settings, times=ENGINE_TIMES)
    with (
        engine.open_market("BTC/USDT", viewed=True) as recorded,
        engine.open_market("BTC/USDT", viewed=True) as direct,
    ):
        direct.kind = SourceKind.DIRECT
        await engine.start()
        recorded.session.set_recording(wanted=True)
        recorded.session.start()

        def is_shown() -> bool:
            looks = [recorded.look().status, direct.look().status]
            return [(one.state, one.source) for one in looks] == [
                (FeedState.SYNCED, SourceKind.MONGO),
                (FeedState.SYNCED, SourceKind.DIRECT),
            ]

        await eventually(is_shown)
    await engine.close()


@pytest.mark.allows_log("no snapshot")
async def test_each_lease_is_told_of_a_changed_book(settings: Settings) -> None:
    engine = Engine(settings, times=ENGINE_TIMES)
    told: list[str] = []
    with engine.open_market("BTC/USDT", viewed=True) as kept:
        with engine.open_market("BTC/USDT", viewed=True) as closed:
            kept.changed = lambda: told.append("kept")
            closed.changed = lambda: told.append("closed")
            await engine.start()
            kept.session.start()
            await eventually(lambda: {"kept", "closed"} <= set(told))
        told.clear()
        before = kept.session.live.book.last_update_id
        await eventually(lambda: kept.session.live.book.last_update_id > before)
        assert set(told) == {"kept"}
        told.clear()
        # Another source may be shown from here on.
        kept.session.set_recording(wanted=True)
        assert told == ["kept"]
    await engine.close()


@pytest.mark.parametrize(
    ("trades", "streams"),
    [("on", "btcusdt@depth@100ms/btcusdt@aggTrade"), ("off", "btcusdt@depth@100ms")],
)
@pytest.mark.allows_log("no snapshot|streams: ")
async def test_trades_may_be_left_out_altogether(
    stranded: Settings, trades: str, streams: str
) -> None:
    async with scripted_server() as script:
        settings = stranded.model_copy(update={"ws_url": script.ws_url, "trades": Switch(trades)})
        engine = Engine(settings, times=ENGINE_TIMES)
        with engine.open_market("BTC/USDT", viewed=True) as lease:
            lease.session.start()
            await until(lambda: script.targets)
            assert (lease.look().tape is None) is (trades == "off")
        await engine.close()
    assert script.targets == [f"/stream?streams={streams}"]


@pytest.mark.allows_log("no snapshot|streams: ")
async def test_trades_that_do_not_come_are_subscribed_to_anew(stranded: Settings) -> None:
    async with scripted_server() as script:
        engine = Engine(stranded.model_copy(update={"ws_url": script.ws_url}), times=ENGINE_TIMES)
        with engine.open_market("BTC/USDT", viewed=False) as lease:
            lease.session.start()
            await until(lambda: any(group._link for group in engine.streams._copies[0].groups))
            lease.session.renew_trades()
            await until(lambda: len(script.commands) == 2)
            assert [one["method"] for one in script.commands] == ["UNSUBSCRIBE", "SUBSCRIBE"]
            assert {*script.commands[0]["params"]} == {"btcusdt@aggTrade"}
        await engine.close()


async def test_the_trades_of_the_exchange_are_on_the_tape_of_each_source(
    exchange: ExchangeThread, stranded: Settings
) -> None:
    settings = stranded.with_exchange(exchange.rest_url, exchange.ws_url, "book")
    engine = Engine(settings, times=ENGINE_TIMES)
    told: list[int] = []
    with engine.open_market("BTC/USDT", viewed=False) as lease:
        session, tape = lease.session, lease.look().tape
        assert tape is not None
        lease.changed = lambda: told.append(tape.revision)
        session.start()
        await eventually(lambda: len(tape) > 3)
        assert session.view.look(SourceKind.DIRECT).tape is tape
        ids = [trade.trade_id for trade in tape.newest(100)]
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert set(range(1, len(ids) + 1)) <= set(told)
    await engine.close()


@pytest.mark.expects_log("gap in the recording of trades")
async def test_trades_that_are_not_recorded_are_told_beside_a_book_that_is(
    stranded: Settings,
) -> None:
    engine = Engine(stranded, times=ENGINE_TIMES)
    with engine.open_market("BTC/USDT", viewed=False) as lease:
        session = lease.session
        session.set_recording(wanted=True)
        sink = engine.recorder.trade_sink("BTCUSDT")
        before = session.recording_status
        sink.counts.archive_problem = "The trade 7 is damaged."
        assert unarchived(session).endswith("can't be archived: The trade 7 is damaged.")
        sink.refuse(TradeConflict("BTCUSDT", 7))
        after = session.recording_status
        assert "trade 7 of BTCUSDT is stored already" in after.problem
        assert "trade 7 of BTCUSDT" in problem_of("BTC/USDT", session)
        # The book is recorded all the same.
        assert after.state is before.state
        session.set_recording(wanted=False)
        assert session.recording_status.problem == ""
    await engine.close()


@pytest.mark.expects_log(r"WARNING .*engine: BTCUSDT was still open \(leases: 2\)")
async def test_a_lease_that_was_forgotten_is_told(stranded: Settings) -> None:
    engine = Engine(stranded, times=ENGINE_TIMES)
    leases = [engine.open_market("BTC/USDT", viewed=True) for _ in range(2)]
    with engine.open_market("ETH/USDT", viewed=True):
        pass
    await engine.close()
    # Closing a lease after the engine does no harm.
    for lease in leases:
        lease.close()
