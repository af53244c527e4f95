"""Packed files, seams of recorders, clocks that step, and recordings that are cut, are played."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.replay import ReplayOrder, Step
from orderbook_desktop.core.replay_status import UNLIMITED
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.replay.player import Player
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import open_packed
from tests.replay.recorded import Recorded, Sight, ordered, playing, record
from tests.replay.test_player import shows
from tests.storage.packed_fixtures import packed
from tests.storage.reading.test_recording import cut
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved

_S = 1_000_000_000
_ORDERS = pytest.mark.parametrize("order", ReplayOrder)


async def sought(
    player: Player, recorded: Recorded, order: ReplayOrder, rng: random.Random, times: int = 25
) -> None:
    """Seeks to moments by chance show what is to be seen there."""
    for _ in range(times):
        at_ns = recorded.random_ns(rng, order)
        player.seek(at_ns)
        await player.idle()
        shows(player, recorded, recorded.at(at_ns, order))


async def stepped(player: Player, recorded: Recorded, order: ReplayOrder) -> None:
    """Steps through the only run, there and back, show each event at its time."""
    (due,) = recorded.dues(order)
    player.seek(0)
    await player.idle()
    places = [*range(len(due) - 1), *reversed(range(-1, len(due) - 2))]
    for number, index in enumerate(places):
        player.step(Step.EVENT, back=number >= len(due) - 1)
        await player.idle()
        shows(player, recorded, Sight(recorded.id_at(0, index), 0, index))
        assert player.status.at_ns == due[index + 1]


async def test_a_packed_file_is_played(database: Database, tmp_path: Path) -> None:
    recorded = await record(database, [140, 25, 60])
    path = tmp_path / "packed.obd"
    await packed(database, path)
    async with open_packed(path) as store, playing(store) as (player, clock):
        assert "packed file" in player.bookmarks_problem
        player.add_bookmark("refused")
        await sought(player, recorded, ReplayOrder.RECEIVED, random.Random(1))
        player.seek(0)
        player.set_speed(1_000_000)
        await player.idle()
        for run in recorded.dues(ReplayOrder.RECEIVED):
            player.play()
            await player.idle()
            while player.status.is_playing:
                clock.now_ns += _S // 20
                await player.idle()
            assert player.status.at_ns == run[-1]
        assert player.bookmarks == ()


def by_other_clock(events: list[DepthDiff], by_ns: int) -> list[DepthDiff]:
    """The same events, received by a clock that is ahead."""
    return [msgspec.structs.replace(one, received_ns=one.received_ns + by_ns) for one in events]


@_ORDERS
@pytest.mark.parametrize("ahead_s", [-3, 3])
async def test_a_seam_of_two_recorders_is_no_edge(
    database: Database, order: ReplayOrder, ahead_s: int
) -> None:
    """Though the clock of the second recorder is ahead, or behind: no time goes back."""
    shelf, tape, twin = Shelf(database), Tape(), Tape()
    one = await shelf.put(tape, 60, GapCause.CRASH)
    twin.diffs(40)
    overlapping = one.events[40:]
    further = by_other_clock(tape.diffs(50), ahead_s * _S)
    where = {"u": {"$gt": overlapping[0].first_id - 1}}
    await database.collection("depth_events").delete_many(where)
    other = await shelf.put(twin, [*overlapping, *further])
    await shelf.archive(other, 45)
    await shelf.write(overlapping)
    recorded = Recorded([Shelved(one.id, one.base, [*one.events, *further])])
    async with playing(database) as (player, clock):
        await ordered(player, order)
        await sought(player, recorded, order, random.Random(ahead_s))
        await stepped(player, recorded, order)
        player.set_speed(UNLIMITED)
        player.play()
        await player.idle()
        clock.now_ns += _S
        shows(player, recorded, Sight(other.last_id, 0, 109))


@_ORDERS
async def test_a_clock_that_steps_back_makes_no_time_go_back(
    database: Database, order: ReplayOrder
) -> None:
    """The exchange's, and the recorder's."""
    shelf, tape = Shelf(database), Tape(step_ms=700)
    before = tape.diffs(0)
    base = tape.snapshot()
    for number in range(6):
        before += tape.diffs(30)
        tape.now_ms -= 2_000 if number % 2 else 0
    events = [
        msgspec.structs.replace(one, received_ns=one.received_ns - (_S if at // 50 % 2 else 0))
        for at, one in enumerate(before)
    ]
    standing = Tape()
    standing.snapshot = lambda: base  # type: ignore[method-assign]
    run = await shelf.put(standing, events)
    await shelf.archive(run, 100)
    recorded = Recorded([run])
    async with playing(database) as (player, _):
        await ordered(player, order)
        await stepped(player, recorded, order)
        await sought(player, recorded, order, random.Random(4))


async def test_a_recording_is_cut_while_it_is_played(database: Database) -> None:
    """What is gone is gone; the clock goes to what is left."""
    recorded = await record(database, [400], archived=1.0)
    run = recorded.runs[0]
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    ids = [event.final_id for event in run.events]
    async with playing(database) as (player, clock):
        await cut(Shelf(database), run, 2)
        first = ids.index(run.chunks[-2][0])
        player.seek(due[200])
        await player.idle()
        assert player.status.problem == ""
        assert player.status.update_id == recorded.id_at(0, first)
        player.play()
        clock.now_ns += 5 * _S
        await player.idle()
        shows(player, recorded, recorded.at(player.status.at_ns, ReplayOrder.RECEIVED))
        assert player.coverage.timeline.from_ms == run.events[first].event_ms


async def test_the_whole_recording_is_removed_while_it_is_played(database: Database) -> None:
    await record(database, [400], archived=1.0)
    async with playing(database) as (player, clock):
        for name in ("segments", "depth_chunks", "checkpoints"):
            await database.collection(name).delete_many({})
        player.play()
        for _ in range(100):
            clock.now_ns += 20 * _S
            if player.status.is_playing:
                await player.idle()
        assert not player.status.is_playing
        assert player.status.problem
        assert player.look().book.last_update_id == 0
