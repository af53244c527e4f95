from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from bundling.archives import ar, write_deb, write_tarball

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Linux's archives, made there")
CONTROL = {
    "Package": "thing",
    "Version": "1.2",
    "Architecture": "amd64",
    "Maintainer": "A maintainer <maintainer@localhost>",
    "Description": "A thing\n of two lines",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "opt" / "thing").mkdir(parents=True)
    program = folder / "opt" / "thing" / "run ä"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o775)
    (folder / "opt" / "thing" / "data").write_bytes(b"x" * 5_000)
    (folder / "link").symlink_to("opt/thing/data")
    return folder


def test_a_tarball_has_one_top_folder_and_no_owner(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "thing.tar.xz"
    write_tarball(tree, "thing-1.2", path)
    with tarfile.open(path) as tar:
        entries = {entry.name: entry for entry in tar}
    assert {name.split("/")[0] for name in entries} == {"thing-1.2"}
    assert {(entry.uname, entry.uid, entry.mtime) for entry in entries.values()} == {("root", 0, 0)}
    assert entries["thing-1.2/opt/thing/run ä"].mode == 0o755
    assert entries["thing-1.2/opt/thing/data"].mode == 0o644
    assert entries["thing-1.2/link"].linkname == "opt/thing/data"


def test_same_content_same_bytes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = tmp_path / "first.deb", tmp_path / "second.deb"
    write_deb(tree, CONTROL, first)
    (tree / "opt" / "thing" / "data").touch()
    write_deb(tree, CONTROL, second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg here")
def test_dpkg_reads_the_package(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "thing.deb"
    write_deb(tree, CONTROL, path)

    def asked(*question: str) -> str:
        command = ["dpkg-deb", *question]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert asked("--field", str(path), "Version", "Installed-Size") == (
        "Version: 1.2\nInstalled-Size: 4\n"
    )
    # Unlike dpkg-deb, dpkg itself stops at extended headers.
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(files.stdout)) as tar:
        assert [entry.name for entry in tar if entry.pax_headers] == []
    unpacked = tmp_path / "unpacked"
    asked("--extract", str(path), str(unpacked))
    assert (unpacked / "link").read_bytes() == b"x" * 5_000
    asked("--control", str(path), str(tmp_path / "control"))
    sums = (tmp_path / "control" / "md5sums").read_text().splitlines()
    assert [line.split("  ")[1] for line in sums] == ["opt/thing/data", "opt/thing/run ä"]


def test_ar_pads_to_even_lengths() -> None:
    data = ar({"a": b"123", "b": b"45"})
    assert data.startswith(b"!<arch>\na ")
    assert b"123\nb " in data
    assert data.endswith(b"`\n45")
