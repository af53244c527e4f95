"""A computer that slept, and a program that was suspended, told from what others did."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.silence import (
    Clocks,
    Suspension,
    SuspensionWatch,
    system_clocks,
)
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.exchange.subscription import Subscription

from .listener import HandTime, Listener, be_active, listening, until
from .scripted_server import ScriptedServer, frame, scripted_server

# The loss of a connection is a fault, and is in the log.
pytestmark = pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: ")

BTC, ETH = "BTCUSDT", "ETHUSDT"
SLEPT = "This computer slept for 90 s."


class HandClocks:
    """Clocks in the test's hand, beside which the real ones go on."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.elapsed = self.awake = self.worked = 0.0
        self.clocks = Clocks(lambda: self.elapsed, lambda: self.awake, lambda: self.worked, now)

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds

    def suspend(self, seconds: float, worked: float = 0.0) -> None:
        self.elapsed += seconds
        self.awake += seconds
        self.worked += worked


@pytest.mark.parametrize(
    ("elapsed", "awake", "worked", "found"),
    [
        (90.5, 0.5, 0.1, Suspension(90.0, of_computer=True)),
        (91.0, 30.0, 0.1, Suspension(61.0, of_computer=True)),
        (90.5, 90.5, 0.1, Suspension(90.0, of_computer=False)),
        (90.5, 90.5, 80.0, None),  # Busy, not suspended.
        (5.0, 5.0, 0.0, None),  # A timer that is late on a busy computer.
        (0.5, 0.5, 0.5, None),
        (1.2, 0.5, 0.0, None),
    ],
)
def test_what_went_by_tells_what_happened(
    elapsed: float, awake: float, worked: float, found: Suspension | None
) -> None:
    hand = HandClocks()
    watch = SuspensionWatch(hand.clocks, 0.5)
    hand.elapsed, hand.awake, hand.worked = elapsed, awake, worked
    assert watch.look() == found
    assert watch.look() is None


def test_the_sentences_name_no_exchange() -> None:
    assert Suspension(90.0, of_computer=True).sentence == SLEPT
    assert Suspension(7.4, of_computer=False).sentence == "This program was suspended for 7 s."
    assert "exchange" not in GapCause.SUSPENDED.sentence


def test_the_system_s_clocks_show_no_suspension_of_their_own() -> None:
    watch = SuspensionWatch(system_clocks(), 0.5)
    assert watch.look() is None


@asynccontextmanager
async def followed(
    hand: HandClocks, times: StreamTimes
) -> AsyncIterator[tuple[ScriptedServer, Listener]]:
    """Listen to BTCUSDT, of which one event has come."""
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url, times, hand.clocks)
        try:
            async with listening(streams, BTC) as btc:
                await until(lambda: btc.connected)
                await script.send_to_all(frame(BTC, 1))
                await until(lambda: btc.diffs)
                yield script, btc
        finally:
            await streams.close()


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> asyncio.Event:
    """Return an event that is set when a subscription's method of this name was called."""
    method, event = getattr(Subscription, name), asyncio.Event()

    def note(*arguments: object) -> None:
        method(*arguments)
        event.set()

    monkeypatch.setattr(Subscription, name, note)
    return event


@pytest.mark.expects_log("This computer slept for 90 s")
async def test_a_connection_that_broke_in_a_sleep_is_not_the_exchange_s_fault() -> None:
    hand = HandClocks()
    async with followed(hand, StreamTimes(watch_every_s=0.05)) as (script, btc):
        hand.sleep(90)
        await script.send_to_all(frame(BTC, 2))  # It waited meanwhile, and is not lost.
        await script.last.close(1008, "too slow \x1b[2J")
        await until(lambda: btc.broken)
        assert [one.final_id for one in btc.diffs] == [1, 2]
        assert btc.causes == [GapCause.SUSPENDED]
        assert btc.broken[0].detail.startswith(f"{SLEPT} The exchange closed the connection")
        assert btc.broken[0].detail.isprintable()
        await until(lambda: btc.connected == 2)


@pytest.mark.expects_log("This computer slept for 90 s")
async def test_events_that_are_missing_after_a_sleep_are_missing_because_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = HandClocks()
    async with followed(hand, StreamTimes(watch_every_s=0.05, calm_s=600.0)) as (script, btc):
        noticed = called(monkeypatch, "suspended")
        hand.sleep(90)
        await script.send_to_all(frame(BTC, 2))
        await noticed.wait()
        await script.send_to_all(frame(BTC, 50))
        await until(lambda: len(btc.diffs) == 3)
        assert btc.causes == [GapCause.SUSPENDED]
        assert btc.broken[0].detail == SLEPT
        assert btc.connected == 2


@pytest.mark.expects_log("This computer slept for 90 s")
async def test_what_is_missing_long_after_is_not_the_sleep_s_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = HandClocks()
    async with followed(hand, StreamTimes(watch_every_s=0.05, calm_s=0.1)) as (script, btc):
        told = called(monkeypatch, "caught_up")
        hand.sleep(90)
        # A ping, and some time after its pong all that waited has been read.
        await told.wait()
        await script.send_to_all(frame(BTC, 50))
        await until(lambda: len(btc.diffs) == 2)
        assert btc.causes == []  # The update ids tell of it.
        await script.last.close(1001, "")
        await until(lambda: btc.broken)
        assert btc.causes == [GapCause.DISCONNECT]


@pytest.mark.expects_log("This program was suspended for")
@pytest.mark.parametrize("owes_pong", [False, True])
async def test_a_suspension_is_no_silence_and_no_missing_pong(owes_pong: bool) -> None:
    hand_time = HandTime()
    hand = HandClocks(hand_time.monotonic)
    ping_s = 0.05 if owes_pong else 600.0
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, ping_s=ping_s, answer_s=30.0)
    async with followed(hand, times) as (script, btc):
        await be_active(script, btc, BTC, hand_time)
        if owes_pong:
            script.last.transport.pause_reading()
            await asyncio.sleep(0.2)
        # For longer than a silence may last, or a pong may take.
        hand.suspend(60)
        hand_time.go_on(60)
        await asyncio.sleep(0.2)
        hand_time.go_on(5)
        await asyncio.sleep(0.2)
        script.last.transport.resume_reading()
        await asyncio.sleep(0.2)
        assert btc.broken == []


async def test_a_peer_that_owes_a_pong_is_dead() -> None:
    hand = HandClocks()
    times = StreamTimes(ping_s=0.1, answer_s=1.0, watch_every_s=0.05, silence_s=60.0)
    async with followed(hand, times) as (script, btc):
        script.last.transport.pause_reading()
        await until(lambda: btc.broken)
        assert btc.causes == [GapCause.DISCONNECT]
        assert btc.broken[0].detail == "The exchange doesn't answer any more."


PROGRAM = """
import asyncio, json, sys
from contextlib import aclosing
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.sources import StreamBroken
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.exchange.subscription import Subscription

async def main():
    streams = BinanceStreams(sys.argv[1])
    async with aclosing(streams.items(Stream("BTCUSDT", DEPTH))) as items:
        async for item in items:
            match item:
                case DepthDiff():
                    print(json.dumps(item.final_id), flush=True)
                case StreamBroken():
                    print(json.dumps([item.cause.value, item.detail]), flush=True)
                    break
    await streams.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped by a signal there")
async def test_a_program_that_was_stopped_reads_what_waited_and_says_why_it_lost_the_rest() -> None:
    async with scripted_server() as script:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, script.ws_url), stdout=asyncio.subprocess.PIPE
        )
        assert program.stdout is not None
        try:
            await until(lambda: script.open)
            await script.send_to_all(frame(BTC, 1))
            assert json.loads(await program.stdout.readline()) == 1
            os.kill(program.pid, signal.SIGSTOP)
            for number in range(2, 200):
                await script.send_to_all(frame(BTC, number))
            await asyncio.sleep(7)
            script.last.transport.close()
            os.kill(program.pid, signal.SIGCONT)
            told = [json.loads(line) async for line in program.stdout]
        finally:
            if program.returncode is None:
                program.kill()
            await program.wait()
    assert told[:-1] == list(range(2, 200))
    assert told[-1][0] == "suspended"
    assert told[-1][1].startswith("This program was suspended for ")
