"""What can keep a recording from being exported, each told in one sentence."""

from __future__ import annotations

from pathlib import Path

from orderbook_desktop.core.errors import KnownError


class ExportError(KnownError):
    """Root of what can keep a recording from being exported."""


class TargetExists(ExportError):
    """There is a file already where the export should go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return f"{self.path} is there already; choose another file, or replace it with --force."


class TargetUnwritable(ExportError):
    """The file cannot be written; `reason` is the system's."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.reason}); nothing was exported."


class NothingRecorded(ExportError):
    """There is nothing to export; `what` says of what market and time."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"Nothing is recorded of {self.what}; orderbook-desktop recordings lists what is."


class RecordingChanged(ExportError):
    """A part of the recording was deleted while it was exported."""

    def __str__(self) -> str:
        return "The recording was cut while it was exported; export it again."
