"""Writes a small data folder as this version of the program does, for later ones to upgrade.

    python -m tests.packaging.write_data_folder

makes `data_folder_VERSION.tar.xz` beside this file. It contains a recording of a made-up market,
the window's memory, and `expected.json`, which names the data that an upgrade has to keep. Run it
once per release, and never change the archives of older releases.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import QSettings

from orderbook_desktop import __version__
from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.app.window import window_memory
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from orderbook_desktop.gui.preferences import Preferences

HERE: Final = Path(__file__).parent
SYMBOL: Final = "ETH/USDT"
_EVENTS: Final = 12


async def record(folder: Path) -> list[dict[str, Any]]:
    """Record a few events into `folder`; return their ids."""
    async with LocalExchange(SyntheticSource(seed=11)) as exchange:
        urls = {"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}
        engine = Engine(load_settings(data_dir=str(folder), **urls))
        try:
            await engine.start()
            await engine.until_database()
            with engine.open_market(SYMBOL, viewed=False) as lease:
                lease.session.set_recording(True)
                lease.session.start()
                while lease.session.recording_status.counts.events < _EVENTS:
                    await asyncio.sleep(0.05)
            return await recorded(engine)
        finally:
            await engine.close()


async def recorded(engine: Engine) -> list[dict[str, Any]]:
    """Return the ids of the events that the database of `engine` holds, in order."""
    found = engine.database.collection("depth_events").find({}, {"market": 1, "U": 1, "u": 1})
    ids = [{name: event[name] for name in ("market", "U", "u")} async for event in found]
    return sorted(ids, key=lambda event: int(event["u"]))


def remember(memory: QSettings) -> None:
    """Write the window's memory."""
    preferences = Preferences(memory)
    preferences.symbol = SYMBOL
    preferences.recents = (SYMBOL, "BTC/USDT")
    preferences.source = SourceKind.DIRECT
    preferences.set_grouping("ETHUSDT", "0.5")
    preferences.save()


def main() -> None:
    """Write the archive of this version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = asyncio.run(record(folder))
        remember(window_memory(load_settings(data_dir=str(folder))))
        (folder / "expected.json").write_text(json.dumps(events))
        with tarfile.open(HERE / f"data_folder_{__version__}.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.suffix not in (".log", ".lock"):
                    archive.add(path, path.relative_to(folder), filter=_without_owner)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
