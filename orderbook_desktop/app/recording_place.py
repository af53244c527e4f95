"""Where a window's recordings go, what room there is, and what is kept of them."""

from __future__ import annotations

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.desk.live_desk import LiveDesk
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.storage.dsn import redacted_dsn


class DeskRecordingPlace:
    """The place that `settings` name, used by `desk`; is a `RecordingPlace`."""

    def __init__(self, settings: Settings, desk: LiveDesk, preferences: Preferences) -> None:
        self._desk = desk
        self._preferences = preferences
        self.text = place_text(settings)

    @property
    def disk(self) -> DiskStatus:
        """The room, as it was a few seconds ago."""
        return self._desk.disk

    @property
    def retention(self) -> Retention:
        """What is kept."""
        return self._desk.retention

    def set_retention(self, retention: Retention) -> None:
        """Keep so much from now on, and in later runs."""
        self._desk.set_retention(retention)
        self._preferences.retention = retention


def place_text(settings: Settings) -> str:
    """Return what names the place that recordings go to, without a password."""
    if settings.mongo_dsn:
        return f"the database {settings.db_name} at {redacted_dsn(settings.mongo_dsn)}"
    return f"the folder {settings.data_dir}"


def with_remembered_retention(settings: Settings, preferences: Preferences) -> Settings:
    """Return `settings` with what was chosen in the window, where they don't say otherwise."""
    chosen = preferences.retention
    if chosen is None or settings.given("retention_days") or settings.given("retention_gb"):
        return settings
    fields = {"retention_days": chosen.days, "retention_gb": chosen.gigabytes}
    return settings.model_copy(update=fields)
