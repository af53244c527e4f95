"""A new database is complete: no kill, even an early one, leaves an unusable database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from orderbook_desktop.storage.server.server import DatabaseServer
from tests.storage.processes import eventually, other_copy


async def _all_tables_are_there(data_dir: Path) -> None:
    async with DatabaseServer(data_dir):
        folder = data_dir / "database" / "secantus"
        tables = {path.name for path in folder.glob("secantus_documents_sh*.wt")}
        assert tables == {f"secantus_documents_sh{number}.wt" for number in range(16)}


@pytest.mark.makes_database
async def test_all_tables_are_made_before_anything_is_recorded(tmp_path: Path) -> None:
    await _all_tables_are_there(tmp_path)


async def test_the_copy_that_other_tests_get_has_them_too(tmp_path: Path) -> None:
    await _all_tables_are_there(tmp_path)


def _has_begun(draft: Path) -> bool:
    """Whether the engine has begun to make its files, or has made them already."""
    for folder in (draft, draft.with_suffix("")):
        with suppress(FileNotFoundError):
            if any(folder.iterdir()):
                return True
    return False


@pytest.mark.makes_database
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.04, 0.06, 0.1, 0.2])
async def test_a_kill_while_it_is_made_does_no_harm(tmp_path: Path, after_s: float) -> None:
    draft = tmp_path / "database" / "secantus.new"
    async with other_copy(tmp_path) as copy:
        await eventually(lambda: _has_begun(draft))
        await asyncio.sleep(after_s)
        await copy.kill()
    async with DatabaseServer(tmp_path):
        assert not draft.exists()
