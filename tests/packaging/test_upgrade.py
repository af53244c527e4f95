"""A data folder of each earlier version opens in this version, and no data or choice is lost."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path

import pytest

from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.app.window import first_source, first_symbol, window_memory
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.storage.errors import NoDatabaseProgram
from orderbook_desktop.storage.server.choice import choose_program
from tests.packaging.write_data_folder import HERE, SYMBOL, recorded
from tests.unhurried import ENGINE_TIMES

ARCHIVES = sorted(HERE.glob("data_folder_*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name)
def old_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide an installed mongod, whose files are not those of the embedded server."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    try:
        choose_program()
    except NoDatabaseProgram:
        pytest.skip("there is no embedded database for this machine")


def test_there_is_an_archive() -> None:
    assert ARCHIVES


async def test_recordings_survive(old_folder: Path, own_server: None) -> None:
    expected = json.loads((old_folder / "expected.json").read_text())
    engine = Engine(load_settings(data_dir=str(old_folder)), times=ENGINE_TIMES)
    try:
        await engine.start()
        async with asyncio.timeout(100):
            await engine.until_database()
            await engine.database.until_connected()
        assert await recorded(engine) == expected
    finally:
        await engine.close()


def test_the_window_remembers(old_folder: Path) -> None:
    settings = load_settings(data_dir=str(old_folder))
    preferences = Preferences(window_memory(settings))
    assert first_symbol(settings, preferences) == SYMBOL
    assert first_source(settings, preferences) is SourceKind.DIRECT
    assert preferences.recents == (SYMBOL, "BTC/USDT")
    assert preferences.grouping("ETHUSDT") == "0.5"
    assert preferences.welcomed
