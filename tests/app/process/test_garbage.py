"""Qt's objects go on Qt's thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

from PySide6.QtCore import QObject

from orderbook_desktop.app.process.garbage import garbage_on_this_thread


class _Cycle(QObject):
    """A Qt object that only the collector can end; notes on which thread it went."""

    ended_on: list[int]

    def __init__(self, ended_on: list[int]) -> None:
        super().__init__()
        self.ended_on = ended_on
        self.itself = self

    def __del__(self) -> None:
        self.ended_on.append(threading.get_ident())


def _allocate(kept: list[Any]) -> None:
    kept.extend([[]] * 1 + [[number] for number in range(5_000)])


async def test_what_threads_allocate_is_collected_on_the_loops_thread() -> None:
    ended_on: list[int] = []
    gc.enable()
    try:
        with garbage_on_this_thread():
            assert not gc.isenabled()
            _Cycle(ended_on)
            kept: list[Any] = []
            await asyncio.to_thread(_allocate, kept)
            assert not ended_on
            async with asyncio.timeout(60):
                while not ended_on:
                    await asyncio.sleep(0.05)
        assert not gc.isenabled()
    finally:
        gc.disable()
    assert ended_on == [threading.get_ident()]
