from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from orderbook_desktop.system.private_files import (
    keep_private,
    private_data_folder,
    private_file,
    private_folder,
    write_private,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")


def mode(path: Path) -> int:
    """Return the permissions of `path`."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _generous() -> object:
    """Let what is made be open to all users, unless it is made private."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_one_that_is_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o775)
    private_folder(folder)
    assert mode(folder) == 0o700


def test_one_that_is_closed_further_stays_so(tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    private_folder(folder)
    assert mode(folder) == 0o500


@pytest.mark.parametrize(("user", "is_taken"), [("other", False), ("root", True), ("own", True)])
def test_the_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, *, is_taken: bool
) -> None:
    folder = tmp_path / "database"
    folder.mkdir(mode=0o777)
    if os.geteuid() == 0:
        os.chown(folder, 65_534, -1)
    owner = folder.stat().st_uid
    own = {"own": owner, "root": 0, "other": owner + 1}[user]
    monkeypatch.setattr(os, "geteuid", lambda: own)
    if is_taken:
        private_folder(folder)
        assert mode(folder) == (0o700 if user == "own" else 0o777)
    else:
        with pytest.raises(PermissionError, match="another user of this computer owns it"):
            private_folder(folder)


@pytest.mark.parametrize("holds", [(), ("logs",), ("database", "logs", "window.ini")])
def test_a_data_folder_of_an_earlier_version_is_closed(
    tmp_path: Path, holds: tuple[str, ...]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    for name in holds:
        (folder / name).touch()
    private_data_folder(folder)
    assert mode(folder) == 0o700


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "public.html").touch()
    private_data_folder(home)
    assert mode(home) == 0o755


@pytest.mark.expects_log("others on this computer can read .*stick: Operation not permitted")
def test_a_file_system_without_owners_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stick"
    folder.mkdir(mode=0o777)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    private_folder(folder)


def test_a_private_file_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "first")
    assert (path.read_text(), mode(path)) == ("first", 0o600)
    # As a kill in the middle of writing leaves it.
    (tmp_path / ".secret.0123abcd.part").write_text("half")
    write_private(path, "second")
    assert (path.read_text(), mode(path)) == ("second", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_file_that_is_open_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o644)
    private_file(path)
    assert mode(path) == 0o600


def test_a_file_of_somebody_else_s_making_is_private_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "window.ini"
    keep_private(path)
    assert mode(path) == 0o600
    path.write_text("[market]")
    path.chmod(0o644)
    keep_private(path)
    assert mode(path) == 0o600
    assert path.read_text() == "[market]"
