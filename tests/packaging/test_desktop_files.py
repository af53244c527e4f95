from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bundling.icons import write_icons
from bundling.linux import add_desktop_files
from bundling.product import NAME, ROOT, SUMMARY, TITLE, version
from bundling.windows_version import version_numbers

from orderbook_desktop import __version__
from orderbook_desktop.app.settings import APP_NAME
from orderbook_desktop.formats.packed_file import SUFFIX, PackedWriter


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with only its executable."""
    write_icons(ROOT / "resources" / "icons" / f"{NAME}.svg", tmp_path / "icons")
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / NAME).write_bytes(b"")
    add_desktop_files(folder, tmp_path / "icons")
    return folder


def test_names_agree_with_the_program() -> None:
    assert version() == __version__
    # The window also gives this name, and the desktop finds its icon by it.
    assert NAME == APP_NAME


def test_the_bundle_is_an_appdir(bundle: Path) -> None:
    assert (bundle / "AppRun").readlink() == Path(NAME)
    for name in (f"{NAME}.desktop", f"{NAME}.svg", ".DirIcon"):
        assert (bundle / name).is_file()
    icons = bundle / "share" / "icons" / "hicolor"
    assert (icons / "48x48" / "apps" / f"{NAME}.png").is_file()
    assert (icons / "scalable" / "apps" / f"{NAME}.svg").is_file()


def test_menu_entry(bundle: Path) -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(bundle / "share" / "applications" / f"{NAME}.desktop", encoding="utf-8")
    main = entry["Desktop Entry"]
    assert (main["Name"], main["Exec"], main["Icon"]) == (TITLE, f"{NAME} %f", NAME)
    assert main["Comment"] == SUMMARY
    assert entry["Desktop Action Demo"]["Exec"] == f"{NAME} --demo"


def test_packed_recordings_are_opened(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "share" / "mime" / "packages" / f"{NAME}.xml"
    (kind,) = ET.parse(path).getroot()
    names = {child.tag.rpartition("}")[2]: child for child in kind}
    assert names["glob"].get("pattern") == f"*{SUFFIX}"
    entry = (bundle / "share" / "applications" / f"{NAME}.desktop").read_text(encoding="utf-8")
    assert f"MimeType={kind.get('type')};" in entry
    with (tmp_path / "a").open("wb") as file:
        PackedWriter(file, 3)
    magic = names["magic"][0].get("value", "").encode().decode("unicode_escape").encode("latin1")
    assert (tmp_path / "a").read_bytes().startswith(magic)
    windows = (ROOT / "packaging" / "windows" / f"{NAME}.iss").read_text(encoding="utf-8")
    assert f"Classes\\{SUFFIX}\\OpenWithProgids" in windows
    mac = (ROOT / "packaging" / "orderbook_desktop.spec").read_text(encoding="utf-8")
    assert f'["{SUFFIX[1:]}"]' in mac


def test_metadata(bundle: Path) -> None:
    path = bundle / "share" / "metainfo" / f"{NAME}.metainfo.xml"
    root = ET.parse(path).getroot()
    assert root.findtext("name") == TITLE
    assert root.findtext("summary") == SUMMARY
    assert root.findtext("launchable") == f"{NAME}.desktop"
    release = root.find("releases/release")
    assert release is not None
    assert release.get("version") == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", release.get("date") or "")
    if shutil.which("appstreamcli"):
        command = ["appstreamcli", "validate", "--no-net", "--no-color", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.1.0", (0, 1, 0, 0)), ("1.2.3rc4", (1, 2, 3, 4)), ("2", (2, 0, 0, 0))],
)
def test_windows_version_has_four_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers
