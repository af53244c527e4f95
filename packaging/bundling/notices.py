"""The licences in the bundle, and the pointer to the source of the database server."""

from __future__ import annotations

import shutil
import sysconfig
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from bundling.contents import Contents, licence_files
from bundling.product import ROOT, TITLE

DATABASE: Final = "orderbook-database"
_SERVER: Final = "SecantusDB"
_SERVER_HOME: Final = "https://github.com/jdrumgoole/SecantusDB"

# The wheels of these distributions lack their licence texts.
_TEXTS: Final = ROOT / "packaging" / "licences"
_LGPL: Final = ("GPL-3.0.txt", "LGPL-3.0.txt")
_APACHE: Final = ("Apache-2.0.txt",)
_MISSING: Final = {
    "PySide6_Essentials": _LGPL,
    "shiboken6": _LGPL,
    "arro3-core": _APACHE,
    "arro3-io": _APACHE,
}

_SOURCE_POINTER: Final = """\
orderbook-database is a program of its own. It contains SecantusDB {version}, unchanged, which is
free software under the GNU General Public License, version 2; the text is beside this file, in
orderbook-database.LICENSE.txt. {title} starts it and speaks to it over a socket; it is not
part of it, and works with any other MongoDB server in its place.

Its complete source code, version {version}:

    {home}

A copy of the same source is published with each release of {title}, as an archive named
secantusdb-{version}.tar.gz, in the place where you found this program.
"""

_EXPLANATION: Final = """\
{title} consists of these parts. Their licence texts are in the folders of the same names.

Qt and PySide6 are used under the GNU Lesser General Public License, version 3: they are
separate files in _internal/PySide6, and you may replace them by versions of your own.

"""


def write_notices(contents: Contents, folder: Path) -> None:
    """Write `LICENSES/` and the notices of the database server into the new `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    licences = folder / "LICENSES"
    licences.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", licences / f"{TITLE}.txt")
    _write_python(licences)
    rows = [(TITLE, "", "MIT")]
    for distribution in contents.distributions:
        rows.append((distribution.name, distribution.version, _licence_name(distribution)))
        texts = [_TEXTS / name for name in _MISSING.get(distribution.name, ())]
        _copy_all([*licence_files(distribution), *texts], licences / distribution.name)
        if distribution.name == _SERVER:
            _write_pointer(distribution, folder)
    for package in contents.system:
        rows.append((package.name, package.version, f"see the file ({', '.join(package.files)})"))
        if package.licence is not None:
            _copy_all([package.licence], licences / package.name)
    lines = [f"{name:34} {version:24} {licence}".rstrip() for name, version, licence in rows]
    text = _EXPLANATION.format(title=TITLE)
    (licences / "README.txt").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def _write_python(licences: Path) -> None:
    homes = (sysconfig.get_path("stdlib"), sysconfig.get_path("data"), "/usr/share/doc/python3")
    for home in homes:
        for name in ("LICENSE.txt", "copyright"):
            if (Path(home) / name).is_file():
                _copy_all([Path(home) / name], licences / "Python")
                return
    raise FileNotFoundError(f"Python's licence is in none of {', '.join(homes)}")


def _write_pointer(server: Distribution, folder: Path) -> None:
    text = next(path for path in licence_files(server) if path.name == "LICENSE")
    shutil.copy(text, folder / f"{DATABASE}.LICENSE.txt")
    pointer = _SOURCE_POINTER.format(version=server.version, title=TITLE, home=_SERVER_HOME)
    (folder / f"{DATABASE}.SOURCE.txt").write_text(pointer, encoding="utf-8")


def _licence_name(distribution: Distribution) -> str:
    declared = distribution.metadata.get_all("License-Expression") or []
    named = distribution.metadata.get_all("License") or []
    classes = distribution.metadata.get_all("Classifier") or []
    marks = [name.rsplit(" :: ", 1)[1] for name in classes if name.startswith("License ::")]
    candidates = [name for name in (*declared, *named, *marks) if name and "\n" not in name]
    return candidates[0] if candidates else "see the file"


def _copy_all(files: list[Path], folder: Path) -> None:
    for file in files:
        folder.mkdir(exist_ok=True)
        # Vendored parts have licence files of the same name in their own folders.
        target = folder / file.name
        if target.exists():
            target = folder / f"{file.parent.name}-{file.name}"
        shutil.copyfile(file, target)
