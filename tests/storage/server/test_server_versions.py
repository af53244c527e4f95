"""The version beside a database folder, and a new folder that takes the place of an old one."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from orderbook_desktop.core.version import __version__
from orderbook_desktop.storage.errors import OtherVersion
from orderbook_desktop.storage.server.server_versions import (
    SECANTUS_VERSION,
    WrittenBy,
    check_readable,
    finish_swap,
    note_version,
    swap,
    written_by,
)

ROOT = Path(__file__).parents[3]
NOW = WrittenBy(SECANTUS_VERSION, __version__)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database folder with a file."""
    return filled(tmp_path / "secantus", "old")


def filled(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text(content, "ascii")
    return folder


def content_of(folder: Path) -> str:
    return (folder / "file").read_text("ascii")


def test_the_version_is_the_one_that_is_pinned_and_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = [text for text in project["dependencies"] if text.startswith("SecantusDB")]
    assert [pin.partition(";")[0] for pin in pins] == [f"SecantusDB=={SECANTUS_VERSION}"]
    assert version("SecantusDB") == SECANTUS_VERSION


def test_the_version_is_noted_and_read_again(folder: Path, tmp_path: Path) -> None:
    assert written_by(folder) is None
    note_version(folder)
    note_version(folder)
    assert written_by(folder) == NOW
    check_readable(folder, tmp_path / "log")


def test_a_folder_of_another_version_is_not_readable(folder: Path, tmp_path: Path) -> None:
    folder.with_suffix(".version").write_text('{"server":"0.1","program":"7"}', "ascii")
    assert written_by(folder) == WrittenBy("0.1", "7")
    with pytest.raises(OtherVersion, match=r"written by SecantusDB 0\.1"):
        check_readable(folder, tmp_path / "log")


@pytest.mark.expects_log("can't be read")
def test_a_damaged_note_counts_as_none(folder: Path, tmp_path: Path) -> None:
    folder.with_suffix(".version").write_bytes(b"\xff")
    check_readable(folder, tmp_path / "log")


def test_a_new_folder_takes_the_place_of_the_old_one(folder: Path, tmp_path: Path) -> None:
    new, kept = filled(tmp_path / "moving" / "secantus", "new"), tmp_path / "secantus-0.1"
    swap(folder, new, kept, (new.parent,))
    assert (content_of(folder), content_of(kept)) == ("new", "old")
    assert not new.parent.exists()
    assert written_by(folder) == NOW
    finish_swap(folder)
    assert content_of(folder) == "new"


@pytest.mark.parametrize("done", range(4))
def test_a_swap_that_was_cut_off_is_finished(folder: Path, tmp_path: Path, done: int) -> None:
    new, kept = filled(tmp_path / "moving" / "secantus", "new"), tmp_path / "secantus-0.1"
    folder.with_suffix(".swap").write_text(
        '{"taker":"moving/secantus","kept":"secantus-0.1","remove":["moving"]}', "ascii"
    )
    if done > 0:
        folder.rename(kept)
    if done > 1:
        new.rename(folder)
    if done > 2:
        note_version(folder)
    finish_swap(folder)
    assert (content_of(folder), content_of(kept)) == ("new", "old")
    assert written_by(folder) == NOW
    assert not folder.with_suffix(".swap").exists()
    assert not new.parent.exists()
