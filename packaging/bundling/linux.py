"""The parts of the bundle that only Linux has: build tools, desktop files, archives."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

from PyInstaller.depend.bindepend import get_python_library_path, resolve_library_path
from PyInstaller.exceptions import PythonLibraryNotFoundError
from setup_venv import install_packages

from bundling.archives import write_deb, write_tarball
from bundling.icons import LINUX_SIZES
from bundling.product import NAME, PUBLISHER, ROOT, SUMMARY, archive_name, version

_HERE: Final = ROOT / "packaging" / "linux"
_DEB_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
# Packages that the bundle's libraries need and the bundle lacks: the C library, and libraries that
# belong to the graphics driver.
_DEPENDS: Final = (
    "libc6 (>= {glibc}), libegl1, libgl1, libxcb1, libwayland-client0, libwayland-cursor0, "
    "fontconfig-config"
)

# See packaging/frozen/surroundings.py.
_FRONT_OF_DRIVER: Final = ("libGLdispatch.so.0", "libGLX.so.0", "libGL.so.1", "libEGL.so.1")
_FONT: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


def provide_build_tools() -> None:
    """Install the packages that the build needs, or raise `SetupFailed` with their names."""
    missing = [] if _FONT.exists() else ["fonts-dejavu-core"]
    if not shutil.which("objcopy") or not shutil.which("objdump"):
        missing.append("binutils")
    # Debian links its interpreter statically, and has the library in a package of its own.
    if not _has_python_library():
        missing.append(f"libpython{sys.version_info.major}.{sys.version_info.minor}")
    if missing:
        names = " ".join(missing)
        problem = f"Building the bundle needs {names}; on Debian: sudo apt-get install {names}"
        install_packages(missing, problem)


def bare_machine_files() -> list[tuple[str, str]]:
    """Return (file, folder in the bundle) of files that a machine without a desktop lacks."""
    libraries = [resolve_library_path(name) for name in _FRONT_OF_DRIVER]
    return [
        *((str(path), "bare") for path in libraries if path is not None),
        (str(_HERE / "fonts.conf"), "bare"),
        (str(_FONT), "bare/fonts"),
    ]


def add_desktop_files(bundle: Path, icons: Path) -> None:
    """Make `bundle` an AppDir, and give it a `share/` like that of an installed package."""
    _add_share(bundle / "share", icons)
    (bundle / "AppRun").symlink_to(NAME)
    shutil.copy(_HERE / f"{NAME}.desktop", bundle)
    shutil.copy(ROOT / "resources" / "icons" / f"{NAME}.svg", bundle)
    shutil.copy(icons / "icon-256.png", bundle / ".DirIcon")


def write_archives(bundle: Path, icons: Path, dist: Path) -> list[Path]:
    """Write the tarball and the Debian package of `bundle`; return their paths."""
    tarball = dist / archive_name("tar.xz")
    write_tarball(bundle, f"{NAME}-{version()}", tarball)
    tree = icons / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    home = tree / "opt" / NAME
    leave_out = shutil.ignore_patterns("AppRun", ".DirIcon", "share", f"{NAME}.desktop")
    shutil.copytree(bundle, home, symlinks=True, ignore=leave_out)
    _add_share(tree / "usr" / "share", icons)
    (tree / "usr" / "bin").mkdir()
    (tree / "usr" / "bin" / NAME).symlink_to(f"/opt/{NAME}/{NAME}")
    documents = tree / "usr" / "share" / "doc" / NAME
    documents.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", documents / "copyright")
    architecture = _DEB_ARCHITECTURES[platform.machine()]
    package = dist / f"{NAME}_{version()}_{architecture}.deb"
    write_deb(tree, _control(architecture), package)
    return [tarball, package]


def _add_share(share: Path, icons: Path) -> None:
    """Fill a `share` folder: menu entry, metadata, icons, type of files (freedesktop's)."""
    hicolor = share / "icons" / "hicolor"
    for size in LINUX_SIZES:
        folder = hicolor / f"{size}x{size}" / "apps"
        folder.mkdir(parents=True)
        shutil.copy(icons / f"icon-{size}.png", folder / f"{NAME}.png")
    (hicolor / "scalable" / "apps").mkdir(parents=True)
    shutil.copy(ROOT / "resources" / "icons" / f"{NAME}.svg", hicolor / "scalable" / "apps")
    for name in ("applications", "metainfo"):
        (share / name).mkdir()
    shutil.copy(_HERE / f"{NAME}.desktop", share / "applications")
    (share / "mime" / "packages").mkdir(parents=True)
    shutil.copy(_HERE / f"{NAME}.mime.xml", share / "mime" / "packages" / f"{NAME}.xml")
    metadata = (_HERE / f"{NAME}.metainfo.xml").read_text(encoding="utf-8")
    filled = metadata.replace("@VERSION@", version()).replace("@DATE@", _release_date())
    (share / "metainfo" / f"{NAME}.metainfo.xml").write_text(filled, encoding="utf-8")


def _release_date() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = dt.datetime.now(dt.UTC)
    when = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else now
    return when.date().isoformat()


def _control(architecture: str) -> dict[str, str]:
    glibc = platform.libc_ver()[1]
    return {
        "Package": NAME,
        "Version": version(),
        "Architecture": architecture,
        "Maintainer": f"{PUBLISHER} <orderbook-desktop@localhost>",
        "Section": "misc",
        "Priority": "optional",
        "Depends": _DEPENDS.format(glibc=glibc),
        "Description": f"{SUMMARY}\n"
        " It follows the exchange's depth stream, records every change exactly as it was sent,\n"
        " and draws a live ladder and depth chart from what has been recorded. A database\n"
        " server is part of it: nothing else has to be installed.",
    }


def _has_python_library() -> bool:
    try:
        get_python_library_path()
    except PythonLibraryNotFoundError:
        return False
    return True
