"""The place of recordings is named without secrets, and what is kept there is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QSettings

from orderbook_desktop.app.recording_place import (
    DeskRecordingPlace,
    place_text,
    with_remembered_retention,
)
from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.live_desk import LiveDesk
from orderbook_desktop.gui.preferences import Preferences
from tests.unhurried import DESK_TIMES


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))


def test_our_own_server_writes_into_the_data_folder(tmp_path: Path) -> None:
    assert place_text(load_settings(data_dir=str(tmp_path))) == f"the folder {tmp_path}"


def test_somebody_elses_server_is_named_without_its_password() -> None:
    dsn = "mongodb://me:secret@db.example.org/?replicaSet=rs0"
    text = place_text(load_settings(mongo_dsn=dsn, db_name="mine"))
    assert text.startswith("the database mine at mongodb://")
    assert "secret" not in text


async def test_what_is_chosen_holds_now_and_later(
    stranded: Settings, preferences: Preferences
) -> None:
    desk = LiveDesk(stranded, symbol="BTC/USDT", source_kind=SourceKind.DIRECT, times=DESK_TIMES)
    place = DeskRecordingPlace(stranded, desk, preferences)
    assert place.disk == DiskStatus()
    assert place.retention == Retention()
    chosen = Retention(30, 2.5)
    place.set_retention(chosen)
    assert place.retention == desk.retention == preferences.retention == chosen
    again = with_remembered_retention(stranded, preferences)
    assert (again.retention_days, again.retention_gb) == (30, 2.5)
    await desk.close()


def test_what_is_given_beats_what_was_chosen(preferences: Preferences) -> None:
    preferences.retention = Retention(30)
    given = load_settings(retention_gb=5)
    assert with_remembered_retention(given, preferences) is given


def test_nothing_chosen_changes_nothing(preferences: Preferences) -> None:
    settings = load_settings()
    assert with_remembered_retention(settings, preferences) is settings
