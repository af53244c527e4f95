"""A player shows the recorded book of each moment, however the clock got there."""

from __future__ import annotations

import random

import pytest

from orderbook_desktop.core.replay import ReplayOrder, Step, Target
from orderbook_desktop.core.replay_status import UNLIMITED
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.replay.player import NothingRecorded, Player
from orderbook_desktop.storage.reading.recording import NotCovered, Recording
from orderbook_desktop.storage.store.database import Database
from tests.replay.recorded import (
    MARKET,
    Recorded,
    Sight,
    levels_in,
    levels_of,
    ordered,
    playing,
    record,
)

_S = 1_000_000_000
_ORDERS = pytest.mark.parametrize("order", ReplayOrder)


def shows(player: Player, recorded: Recorded, sight: Sight) -> None:
    """The player shows this, and says so."""
    look = player.look()
    assert look.replay is not None
    assert look.status.state is FeedState.REPLAY
    if sight.in_gap:
        assert look.replay.gap is not None
        assert look.replay.gap.before_id == recorded.runs[sight.run].last_id
        assert look.replay.gap.after_id == recorded.runs[sight.run + 1].base.last_update_id
        assert look.replay.update_id == look.book.last_update_id == 0
    else:
        assert look.replay.gap is None
        assert look.replay.update_id == look.book.last_update_id == sight.update_id
    assert levels_in(look.book) == recorded.levels(sight)
    assert look.replay.problem == ""


@_ORDERS
async def test_a_seek_shows_the_book_of_its_moment(database: Database, order: ReplayOrder) -> None:
    recorded, rng = await record(database, [140, 25, 60]), random.Random(7)
    recording = Recording(database, MARKET)
    async with playing(database) as (player, _):
        await ordered(player, order)
        for _ in range(120):
            at_ns = recorded.random_ns(rng, order)
            player.seek(at_ns)
            await player.idle()
            sight = recorded.at(at_ns, order)
            shows(player, recorded, sight)
            dues = recorded.dues(order)
            assert player.status.at_ns == min(max(at_ns, dues[0][0]), dues[-1][-1])
            if order is ReplayOrder.EXCHANGE and not sight.in_gap:
                try:
                    book = await recording.book_at(at_ns // 1_000_000)
                except NotCovered:
                    continue
                assert levels_in(player.look().book) == levels_of(book)


@_ORDERS
@pytest.mark.parametrize("speed", [100, 1_000, 77_777, 1_000_000, UNLIMITED])
async def test_played_to_its_end_it_stops_at_each_gap(
    database: Database, order: ReplayOrder, speed: int
) -> None:
    """To the ns, however far a frame would have gone; and behind the gap where it is told to."""
    recorded, rng = await record(database, [140, 25, 60]), random.Random(speed)
    dues = recorded.dues(order)
    async with playing(database) as (player, clock):
        await ordered(player, order)
        player.set_speed(speed)
        player.play()
        for number, run in enumerate(dues):
            is_last = number == len(dues) - 1
            await player.idle()
            assert player.status.gap is None or speed == UNLIMITED
            frame_ns = (run[-1] - run[0]) * 1_000 // max(speed, 1) // 20
            while player.status.is_playing:
                sight = recorded.at(player.status.at_ns, order)
                if sight.run == number and player.status.at_ns < run[-1]:
                    shows(player, recorded, sight)
                clock.now_ns += rng.randint(1, 2 * frame_ns)
                await player.idle()
            assert player.status.at_ns == run[-1]
            last = len(recorded.runs[number].events) - 1
            id_ = recorded.id_at(number, last)
            shows(player, recorded, Sight(id_, number, last, in_gap=not is_last))
            assert (player.status.gap is None) == is_last == player.status.is_at_end
            if not is_last:
                assert player.status.gap is not None
                assert player.status.gap.is_before
            player.play()
        await player.idle()
        assert not player.status.is_playing


@_ORDERS
async def test_steps_go_through_every_event_and_gap_and_back(
    database: Database, order: ReplayOrder
) -> None:
    recorded = await record(database, [40, 3, 20], step_ms=5_000)
    dues = recorded.dues(order)
    way: list[tuple[int, Sight]] = []
    for number, run in enumerate(recorded.runs):
        for index in range(-1, len(run.events)):
            sight = Sight(recorded.id_at(number, index), number, index)
            way.append((dues[number][index + 1], sight))
        if number + 1 < len(recorded.runs):
            last = Sight(run.last_id, number, len(run.events) - 1, in_gap=True)
            way.append((dues[number][-1], last))
    async with playing(database) as (player, _):
        await ordered(player, order)
        player.seek(0)
        for back in (False, True):
            await player.idle()
            for number, (at_ns, sight) in enumerate(way):
                shows(player, recorded, sight)
                if sight.in_gap:
                    gap = player.status.gap
                    assert gap is not None
                    assert gap.is_before is not back
                    assert player.status.at_ns == (dues[sight.run + 1][0] if back else at_ns)
                else:
                    assert player.status.at_ns == at_ns
                if number < len(way) - 1:
                    player.step(Step.EVENT, back=back)
                    await player.idle()
            player.step(Step.EVENT, back=back)
            await player.idle()
            shows(player, recorded, way[-1][1])
            way.reverse()


@_ORDERS
async def test_steps_of_a_second_stop_at_the_edges_of_gaps(
    database: Database, order: ReplayOrder
) -> None:
    recorded = await record(database, [9, 3, 12], step_ms=400)
    dues = recorded.dues(order)
    async with playing(database) as (player, _):
        await ordered(player, order)
        for back in (False, True):
            player.seek(dues[-1][-1] if back else 0)
            await player.idle()
            stops = 0
            for _ in range(60):
                at_ns, was_in_gap = player.status.at_ns, player.status.gap is not None
                player.step(Step.SECOND, back=back)
                await player.idle()
                passed_ns = abs(player.status.at_ns - at_ns)
                gap = player.status.gap
                if gap is not None:
                    assert gap.is_before is not back
                    edges = {run[0] if back else run[-1] for run in dues}
                    assert player.status.at_ns in edges
                    stops += 1
                elif not was_in_gap:
                    assert passed_ns <= _S
                    sight = recorded.at(player.status.at_ns, order)
                    if back and player.status.at_ns == dues[sight.run][0]:
                        # The book with which the run begins.
                        sight = Sight(recorded.id_at(sight.run, -1), sight.run, -1)
                    shows(player, recorded, sight)
            assert stops == len(dues) - 1
            end = dues[0][0] if back else dues[-1][-1]
            assert player.status.at_ns == end


async def test_jumps_go_from_gap_to_gap(database: Database) -> None:
    recorded = await record(database, [9, 3, 12], step_ms=400)
    dues = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, _):
        seen = []
        for back in (False, False, False, True, True, True):
            player.jump(Target.GAP, back=back)
            await player.idle()
            gap = player.status.gap
            assert gap is not None
            seen.append((gap.before_id, gap.is_before, player.status.at_ns))
        first, second = (run.last_id for run in recorded.runs[:2])
        assert seen[:3] == [
            (first, True, dues[0][-1]),
            (second, True, dues[1][-1]),
            (second, True, dues[1][-1]),
        ]
        assert seen[3:] == [(first, False, dues[1][0])] * 3


async def test_without_a_recording_it_says_so(database: Database) -> None:
    with pytest.raises(NothingRecorded, match="No book of BTCUSDT is recorded here"):
        async with playing(database):
            pass
