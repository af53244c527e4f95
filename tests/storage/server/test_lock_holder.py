from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orderbook_desktop.storage.errors import DatabaseFolderBusy
from orderbook_desktop.storage.server import local_server
from orderbook_desktop.storage.server.choice import choose_program
from orderbook_desktop.storage.server.local_server import LocalServer
from orderbook_desktop.storage.server.lock_holder import lock_holder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its locks")
async def test_who_has_the_database_open_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "FOLDER_PATIENCE_S", 0.0)
    holder, late = (LocalServer(choose_program(), tmp_path / "db") for _ in range(2))
    await holder.launch()
    assert lock_holder(tmp_path / "db").startswith(f"process {holder.pid} (")
    with pytest.raises(DatabaseFolderBusy, match=f"in use by process {holder.pid} "):
        await late.launch()
    await holder.stop()
    assert lock_holder(tmp_path / "db") == ""


def test_a_folder_without_database_has_no_holder(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) == ""
