"""The tape of a replay has exactly the trades that are due, however the clock got there."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.replay import ReplayOrder, Step, Target
from orderbook_desktop.core.replay_status import UNLIMITED
from orderbook_desktop.core.tape import TapeTrade
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.replay.player import Player
from orderbook_desktop.storage.store.database import Database
from tests.replay.recorded import Recorded, due_of, ordered, playing, record
from tests.storage import trade_shelf
from tests.storage.made_trades import asked, received

_ORDERS = pytest.mark.parametrize("order", ReplayOrder)


def made(recorded: Recorded, count: int, rng: random.Random) -> list[Trade]:
    """Trades all over a recording: received, some by a wrong clock, and repaired ones."""
    first_ms = recorded.runs[0].events[0].event_ms
    last_ms = recorded.runs[-1].events[-1].event_ms
    times = sorted(rng.randint(first_ms, last_ms) for _ in range(count))
    # Many at one time, and some at that of an event.
    times[count // 2 : count // 2 + 5] = [times[count // 2]] * 5
    times[3] = max(times[2], min(times[4], recorded.runs[0].events[5].event_ms))
    trades = []
    for trade_id, event_ms in enumerate(times, 1):
        price = f"{rng.randint(55_000, 65_000) / 100:.8f}"
        if rng.random() < 0.3:
            trades.append(asked(trade_id, T=event_ms, p=price))
            continue
        received_ns = event_ms * 1_000_000 + rng.randint(1_000_000, 800_000_000)
        if rng.random() < 0.05:
            received_ns -= 7_200_000_000_000
        trades.append(received(trade_id, received_ns, T=event_ms, p=price))
    return trades


async def store(database: Database, trades: list[Trade]) -> None:
    """In two runs, with a hole of some trades between them."""
    third = len(trades) // 3
    await trade_shelf.recorded(database, trades[:third])
    await trade_shelf.recorded(database, trades[third:])


def dues(recorded: Recorded, trades: list[Trade], order: ReplayOrder) -> list[int]:
    """When each trade is due."""
    latest, found = 0, []
    all_dues = recorded.dues(order)
    for trade in trades:
        own = due_of(trade, order)
        if order is ReplayOrder.RECEIVED and trade.is_repaired:
            own = _beside_event(recorded, trade.event_ms, all_dues)
        latest = max(latest, own)
        found.append(latest)
    return found


def _beside_event(recorded: Recorded, event_ms: int, all_dues: list[list[int]]) -> int:
    for run, run_dues in zip(recorded.runs, all_dues, strict=True):
        if event_ms < run.events[0].event_ms:
            # It was traded while the book was not known.
            return event_ms * 1_000_000
        for event, due in zip(run.events, run_dues[1:], strict=True):
            if event.event_ms >= event_ms:
                return due
    return event_ms * 1_000_000


def on_tape(player: Player) -> list[TapeTrade]:
    tape = player.look().tape
    assert tape is not None
    return tape.since(-1)


def has(player: Player, trades: list[Trade], count: int) -> None:
    """The tape has the last of the first `count` trades, as they were."""
    shown = on_tape(player)
    assert [one.trade_id for one in shown] == [one.trade_id for one in trades[:count]][
        -len(shown) or count :
    ]
    assert len(shown) == min(count, len(shown))
    assert shown or not count
    for one, trade in zip(reversed(shown), reversed(trades[:count]), strict=False):
        assert one.event_ms == trade.event_ms
        assert f"{one.price / 10**8:.8f}" == trade.price
        assert (one.is_sold, one.is_repaired) == (trade.is_sold, trade.is_repaired)


@_ORDERS
async def test_a_seek_shows_the_trades_before_it(database: Database, order: ReplayOrder) -> None:
    rng = random.Random(3)
    recorded = await record(database, [80, 25, 60])
    trades = made(recorded, 300, rng)
    await store(database, trades)
    due = dues(recorded, trades, order)
    async with playing(database) as (player, _):
        await ordered(player, order)
        for _ in range(60):
            at_ns = recorded.random_ns(rng, order) if rng.random() < 0.5 else rng.choice(due)
            player.seek(at_ns)
            await player.idle()
            at_ns = player.status.at_ns
            has(player, trades, sum(one <= at_ns for one in due))


async def test_a_jump_on_begins_a_new_tape_and_a_step_goes_on_with_it(database: Database) -> None:
    """Rows that come to a tape faster than a person reads are told by their number only."""
    recorded = await record(database, [80])
    await store(database, made(recorded, 300, random.Random(4)))
    due = recorded.dues(ReplayOrder.RECEIVED)[0]
    async with playing(database) as (player, _):
        player.seek(due[10])
        await player.idle()
        tape = player.look().tape
        player.step(Step.EVENT)
        await player.idle()
        assert player.look().tape is tape
        player.seek(max(due[60], due[11] + 1_000_000_000))
        await player.idle()
        assert player.look().tape is not tape


@_ORDERS
async def test_while_commands_follow_each_other_the_tape_is_of_the_clock_and_not_of_before(
    database: Database, order: ReplayOrder
) -> None:
    rng = random.Random(8)
    recorded = await record(database, [80, 25, 60])
    trades = made(recorded, 300, rng)
    await store(database, trades)
    due = dues(recorded, trades, order)
    async with playing(database) as (player, _):
        await ordered(player, order)
        for _ in range(4):
            for _ in range(3):
                player.seek(recorded.random_ns(rng, order))
                player.jump(Target.GAP, back=rng.random() < 0.5)
            idle = asyncio.create_task(player.idle())
            while not idle.done():
                await asyncio.sleep(0)
                at_ns = player.status.at_ns
                has(player, trades, sum(one <= at_ns for one in due))
            await idle


@_ORDERS
@pytest.mark.parametrize("speed", [1_000, 77_777, UNLIMITED])
async def test_trades_come_as_the_clock_gets_to_them(
    database: Database, order: ReplayOrder, speed: int
) -> None:
    rng = random.Random(speed)
    recorded = await record(database, [80, 25, 60])
    trades = made(recorded, 300, rng)
    await store(database, trades)
    due = dues(recorded, trades, order)
    async with playing(database) as (player, clock):
        await ordered(player, order)
        player.set_speed(speed)
        for run in recorded.dues(order):
            player.play()
            await player.idle()
            frame_ns = (run[-1] - run[0]) * 1_000 // max(speed, 1) // 20
            while player.status.is_playing:
                has(player, trades, sum(one <= player.status.at_ns for one in due))
                clock.now_ns += rng.randint(1, 2 * frame_ns + 1)
                await player.idle()
            has(player, trades, sum(one <= run[-1] for one in due))


@_ORDERS
async def test_steps_go_from_trade_to_trade_and_back(
    database: Database, order: ReplayOrder
) -> None:
    """Each with the book right before what came at the same time."""
    rng = random.Random(5)
    recorded = await record(database, [80])
    trades = made(recorded, 60, rng)
    await store(database, trades)
    due, book_due = dues(recorded, trades, order), recorded.dues(order)[0]
    first = sum(one <= book_due[0] for one in due)
    last = sum(one <= book_due[-1] for one in due)
    async with playing(database) as (player, _):
        await ordered(player, order)
        player.seek(0)
        await player.idle()
        has(player, trades, first)
        places = [*range(first, last), *reversed(range(first, last - 1))]
        for number, index in enumerate(places):
            player.step(Step.TRADE, back=number >= last - first)
            await player.idle()
            assert player.status.at_ns == due[index]
            has(player, trades, index + 1)
            events = sum(one < due[index] for one in book_due[1:])
            assert player.status.update_id == recorded.id_at(0, events - 1)


async def test_a_trade_gap_stops_nothing_and_is_told(database: Database) -> None:
    recorded = await record(database, [80])
    trades = made(recorded, 60, random.Random(1))
    missing = [*trades[:20], *trades[30:]]
    await trade_shelf.recorded(database, trades[:20])
    await trade_shelf.recorded(database, trades[30:])
    async with playing(database) as (player, _):
        player.seek_end()
        await player.idle()
        tape = player.look().tape
        assert tape is not None
        assert [one.trade_id for one in tape.since(-1)] == [one.trade_id for one in missing]
        assert tape.break_after(20, 31) is not None


@pytest.mark.parametrize("is_sought", [False, True])
async def test_gaps_of_later_trades_push_none_off_the_tape(
    database: Database, is_sought: bool
) -> None:
    """A tape holds a thousand gaps; a long recording may have more."""
    recorded = await record(database, [80])
    trades = made(recorded, 40, random.Random(1))
    for begin in range(0, 40, 10):
        await trade_shelf.recorded(database, trades[begin : begin + 9])
    async with playing(database) as (player, clock):
        reel = player._trades
        last = reel.gaps[-1]
        reel.gaps = [
            *reel.gaps,
            *(
                replace(last, after_id=last.after_id + 2 * at, before_id=last.before_id + 2 * at)
                for at in range(1, 1_500)
            ),
        ]
        if is_sought:
            player.seek_end()
        else:
            player.set_speed(100_000)
            player.play()
        await player.idle()
        while player.status.is_playing:
            player.look()
            clock.now_ns += 5_000_000
            await player.idle()
        tape = player.look().tape
        assert tape is not None
        assert tape.newest_id == trades[38].trade_id
        assert [tape.break_after(at, at + 2) is not None for at in (9, 19, 29)] == [True] * 3


@_ORDERS
async def test_trades_right_behind_the_last_event_are_played(
    database: Database, order: ReplayOrder
) -> None:
    """Later ones are not: the book beside them would not be theirs."""
    recorded = await record(database, [20])
    end_ns = recorded.dues(order)[0][-1]
    behind_ms = -900, -600, -300, -100, 200, 500, 900, 1_100, 90_000
    trades = [
        received(at, end_ns + ms * 1_000_000, T=end_ns // 1_000_000 + ms)
        for at, ms in enumerate(behind_ms, 1)
    ]
    await trade_shelf.recorded(database, trades)
    async with playing(database) as (player, clock):
        await ordered(player, order)
        player.set_speed(UNLIMITED)
        player.play()
        while player.status.is_playing:
            clock.now_ns += 100_000_000
            await player.idle()
        has(player, trades, 7)
        status = player.status
        assert status.is_at_end
        assert status.at_ns == due_of(trades[6], order)
        player.seek(end_ns - 1)
        await player.idle()
        has(player, trades, 4)
        player.seek_end()
        await player.idle()
        has(player, trades, 7)
        assert player.status.update_id == recorded.id_at(0, 19)


async def test_a_recording_without_trades_has_no_tape(database: Database) -> None:
    await record(database, [20])
    async with playing(database) as (player, _):
        assert player.look().tape is None
        player.step(Step.TRADE)
        await player.idle()
        assert player.look().tape is None


async def test_damaged_trades_are_told_and_the_book_is_played(database: Database) -> None:
    recorded = await record(database, [20])
    trades = made(recorded, 30, random.Random(1))
    await trade_shelf.recorded(database, trades)
    chunks = database.collection("trade_chunks")
    (found,) = await chunks.find({}).to_list(None)
    broken = bytes([found["data"][0] ^ 1]) + found["data"][1:]
    await chunks.update_one({"_id": found["_id"]}, {"$set": {"data": broken}})
    async with playing(database) as (player, _):
        look = player.look()
        assert look.replay is not None
        assert "damaged" in look.replay.problem
        assert look.book.last_update_id == recorded.runs[0].base.last_update_id
        player.step(Step.EVENT)
        await player.idle()
        assert player.look().book.last_update_id == recorded.runs[0].events[0].final_id
