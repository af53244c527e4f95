"""Where recordings go, as a person is told it."""

from __future__ import annotations

import shutil

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.gui.welcome import RecordingPlace
from orderbook_desktop.storage.dsn import redacted_dsn


def recording_place(settings: Settings) -> RecordingPlace:
    """Return the place that `settings` name; the room of somebody else's server is unknown."""
    if settings.mongo_dsn:
        server = redacted_dsn(settings.mongo_dsn)
        return RecordingPlace(f"the database {settings.db_name} at {server}", lambda: None)

    def free_bytes() -> int | None:
        try:
            return shutil.disk_usage(settings.data_dir).free
        except OSError:  # The folder isn't there yet.
            return None

    return RecordingPlace(f"the folder {settings.data_dir}", free_bytes)
