"""The two archives for Linux, written in pure Python: a tarball and a Debian package.

The same content gives the same bytes: names are sorted, there is no owner, and all times are
SOURCE_DATE_EPOCH of the environment, else 0.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

# Measured: preset 9 takes twice as long, and saves one per cent.
_PRESET: Final = 6
# For names that are long or not ASCII, dpkg reads no other format.
_FORMAT: Final = tarfile.GNU_FORMAT


def write_tarball(folder: Path, top: str, path: Path) -> None:
    """Write the content of `folder` to the .tar.xz `path`, below the folder `top`."""
    with tarfile.open(path, "w:xz", format=_FORMAT, preset=_PRESET) as tar:
        _add_tree(tar, folder, PurePosixPath(top))


def write_deb(tree: Path, control: Mapping[str, str], path: Path) -> None:
    """Write a Debian package that installs `tree` at the root of the system.

    `control` are the fields of the package's control file, in order.
    """
    size_kb = sum(file.lstat().st_size for file in tree.rglob("*") if not file.is_dir()) // 1024
    fields = {**control, "Installed-Size": str(size_kb)}
    # A long description continues on lines that begin with a space.
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    sums = "".join(
        f"{_md5(file)}  {file.relative_to(tree).as_posix()}\n"
        for file in sorted(tree.rglob("*"))
        if file.is_file() and not file.is_symlink()
    )
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _small_tar({"control": text, "md5sums": sums}),
        "data.tar.xz": _tree_tar(tree),
    }
    path.write_bytes(ar(members))


def ar(members: Mapping[str, bytes]) -> bytes:
    """Return an `ar` archive, the format of a Debian package."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        head = f"{name:<16}{_time():<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        parts += [head.encode("ascii"), content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def _tree_tar(tree: Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:xz", format=_FORMAT, preset=_PRESET) as tar:
        _add_tree(tar, tree, PurePosixPath("."))
    return raw.getvalue()


def _small_tar(files: Mapping[str, str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:xz", format=_FORMAT) as tar:
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mtime, entry.mode = len(content), _time(), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def _add_tree(tar: tarfile.TarFile, folder: Path, top: PurePosixPath) -> None:
    for path in [folder, *sorted(folder.rglob("*"))]:
        name = top / PurePosixPath(path.relative_to(folder).as_posix())
        entry = tar.gettarinfo(str(path), str(name))
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = _time()
        is_program = entry.isdir() or bool(entry.mode & 0o100)
        entry.mode = 0o777 if entry.issym() else (0o755 if is_program else 0o644)
        if entry.isreg():
            with path.open("rb") as file:
                tar.addfile(entry, file)
        else:
            tar.addfile(entry)


def _md5(path: Path) -> str:
    # The package format requires MD5, which protects against damage, not against attackers.
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _time() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
