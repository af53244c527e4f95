"""What killed exports leave behind goes; what living ones write stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orderbook_desktop.system import atomic_file as module
from orderbook_desktop.system.atomic_file import atomic_file
from tests.storage.processes import ROOT

_DYING = """
import os, signal, sys
from pathlib import Path
from orderbook_desktop.system.atomic_file import atomic_file
with atomic_file(Path(sys.argv[1]), replace=True) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def _write(path: Path, text: bytes, *, replace: bool = False) -> None:
    with atomic_file(path, replace=replace) as file:
        file.write(text)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path) -> None:
    target = tmp_path / "a [b].csv"
    for _ in range(2):
        command = [sys.executable, "-c", _DYING, str(target)]
        died = subprocess.run(command, cwd=ROOT, check=False)
        assert died.returncode == -signal.SIGKILL
        (left,) = _files(tmp_path)
        assert left.endswith(".part")
    others = [".a [b].csv.part", ".a [b].csv.0123456g.part", ".c.01234567.part", "x.01234567.part"]
    for name in others:
        (tmp_path / name).touch()
    _write(target, b"whole")
    assert target.read_bytes() == b"whole"
    assert _files(tmp_path) == sorted([target.name, *others])


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_file(target, replace=True) as slow:
        slow.write(b"first")
        _write(target, b"second", replace=True)
        assert len(_files(tmp_path)) == 2
    assert target.read_bytes() == b"first"
    assert _files(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="locks nothing")
def test_one_that_is_taken_for_a_leftover_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = module._lock
    removed: list[str] = []

    def late(file: object, *, wait: bool) -> bool:
        if wait and not removed:
            # Another one comes just now.
            removed.extend(_files(tmp_path))
            module._remove_leftovers(tmp_path / "out")
            assert _files(tmp_path) == []
        return lock(file, wait=wait)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_lock", late)
    _write(tmp_path / "out", b"whole")
    assert len(removed) == 1
    assert _files(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="locks nothing")
def test_where_nothing_can_be_locked_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    (tmp_path / ".out.01234567.part").touch()
    _write(tmp_path / "out", b"whole")
    assert _files(tmp_path) == [".out.01234567.part", "out"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_a_folder_that_cannot_be_listed_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o300)
    _write(folder / "out", b"whole")
    folder.chmod(0o700)
    assert _files(folder) == ["out"]
