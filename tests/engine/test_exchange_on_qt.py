"""The exchange client on Qt's event loop, as the window runs it."""

from __future__ import annotations

import asyncio

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.exchange.catalogue import fetch_symbols
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from tests.exchange.listener import SendingTimes, listening, sending_times, streams_of, until
from tests.exchange.scripted_server import frame, scripted_server

__all__ = ["sending_times"]


@pytest.fixture(scope="module", autouse=True)
def application(qapp: QApplication) -> None:
    """Be there before the first event loop is made."""


async def test_the_loop_runs_on_while_the_symbols_are_loaded() -> None:
    async with LocalExchange(SyntheticSource()) as exchange:
        loading = asyncio.create_task(fetch_symbols(exchange.rest_url))
        turns = 0
        while not loading.done():
            turns += 1
            await asyncio.sleep(0.001)
        assert len(loading.result()) > 300
    assert turns > 10


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
            # Wishes that change all the time: Qt's timers are early, the limit is not.
            async with listening(streams, f"M{number}USDT"):
                await asyncio.sleep(0.005)
        await until(lambda: btc.diffs and btc.diffs[-1].final_id == number)
    assert not btc.broken
    assert btc.holes() == []
    assert sending_times.most_in_a_second <= 3
