"""What can be wrong with an archived chunk."""

from __future__ import annotations

from orderbook_desktop.core.errors import KnownError


class DamagedChunk(KnownError):
    """A stored chunk is not what was archived; `reason` is what gave it away."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"An archived minute of the recording is damaged ({self.reason})."
