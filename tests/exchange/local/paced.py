"""A capture whose pace changes while it is played: slow as long as something happens in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from msgspec.structs import replace

from orderbook_desktop.exchange.local import CaptureSource
from orderbook_desktop.formats.capture_messages import CaptureLine


class PacedSource(CaptureSource):
    """Plays a capture at `speed`, which may be set anew at any time."""

    def __init__(self, path: Path, speed: float) -> None:
        super().__init__(path)
        self.speed = speed

    async def _lines(self) -> AsyncGenerator[CaptureLine]:
        last_ns, due_ns = 0, 0.0
        async with aclosing(super()._lines()) as lines:
            async for line in lines:
                due_ns += (line.recv_ns - last_ns) / (self.speed if last_ns else 1)
                last_ns = line.recv_ns
                yield replace(line, recv_ns=round(due_ns))
