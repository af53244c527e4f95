"""Build the bundle in `dist/`, and with --archives the downloads.

    sh packaging/with.sh dev python packaging/bundle.py [--archives]

`dist/orderbook-desktop` is the bundle (on macOS also `Orderbook Desktop.app`). The downloads are
a tarball and a Debian package on Linux, an installer on Windows, and a disk image on macOS, each
with a bill of materials beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from bundling import linux
from bundling.contents import contents_of
from bundling.debug_symbols import drop_debug_symbols
from bundling.icons import write_icons
from bundling.product import NAME, ROOT, TITLE, archive_name, version
from bundling.sbom import write_sbom
from setup_venv import SetupFailed, provide_libraries

BUILD = ROOT / "build" / "bundle"
DIST = ROOT / "dist"


def main(arguments: list[str]) -> int:
    """Build the bundle, and the downloads if `arguments` name them; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--archives", action="store_true", help="also write the downloads")
    wanted = parser.parse_args(arguments)
    try:
        prepare()
    except SetupFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    bundle = build()
    print(f"{bundle}: {size_mb(bundle):.1f} MB", file=sys.stderr)
    if wanted.archives:
        for path in (write_bill(), *write_archives(bundle)):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return 0


def prepare() -> None:
    """Install system packages that the build needs, and draw the icons; raises `SetupFailed`."""
    # The bundle contains the libraries that a window needs.
    provide_libraries("run")
    if sys.platform.startswith("linux"):
        linux.provide_build_tools()
    BUILD.mkdir(parents=True, exist_ok=True)
    # Drawing the icon needs no screen.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    write_icons(ROOT / "resources" / "icons" / f"{NAME}.svg", BUILD)


def build() -> Path:
    """Build the bundle; return its folder."""
    folders = ["--distpath", str(DIST), "--workpath", str(BUILD / "work")]
    spec = ROOT / "packaging" / "orderbook_desktop.spec"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "PyInstaller",
            "--noconfirm",
            "--log-level=WARN",
            *folders,
            str(spec),
        ],
        check=True,
        cwd=ROOT,
    )
    bundle = DIST / NAME
    if sys.platform == "darwin":
        return DIST / f"{TITLE}.app"
    # PyInstaller puts all files into _internal, but people look for notices beside the program.
    for path in (BUILD / "notices").iterdir():
        shutil.move(bundle / "_internal" / path.name, bundle / path.name)
    if sys.platform.startswith("linux"):
        drop_debug_symbols(bundle / "_internal")
        linux.add_desktop_files(bundle, BUILD)
    return bundle


def write_bill() -> Path:
    """Write the bill of materials of the built bundle; return its path."""
    sources = (BUILD / "sources.txt").read_text(encoding="utf-8").splitlines()
    path = DIST / archive_name("cdx.json")
    write_sbom(contents_of(sources), path)
    return path


def write_archives(bundle: Path) -> list[Path]:
    """Write this system's downloads; return their paths."""
    if sys.platform == "win32":
        return [_windows_installer(bundle)]
    if sys.platform == "darwin":
        image = DIST / archive_name("dmg")
        script = ROOT / "packaging" / "macos" / "make_dmg.sh"
        subprocess.run(["sh", str(script), str(bundle), str(image)], check=True)
        return [image]
    return linux.write_archives(bundle, BUILD, DIST)


def _windows_installer(bundle: Path) -> Path:
    compiler = shutil.which("iscc") or r"C:\Program Files (x86)\Inno Setup 6\ISCC.exe"
    defines = {"Version": version(), "Source": bundle, "Icon": BUILD / "icon.ico"}
    subprocess.run(
        [
            compiler,
            "/Q",
            *(f"/D{name}={value}" for name, value in defines.items()),
            f"/O{DIST}",
            str(ROOT / "packaging" / "windows" / f"{NAME}.iss"),
        ],
        check=True,
    )
    return DIST / archive_name("exe")


def size_mb(folder: Path) -> float:
    """Return the size of the files in `folder` in MB (10^6 bytes)."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e6


if __name__ == "__main__":
    print(f"Building on {platform.platform()}", file=sys.stderr)
    sys.exit(main(sys.argv[1:]))
