"""Recordings are opened to be played at the moment that is wished for, or it is said why not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.replay import ReplayOrder, ReplayStatus
from orderbook_desktop.core.replay_times import NoMoment
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.desk.recorded_replays import NotRecordedThen, RecordedReplays
from orderbook_desktop.desk.replaying import ReplayWish
from orderbook_desktop.replay.player import NothingRecorded
from orderbook_desktop.storage.store.database import Database
from tests.desk.one_desk import one_desk, played, running
from tests.replay.recorded import SYMBOL, Recorded, levels_in, record
from tests.storage.packed_fixtures import packed
from tests.storage.processes import eventually

_MS = 1_000_000

pytestmark = pytest.mark.allows_log(r"WARNING .*book_feed: \w+: no snapshot: Nothing records")
_WISH = ReplayWish(unlisted(SYMBOL))


class _Engine(SimpleNamespace):
    """An engine whose database is there."""

    async def until_database(self) -> None:
        return None


def _replays(database: Database, now_ns: int = 10**18) -> RecordedReplays:
    engine = _Engine(database=database)
    return RecordedReplays(lambda: engine, zone=lambda: UTC, now_ns=lambda: now_ns)


async def _update_id(replays: RecordedReplays, wish: ReplayWish) -> tuple[int, str]:
    """Return of which update id the first book of a replay is, and the remark."""
    async with replays(wish) as opened:
        look = opened.replay.look()
        assert look.replay is not None
        assert look.replay.update_id == look.book.last_update_id
        assert not look.replay.is_playing
        return look.book.last_update_id, opened.remark


async def _refusal(replays: RecordedReplays, wish: ReplayWish) -> str:
    with pytest.raises(KnownError) as refused:
        async with replays(wish):
            pass
    return str(refused.value)


def _last_ns(recorded: Recorded) -> int:
    return recorded.dues(ReplayOrder.RECEIVED)[-1][-1]


async def test_it_begins_at_the_moment_that_is_named(database: Database) -> None:
    recorded = await record(database, [40, 30])
    replays = _replays(database)
    at_ns = recorded.dues(ReplayOrder.RECEIVED)[1][20]
    expected = recorded.id_at(1, 19)
    assert await _update_id(replays, replace(_WISH, at=at_ns)) == (expected, "")
    assert await _update_id(replays, replace(_WISH, at=f"#{expected}")) == (expected, "")
    at_ms = at_ns // _MS + 1
    typed = f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S.%f}"
    sight = recorded.at(at_ms * _MS, ReplayOrder.RECEIVED)
    found, remark = await _update_id(replays, replace(_WISH, at=typed))
    assert (found, remark) == (sight.update_id, "")


async def test_without_a_moment_a_minute_is_left_to_play(database: Database) -> None:
    recorded = await record(database, [200], is_growing=True)
    now_ns = _last_ns(recorded)
    sight = recorded.at(now_ns - 60 * 10**9, ReplayOrder.RECEIVED)
    assert await _update_id(_replays(database, now_ns), _WISH) == (sight.update_id, "")
    # The recording ended long ago: nothing of the last minute before now could be played.
    newest_ns = recorded.runs[0].events[-1].event_ms * _MS
    sight = recorded.at(newest_ns - 60 * 10**9, ReplayOrder.RECEIVED)
    assert sight.update_id < recorded.id_at(0, 190)
    assert await _update_id(_replays(database, now_ns + 10**15), _WISH) == (sight.update_id, "")


async def test_a_recording_of_seconds_begins_with_its_first_moment(database: Database) -> None:
    recorded = await record(database, [20])
    assert await _update_id(_replays(database), _WISH) == (recorded.id_at(0, -1), "")


@pytest.mark.parametrize("is_before", [True, False])
async def test_a_moment_beyond_the_recording_is_told(database: Database, is_before: bool) -> None:
    recorded = await record(database, [10])
    events = recorded.runs[0].events
    edge_ms = events[0].event_ms if is_before else events[-1].event_ms
    at = (edge_ms + (-7_200_000 if is_before else 7_200_000)) * _MS
    found, remark = await _update_id(_replays(database), replace(_WISH, at=at))
    assert found == recorded.id_at(0, -1 if is_before else 9)
    edge = "begins" if is_before else "ends"
    assert remark == (
        f"Nothing of BTC/USDT is recorded at {moment_text(at // _MS, UTC)}: its recording {edge} "
        f"at {moment_text(edge_ms, UTC)}."
    )
    # In place of another replay, at its time, nothing else is shown.
    like = ReplayStatus(symbol="ETH/USDT", market="ETHUSDT", at_ns=at)
    assert await _refusal(_replays(database), replace(_WISH, at=at, like=like)) == remark


async def test_what_can_not_be_played_is_one_sentence(database: Database, tmp_path: Path) -> None:
    await record(database, [10])
    replays = _replays(database)
    with pytest.raises(NothingRecorded):
        await _update_id(replays, ReplayWish(unlisted("ETH/USDT")))
    with pytest.raises(NoMoment):
        await _update_id(replays, replace(_WISH, at="teatime"))
    assert "Update id 7 of BTCUSDT is not recorded" in await _refusal(
        replays, replace(_WISH, at="#7")
    )
    missing = replace(_WISH, file=tmp_path / "none.obd")
    assert "does not exist" in await _refusal(replays, missing)


async def test_a_packed_file_is_played_from_its_first_moment(
    database: Database, tmp_path: Path
) -> None:
    recorded = await record(database, [30, 10])
    path = tmp_path / "day.obd"
    await packed(database, path)
    async with _replays(database)(replace(_WISH, file=path)) as opened:
        status = opened.replay.status
        assert (status.file, status.update_id) == ("day.obd", recorded.id_at(0, -1))
        at = recorded.at(status.at_ns, ReplayOrder.RECEIVED)
        assert levels_in(opened.replay.look().book) == recorded.levels(at)


def test_the_sentence_is_one() -> None:
    assert str(NotRecordedThen("A/B", "1", "x")).count(".") == 1


async def test_a_program_that_closes_while_it_plays_leaves_nothing(settings: Settings) -> None:
    """Neither a thread nor a task: the guards of all tests look for them."""
    desk = one_desk(settings, kind=SourceKind.DIRECT)
    async with running(desk):
        await eventually(lambda: desk.recording.counts.events > 3)
        replay = await played(desk)
        replay.play()
        replay.look()
    assert desk.replay is None
