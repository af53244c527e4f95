"""The exchange client on Qt's event loop, as the window runs it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.exchange.catalogue import Listings, _LoadingThread, fetch_symbols
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from tests.exchange.listener import SendingTimes, listening, sending_times, streams_of, until
from tests.exchange.scripted_server import frame, scripted_server

__all__ = ["sending_times"]


@pytest.fixture(scope="module", autouse=True)
def application(qapp: QApplication) -> None:
    """Make the application before the first event loop."""


@pytest.mark.parametrize(
    "step", [(_LoadingThread, "load"), (Listings, "take"), (Listings, "in_order")]
)
async def test_the_loop_runs_on_while_the_symbols_are_loaded(
    step: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step waits until the loop has handled a call; for that, the loop has to be free."""
    owner, name = step
    loop, original = asyncio.get_running_loop(), getattr(owner, name)
    handled_calls: list[bool] = []

    def held_up(*arguments: object) -> object:
        handled = threading.Event()
        loop.call_soon_threadsafe(handled.set)
        handled_calls.append(handled.wait(60))
        return original(*arguments)

    monkeypatch.setattr(owner, name, held_up)
    async with LocalExchange(SyntheticSource()) as exchange:
        assert len(await fetch_symbols(exchange.rest_url)) > 300
    assert handled_calls
    assert all(handled_calls)


async def test_connections_hand_over_without_a_gap_and_within_the_message_limit(
    sending_times: SendingTimes,
) -> None:
    times = StreamTimes(lifetime_s=0.3, watch_every_s=0.05, handover_s=0.3)
    async with (
        scripted_server() as script,
        streams_of(script.ws_url, times) as streams,
        listening(streams, "BTCUSDT") as btc,
    ):
        number = 0
        while len(script.targets) < 4:
            number += 1
            await script.send_to_all(frame("BTCUSDT", number))
            # The pauses differ each time: Qt's timers are early, the limit is not.
            async with listening(streams, f"M{number}USDT"):
                await asyncio.sleep(0.005)
        await until(lambda: btc.diffs and btc.diffs[-1].final_id == number)
    assert not btc.broken
    assert btc.holes() == []
    assert sending_times.most_in_a_second <= 3
