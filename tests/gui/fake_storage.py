"""The storage of recordings, with made-up disk space."""

from __future__ import annotations

from orderbook_desktop.core.disk import DiskStatus, FolderSize, RecordingSize, Retention

GB = 10**9


class FakeStorage:
    """A `RecordingStorage` that notes each chosen retention."""

    def __init__(self) -> None:
        self.text = "the folder of recordings"
        self.disk = DiskStatus(free_bytes=50 * GB)
        self.retention = Retention()
        self.chosen: list[Retention] = []

    def set_retention(self, retention: Retention) -> None:
        self.retention = retention
        self.chosen.append(retention)

    def measured(self, bytes_per_day: int = GB) -> None:
        """Set a recorded size and a measured pace."""
        size = RecordingSize(3 * GB, 30_000_000, GB // 10, GB // 100)
        folder = FolderSize(4 * GB, 35 * GB // 10)
        self.disk = DiskStatus(size, folder, 50 * GB, bytes_per_day)
