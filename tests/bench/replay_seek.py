"""Seeks and steps in the replay of a 24-hour recording, until the window has painted the book.

Cold: a new database process, whose files are not in the system's cache. The books that are painted
are compared with the capture.

    HOURS=24 SEEKS=300 python -m tests.bench.replay_seek
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.replay import Step
from orderbook_desktop.storage.store.database import Database
from tests.bench.replay_window import (
    Now,
    ReplayWindow,
    Took,
    Truth,
    opened,
    player_of,
    run,
    shown_window,
    told,
    verdict,
)
from tests.bench.targets import Targets
from tests.bench.tiled_recording import LongRecording, make_tile, store

_HOURS: Final = float(os.environ.get("HOURS", "24"))
_SEEKS: Final = int(os.environ.get("SEEKS", "300"))
_OPENED: Final = 20
_COLD: Final = 5
_PAUSE_S: Final = 0.1
_SEEK_MS: Final = 60
_STEP_MS: Final = 15
_FIRST_MS: Final = 150


def _forget_files(folder: Path) -> None:
    """Have the system drop what it keeps of the files in memory."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


class _Bench:
    """The measurements, in milliseconds by what was done."""

    def __init__(self, window: ReplayWindow, long: LongRecording) -> None:
        self._window = window
        self._truth = Truth.of(long.tile)
        self._long = long
        self._chosen = random.Random(1)
        self.took: dict[str, Took] = {}

    def _moment(self) -> tuple[int, int]:
        return self._truth.moment(self._chosen.random(), self._chosen.randrange(self._long.rounds))

    def _add(self, name: str, begun: Now, ended: Now) -> None:
        self.took.setdefault(name, []).append(ended.since_ms(begun))

    async def _pause(self) -> None:
        """Wait as a person does, who presses no key within a frame of the one before."""
        await asyncio.sleep(_PAUSE_S * (1 + self._chosen.random()))

    async def first_picture(self, database: Database, name: str, seeks: int, steps: int) -> None:
        """Open the recording; then seek and step so many times."""
        at_ns, update_id = self._moment()
        begun = Now.read()
        async with player_of(database, self._long.tile.market, at_ns) as player:
            self._window.show(player)
            self._add(f"first picture, {name}", begun, await self._window.painted(update_id))
            for number in range(seeks):
                await self._pause()
                at_ns, update_id = self._moment()
                begun = Now.read()
                player.seek(at_ns)
                self._add(f"seek, {name}", begun, await self._window.painted(update_id))
                if number < steps:
                    await self._pause()
                    update_id = self._truth.before(update_id)
                    begun = Now.read()
                    player.step(Step.EVENT, back=True)
                    self._add(f"step back, {name}", begun, await self._window.painted(update_id))


async def _work(application: QApplication) -> int:
    targets, tile = Targets(), make_tile()
    with tempfile.TemporaryDirectory() as name, shown_window(application) as window:
        folder = Path(name)
        async with opened(folder) as database:
            long = await store(database, tile, _HOURS)
            print(f"{tile.name} x {long.rounds}: {long.events:,} events in {long.bytes:,} bytes")
        bench = _Bench(window, long)
        for _ in range(_COLD):
            _forget_files(folder)
            async with opened(folder) as database:
                await bench.first_picture(database, "cold", 4, 4)
        async with opened(folder) as database:
            for _ in range(_OPENED):
                await bench.first_picture(database, "warm", _SEEKS // _OPENED, _SEEKS)
    limits = {"first picture": _FIRST_MS, "seek": _SEEK_MS, "step back": _STEP_MS}
    print(f"until the ladder was painted, load {os.getloadavg()[0]:.1f}")
    for name, took in sorted(bench.took.items()):
        limit = limits[name.partition(",")[0]]
        print(f"  {name}: {told(took)} {verdict(targets, took, limit)}")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(run(_work))
