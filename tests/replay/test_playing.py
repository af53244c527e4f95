"""Loops, skips, bookmarks, large trades, recordings that grow, and what can't be read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from orderbook_desktop.core.replay import LargeTrades, ReplayOrder, Step, Target
from orderbook_desktop.core.replay_status import UNLIMITED
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.tape import TapeTrade
from orderbook_desktop.replay.player import Player
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from tests.replay.recorded import MARKET, SYMBOL, Sight, Wound, playing, record
from tests.replay.test_player import shows
from tests.storage import trade_shelf
from tests.storage.made_trades import asked, received
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import BreakableDatabase, Tape
from tests.storage.shelf import Shelf, Shelved

_S = 1_000_000_000


async def test_a_loop_is_played_again_and_again(database: Database) -> None:
    recorded = await record(database, [80])
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    begin_ns, end_ns = due[20] + 5, due[30] - 5
    async with playing(database) as (player, clock):
        player.set_loop(begin_ns, end_ns)
        player.seek(due[10])
        await player.idle()
        player.play()
        rounds, before = 0, 0
        while rounds < 3:
            at_ns = player.status.at_ns
            assert at_ns <= end_ns
            rounds += at_ns < before
            before = at_ns
            shows(player, recorded, recorded.at(at_ns, ReplayOrder.RECEIVED))
            clock.now_ns += _S // 3
            await player.idle()
        assert player.status.loop == (begin_ns, end_ns)
        assert player.status.is_playing
        player.seek(end_ns + 1)
        player.set_loop(None, None)
        await player.idle()
        player.set_speed(UNLIMITED)
        await player.idle()
        clock.now_ns += _S // 10
        assert player.status.at_ns == due[-1]


async def test_gaps_are_skipped_and_marked(database: Database) -> None:
    recorded = await record(database, [20, 3, 20])
    dues = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, clock):
        player.set_skips(gaps=True)
        player.set_speed(20_000)
        player.play()
        seen = set()
        while player.status.is_playing:
            status = player.status
            if status.gap is None:
                inside = [n for n, due in enumerate(dues) if due[0] <= status.at_ns <= due[-1]]
                assert len(inside) == 1
                shows(player, recorded, recorded.at(status.at_ns, ReplayOrder.RECEIVED))
            else:
                seen.add(status.gap.before_id)
            clock.now_ns += _S // 50
            await player.idle()
        status = player.status
        assert status.is_at_end
        assert status.skips_gaps
        assert status.skipped is not None
        assert status.skipped.first_missing == recorded.runs[1].last_id + 1


async def test_quiet_is_skipped_where_it_is_a_minute_long(database: Database) -> None:
    recorded = await record(database, [6], step_ms=70_000)
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, clock):
        player.set_skips(quiet=True)
        player.play()
        await player.idle()
        player.step(Step.EVENT)
        player.play()
        await player.idle()
        for at in range(1, len(due) - 1):
            clock.now_ns += _S
            await player.idle()
            # A second behind the event, it goes on to a second before the next one.
            assert player.status.at_ns == due[at + 1] - _S
            shows(player, recorded, Sight(recorded.id_at(0, at - 1), 0, at - 1))
            clock.now_ns += _S
            await player.idle()
            assert player.status.at_ns == due[at + 1]
            shows(player, recorded, Sight(recorded.id_at(0, at), 0, at))
        player.set_skips(quiet=False)
        assert not player.status.skips_quiet


async def test_in_a_gap_no_book_is_there_to_be_marked(database: Database) -> None:
    await record(database, [10, 10])
    async with playing(database) as (player, _):
        player.jump(Target.GAP, back=False)
        await player.idle()
        assert player.status.gap is not None
        player.add_bookmark()
        await player.idle()
        assert (list(player.bookmarks), player.status.update_id) == ([], 0)


async def test_bookmarks_are_set_noted_found_and_removed(database: Database) -> None:
    recorded = await record(database, [30])
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, _):
        for at in (25, 5, 15):
            player.seek(due[at + 1])
            await player.idle()
            player.add_bookmark(f"event {at}")
        await player.idle()
        assert player.bookmarks_problem == ""
        assert [one.note for one in player.bookmarks] == ["event 5", "event 15", "event 25"]
        player.change_bookmark(player.bookmarks[1].key, "changed")
        player.remove_bookmark(player.bookmarks[0].key)
        await player.idle()
        assert [one.note for one in player.bookmarks] == ["changed", "event 25"]
        for back, at in ((False, 25), (True, 15)):
            player.jump(Target.BOOKMARK, back=back)
            await player.idle()
            assert player.status.update_id == recorded.id_at(0, at)
        player.jump(Target.BOOKMARK, back=True)
        await player.idle()
        assert player.status.problem == "No bookmark is known before this moment."
        assert player.status.update_id == recorded.id_at(0, 15)
    async with playing(database) as (player, _):
        assert [one.note for one in player.bookmarks] == ["changed", "event 25"]


async def test_bookmarks_of_two_windows_are_the_same(database: Database) -> None:
    recorded = await record(database, [30])
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (one, _), playing(database) as (other, _):
        for at in (5, 15):
            one.seek(due[at + 1])
            one.add_bookmark(f"event {at}")
            await one.idle()
        # A jump goes to what the other window has marked.
        other.jump(Target.BOOKMARK)
        await other.idle()
        assert other.status.update_id == recorded.id_at(0, 5)
        assert other.bookmarks == one.bookmarks
        first, second = other.bookmarks
        other.remove_bookmark(first.key)
        await other.idle()
        one.change_bookmark(first.key, "back again?")
        one.change_bookmark(second.key, "changed")
        await one.idle()
        assert [mark.note for mark in one.bookmarks] == ["changed"]
        kept = one.bookmarks
        one.jump(Target.BOOKMARK, back=True)
        await one.idle()
        assert one.bookmarks is kept
    async with playing(database) as (player, _):
        assert player.bookmarks == kept


async def test_a_recording_that_grows_shows_what_another_window_marks(database: Database) -> None:
    await record(database, [10], is_growing=True)
    async with playing(database) as (one, _), playing(database) as (other, _):
        other.add_bookmark("of the other")
        await other.idle()
        assert one.bookmarks == ()
        await eventually(lambda: one.bookmarks == other.bookmarks)


async def test_jumps_go_from_large_trade_to_large_trade(database: Database) -> None:
    """Repaired ones are found as well, and a jump back from one does not stay there."""
    recorded = await record(database, [60])
    events = recorded.runs[0].events
    trades = []
    for trade_id in range(1, 50):
        event_ms = events[trade_id].event_ms - 300
        quantity = "7.00000000" if trade_id % 16 == 0 else "0.01000000"
        if trade_id == 32:
            trades.append(asked(trade_id, T=event_ms, q=quantity))
        else:
            received_ns = (event_ms + 20) * 1_000_000
            trades.append(received(trade_id, received_ns, T=event_ms, q=quantity))
    await trade_shelf.recorded(database, trades)
    async with playing(database) as (player, _):
        player.set_large(LargeTrades(quantity="7"))
        for back, wanted in ((False, 16), (False, 32), (False, 48), (True, 32), (True, 16)):
            player.jump(Target.LARGE_TRADE, back=back)
            await player.idle()
            assert player.status.problem == ""
            assert newest(player).trade_id == wanted
        player.jump(Target.LARGE_TRADE, back=True)
        await player.idle()
        assert player.status.problem == "No large trade is known before this moment."


async def test_large_trades_that_are_due_at_once_are_found_one_by_one(database: Database) -> None:
    """Repaired ones of one moment come together, right before the event that they caused."""
    recorded = await record(database, [20])
    event_ms = recorded.runs[0].events[9].event_ms - 300
    trades = [asked(at, T=event_ms + at, q="7.00000000") for at in range(1, 5)]
    await trade_shelf.recorded(database, trades)
    async with playing(database) as (player, _):
        player.set_large(LargeTrades(quantity="7"))
        for back, wanted in ((False, (1, 2, 3, 4)), (True, (3, 2, 1))):
            for trade_id in wanted:
                player.jump(Target.LARGE_TRADE, back=back)
                await player.idle()
                assert newest(player).trade_id == trade_id
        player.seek_end()
        player.jump(Target.LARGE_TRADE, back=True)
        await player.idle()
        assert newest(player).trade_id == 4


def newest(player: Player) -> TapeTrade:
    """The newest trade on the tape."""
    tape = player.look().tape
    assert tape is not None
    return tape.newest(1)[0]


async def test_an_id_is_sought_and_one_that_is_not_recorded_is_told(database: Database) -> None:
    recorded, rng = await record(database, [140, 25, 60]), random.Random(2)
    async with playing(database) as (player, _):
        for _ in range(20):
            run = rng.randrange(3)
            index = rng.randrange(-1, len(recorded.runs[run].events))
            player.seek_id(recorded.id_at(run, index))
            await player.idle()
            shows(player, recorded, Sight(recorded.id_at(run, index), run, index))
        before = player.status.update_id
        player.seek_id(recorded.runs[0].last_id + 1)
        await player.idle()
        told = f"Update id {recorded.runs[0].last_id + 1} of {MARKET} is not recorded."
        assert player.status.problem == told
        assert player.look().book.last_update_id == player.status.update_id == before


async def test_of_many_seeks_the_last_one_counts(database: Database) -> None:
    recorded = await record(database, [400], archived=1.0)
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, _):
        for at in range(301, 350):
            player.seek(due[at])
        status = player.status
        assert (status.seeking_ns, status.at_ns) == (due[349], due[0])
        await player.idle()
        assert (player.status.seeking_ns, player.status.at_ns) == (None, due[349])


async def test_what_is_in_memory_is_there_at_once(database: Database) -> None:
    """Also while other parts are read."""
    recorded = await record(database, [400], archived=1.0)
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(database) as (player, _):
        player.seek(due[200])
        await player.idle()
        for at, back in ((201, False), (202, False), (201, True)):
            player.step(Step.EVENT, back=back)
            shows(player, recorded, Sight(recorded.id_at(0, at - 1), 0, at - 1))
        player.step(Step.SECOND)
        shows(player, recorded, recorded.at(due[201] + _S, ReplayOrder.RECEIVED))
        player.seek(due[190])
        shows(player, recorded, recorded.at(due[190], ReplayOrder.RECEIVED))
        assert player.status.at_ns == due[190]


async def _grow(shelf: Shelf, shelved: Shelved, tape: Tape) -> None:
    later = tape.diffs(20)
    await shelf.write(later)
    shelved.events += later
    fields = {"last_id": shelved.last_id, "last_time": later[-1].event_ms}
    await shelf.change("segments", shelved.id, event_count=len(shelved.events), **fields)


async def test_a_run_that_has_grown_is_read_on_at_once(database: Database) -> None:
    shelf, tape = Shelf(database), Tape(step_ms=300)
    shelved = await shelf.put(tape, 30, cause=None)
    reel = Reel(store_of(database), shelved.market)
    await reel.refresh()
    piece = await reel.last_of(reel.runs[-1])
    for _ in range(3):
        await _grow(shelf, shelved, tape)
        await reel.refresh()
        following = await reel.after(piece)
        assert following is not None
        assert following.last_id == shelved.last_id
        piece = following
    await reel.close()


async def test_a_recording_that_grows_is_played_on(database: Database) -> None:
    """Until it ends with a gap, and goes on behind that."""
    shelf, tape = Shelf(database), Tape(step_ms=300)
    shelved = await shelf.put(tape, 30, cause=None)
    async with playing(database) as (player, clock):
        assert player.coverage.is_growing
        player.seek_end()
        player.set_speed(1_000_000)
        player.play()
        await player.idle()
        clock.now_ns += _S
        assert player.status.is_at_end
        assert player.status.is_playing
        assert player.status.update_id == shelved.last_id
        for _ in range(2):
            await _grow(shelf, shelved, tape)

            def has_come() -> bool:
                clock.now_ns += _S
                return player.status.update_id == shelved.last_id

            await eventually(has_come)
            last = len(shelved.events) - 1
            assert player.look().book.last_update_id == shelved.events[last].final_id
        assert player.coverage.timeline.to_ms == shelved.events[-1].event_ms
        await shelf.change("segments", shelved.id, end_cause=GapCause.DISCONNECT.value)
        tape.diffs(3)
        await shelf.put(tape, 10)
        await eventually(lambda: player.status.gap is not None)
        assert not player.status.is_playing
        player.play()
        await player.idle()
        clock.now_ns += 10 * _S
        assert player.status.update_id == tape.last_id


class _Bell:
    """An alarm that rings never; `is_set` is whether it is to ring."""

    is_set = False

    def set(self, in_ns: int, call: Callable[[], None]) -> None:
        del in_ns, call
        self.is_set = True

    def clear(self) -> None:
        self.is_set = False

    def close(self) -> None:
        self.clear()


async def test_at_its_limit_the_clock_wakes_no_view(database: Database) -> None:
    """Only what is read then does: a replay that waits for a recording to grow costs nothing."""
    await record(database, [10], is_growing=True)
    clock, bell = Wound(), _Bell()
    player = Player(store_of(database), MARKET, SYMBOL, now_ns=clock, alarm=bell)
    try:
        await player.start()
        player.play()
        await player.idle()
        player.look()
        assert bell.is_set
        clock.now_ns += 60 * _S
        assert (player.status.is_at_end, player.status.is_playing) == (True, True)
        player.look()
        assert not bell.is_set
    finally:
        await player.close()


async def test_a_recording_whose_recorder_has_crashed_ends(database: Database) -> None:
    recorded = await record(database, [10], is_growing=True)
    key = recorded.runs[0].id
    owner = (await database.collection("segments").find_one({"_id": key}) or {})["owner"]
    # No process has this id.
    ended = owner | {"token": "another", "pid": 2**31 - 1}
    await Shelf(database).change("segments", key, owner=ended)
    async with playing(database) as (player, clock):
        assert not player.coverage.is_growing
        player.play()
        await player.idle()
        clock.now_ns += 60 * _S
        assert (player.status.is_at_end, player.status.is_playing) == (True, False)


async def test_a_damaged_minute_is_told_where_it_begins(database: Database) -> None:
    """The clock stops there, and goes on behind it where it is sent there."""
    recorded = await record(database, [400], archived=1.0)
    run = recorded.runs[0]
    start_id = run.chunks[2][0]
    chunks = database.collection("depth_chunks")
    key = f"{run.id}:{start_id}"
    found = await chunks.find_one({"_id": key})
    assert found is not None
    data = found["data"][:-1] + bytes([found["data"][-1] ^ 1])
    await chunks.update_one({"_id": key}, {"$set": {"data": data}})
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    ids = [event.final_id for event in run.events]
    before, behind = ids.index(start_id), ids.index(run.chunks[2][1])
    async with playing(database) as (player, clock):
        player.seek(due[before - 1])
        await player.idle()
        player.play()
        while player.status.is_playing:
            clock.now_ns += 10 * _S
            await player.idle()
        status = player.look().replay
        assert status is not None
        assert "damaged" in status.problem
        assert (status.is_playing, status.at_ns) == (False, due[before + 1])
        assert player.look().book.last_update_id == status.update_id == 0
        player.seek(due[behind - 3])
        await player.idle()
        assert "damaged" in player.status.problem
        player.seek(due[behind + 5])
        await player.idle()
        shows(player, recorded, Sight(recorded.id_at(0, behind + 4), 0, behind + 4))


@pytest.mark.allows_log("WARNING .*the database failed")
async def test_a_database_that_fails_is_told_and_ends_nothing(
    breakable: BreakableDatabase,
) -> None:
    from pymongo.errors import AutoReconnect  # noqa: PLC0415 (as the program does)

    recorded = await record(breakable, [400], archived=1.0)
    (due,) = recorded.dues(ReplayOrder.RECEIVED)
    async with playing(breakable) as (player, _):
        breakable.error = AutoReconnect("away")
        player.seek(due[350])
        await player.idle()
        assert player.status.problem.startswith("The database failed (it does not answer)")
        breakable.error = None
        player.seek(due[350])
        await player.idle()
        shows(player, recorded, recorded.at(due[350], ReplayOrder.RECEIVED))
    breakable.close()


async def test_it_is_closed_while_it_reads(database: Database) -> None:
    recorded = await record(database, [200])
    async with playing(database) as (player, _):
        player.set_speed(UNLIMITED)
        player.play()
        player.seek(recorded.dues(ReplayOrder.RECEIVED)[0][150])
        player.step(Step.EVENT)
        await asyncio.sleep(0)
