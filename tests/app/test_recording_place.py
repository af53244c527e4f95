from __future__ import annotations

from pathlib import Path

from orderbook_desktop.app.recording_place import recording_place
from orderbook_desktop.app.settings import load_settings


def test_our_own_server_writes_into_the_data_folder(tmp_path: Path) -> None:
    place = recording_place(load_settings(data_dir=str(tmp_path), mongo_dsn=""))
    assert place.text == f"the folder {tmp_path}"
    free = place.free_bytes()
    assert free is not None
    assert free > 0


def test_a_folder_to_come_has_no_room_yet(tmp_path: Path) -> None:
    place = recording_place(load_settings(data_dir=str(tmp_path / "later"), mongo_dsn=""))
    assert place.free_bytes() is None


def test_somebody_elses_server_is_named_without_its_password() -> None:
    dsn = "mongodb://me:secret@db.example.org/?replicaSet=rs0"
    place = recording_place(load_settings(mongo_dsn=dsn, db_name="mine"))
    assert place.text.startswith("the database mine at mongodb://")
    assert "secret" not in place.text
    assert place.free_bytes() is None
