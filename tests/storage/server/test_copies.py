"""Several copies of the program on one data folder, and what is left when one is killed."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.storage.errors import OwnerSilent
from orderbook_desktop.storage.server import folder_claim
from orderbook_desktop.storage.server.choice import ServerKind
from orderbook_desktop.storage.server.folder_claim import FolderClaim
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from orderbook_desktop.storage.server.times import ServerTimes
from tests.storage.processes import OtherCopy, StateWatch, eventually, is_gone, other_copy


async def test_the_second_copy_joins_and_takes_over_when_the_first_is_killed(
    tmp_path: Path,
) -> None:
    async with other_copy(tmp_path) as first:
        await first.until("ready")
        await _joined_and_bereft(tmp_path, first)


async def _joined_and_bereft(data_dir: Path, first: OtherCopy) -> None:
    async with DatabaseServer(data_dir) as second:
        assert first.state["owned"]
        assert not second.owned
        assert second.state is ServerState.READY
        assert (second.dsn, second.pid) == (first.state["dsn"], first.state["pid"])
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(second.dsn)
        await client["test"]["numbers"].insert_one({"_id": 1})

        watch = StateWatch(second)
        await first.kill()
        await eventually(watch.recovered)
        assert second.owned
        assert second.dsn == first.state["dsn"]
        assert second.pid != first.state["pid"]
        await eventually(lambda: is_gone(first.state["pid"]))
        assert await client["test"]["numbers"].count_documents({}) == 1
        client.close()


async def test_the_second_copy_takes_over_when_the_first_is_closed(tmp_path: Path) -> None:
    first, second = DatabaseServer(tmp_path), DatabaseServer(tmp_path)
    await first.start()
    await second.start()
    assert (first.owned, second.owned) == (True, False)
    watch = StateWatch(second)
    await first.close()
    await eventually(watch.recovered)
    assert second.owned
    assert second.dsn == first.dsn
    await second.close()


@pytest.mark.expects_log("the record of the database server could not be closed")
async def test_the_second_copy_takes_over_once_a_full_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = DatabaseServer(tmp_path)
    second = DatabaseServer(tmp_path, times=ServerTimes(follow_s=0.05))
    await first.start()
    await second.start()
    watch = StateWatch(second)

    def full(*_place: object, **_how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_claim, "atomic_file", full)
    await first.close()
    await eventually(lambda: any("is full" in detail for detail in watch.details))
    assert not second.owned
    monkeypatch.undo()
    await eventually(watch.recovered)
    assert second.owned
    await second.close()


async def test_a_joined_copy_leaves_the_server_alone(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as owner:
        pid = owner.pid
        assert pid is not None
        async with other_copy(tmp_path) as joined:
            await joined.until("ready")
            assert not joined.state["owned"]
            assert joined.state["pid"] == pid
        assert not is_gone(pid)
        assert owner.state is ServerState.READY


@pytest.mark.expects_log("the database server ended by itself")
async def test_a_joined_copy_follows_the_owners_restarts(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as owner, DatabaseServer(tmp_path) as joined:
        watch = StateWatch(owner)
        assert owner.pid is not None
        os.kill(owner.pid, 9)
        await eventually(watch.recovered)
        await eventually(lambda: joined.pid == owner.pid)
        assert joined.state is ServerState.READY
        assert not joined.owned


async def test_of_two_copies_started_at_once_one_joins(tmp_path: Path) -> None:
    one, other = DatabaseServer(tmp_path), DatabaseServer(tmp_path)
    await asyncio.gather(one.start(), other.start())
    assert sorted([one.owned, other.owned]) == [False, True]
    assert one.dsn == other.dsn
    await asyncio.gather(one.close(), other.close())
    # The copy that closed last may have taken over meanwhile; it leaves nothing behind either.
    assert FolderClaim(tmp_path / "database").acquire()


async def test_an_owner_without_a_server_is_named(tmp_path: Path) -> None:
    (tmp_path / "database").mkdir()
    claim = FolderClaim(tmp_path / "database")
    assert claim.acquire()
    with pytest.raises(OwnerSilent, match="Another running copy"):
        await DatabaseServer(tmp_path, times=ServerTimes(start_s=0.3)).start()
    claim.release()


async def test_a_killed_program_leaves_no_server(tmp_path: Path) -> None:
    async with other_copy(tmp_path) as copy:
        await copy.until("ready")
        pid = copy.state["pid"]
        assert not is_gone(pid)
        await copy.kill()
        await eventually(lambda: is_gone(pid))


async def test_a_killed_programs_folder_can_be_used_at_once(tmp_path: Path) -> None:
    async with other_copy(tmp_path) as copy:
        await copy.until("ready")
        await copy.kill()
        async with DatabaseServer(tmp_path) as server:
            assert server.owned
            assert server.kind is ServerKind.SECANTUS
