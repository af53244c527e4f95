"""The content of the bundle: its Python distributions and the system's packages.

It is derived from the collected files. So the licences and the bill of materials are complete,
and a distribution that is not pinned is noticed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from bundling.product import NAME, ROOT

_PINNED: Final = ROOT / "packaging" / "requirements.txt"
# The executables begin with the bootloader of PyInstaller, whose licence permits that.
_BOOTLOADER: Final = "pyinstaller"


class NotPinned(Exception):
    """The bundle contains a distribution that is none of the program's requirements."""


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """A package of the system with libraries in the bundle.

    `files` are the names of the libraries, `licence` is the file of its licence.
    """

    name: str
    version: str
    files: tuple[str, ...]
    licence: Path | None


@dataclass(frozen=True, slots=True)
class Contents:
    """The distributions and the system's packages in the bundle, both sorted by name."""

    distributions: tuple[Distribution, ...]
    system: tuple[SystemPackage, ...]


def contents_of(sources: Iterable[str]) -> Contents:
    """Return the distributions and packages of the files `sources`; raises `NotPinned`."""
    owners = _owners()
    found: dict[str, Distribution] = {}
    foreign = set()
    for source in {Path(source).resolve() for source in sources if Path(source).is_absolute()}:
        if source in owners:
            distribution = owners[source]
            found[_normal(distribution.name)] = distribution
        elif not _is_ours(source):
            foreign.add(source)
    _refuse_unpinned(found)
    return Contents(tuple(found[name] for name in sorted(found)), _system_packages(foreign))


def origin_of(name: str, source: str) -> str:
    """Return the origin of the bundle's file `name`; for a compiled module that is its source."""
    if name.endswith(".pyc"):
        for home in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
            module = Path(home) / name[:-1]
            if module.is_file():
                return str(module)
    return source


def licence_files(distribution: Distribution) -> list[Path]:
    """Return the licence texts of a distribution."""
    words = ("licen", "copying", "notice", "copyright")
    named = [
        Path(str(distribution.locate_file(file)))
        for file in distribution.files or ()
        if ".dist-info" in str(file)
        and (any(word in file.name.lower() for word in words) or "licenses" in file.parts)
    ]
    return sorted(path for path in named if path.is_file())


@cache
def _owners() -> Mapping[Path, Distribution]:
    return {
        Path(str(distribution.locate_file(file))).resolve(): distribution
        for distribution in distributions()
        for file in distribution.files or ()
    }


def _is_ours(source: Path) -> bool:
    """Return whether a file belongs to this project, to PyInstaller's output, or to Python."""
    homes = [ROOT, Path(sys.base_prefix) / "lib", Path(sysconfig.get_path("stdlib"))]
    if sys.base_prefix == "/usr":
        homes[1] = Path(sysconfig.get_path("stdlib"))
    return any(source.is_relative_to(home.resolve()) for home in homes)


def _refuse_unpinned(found: Iterable[str]) -> None:
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", _PINNED.read_text(), re.MULTILINE))
    strangers = set(found) - {_normal(name) for name in pinned} - {NAME, _BOOTLOADER}
    if strangers:
        raise NotPinned(
            f"in the bundle, but not in {_PINNED.name}: {', '.join(sorted(strangers))}; "
            "exclude them in the spec, or require them in pyproject.toml"
        )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _system_packages(files: set[Path]) -> tuple[SystemPackage, ...]:
    by_package: dict[str, set[str]] = {}
    for file in files:
        by_package.setdefault(_package_of(file), set()).add(file.name)
    return tuple(
        SystemPackage(name, _version_of(name), tuple(sorted(names)), _copyright_of(name))
        for name, names in sorted(by_package.items())
    )


def _package_of(file: Path) -> str:
    """Return the Debian package of a file; without a package, the file's own name."""
    if shutil.which("dpkg-query"):
        # With a merged /usr a package may list the file with or without /usr.
        for path in (str(file), str(file).removeprefix("/usr")):
            answer = _asked("--search", path)
            if answer:
                return answer.split(":")[0]
    return file.name


def _version_of(package: str) -> str:
    return _asked("--show", "--showformat=${Version}", package)


def _copyright_of(package: str) -> Path | None:
    path = Path("/usr/share/doc") / package / "copyright"
    return path if path.is_file() else None


def _asked(*question: str) -> str:
    if not shutil.which("dpkg-query"):
        return ""
    done = subprocess.run(["dpkg-query", *question], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
