"""The error of a damaged chunk."""

from __future__ import annotations

from orderbook_desktop.core.errors import KnownError


class DamagedChunk(KnownError):
    """A stored chunk differs from what was archived; `reason` is the contradiction found."""

    reason: str

    def __str__(self) -> str:
        return f"An archived minute of the recording is damaged ({self.reason})."
