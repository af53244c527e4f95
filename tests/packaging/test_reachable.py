from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bundling.reachable import Entry, slim

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its libraries")


@pytest.fixture
def collected() -> list[Entry]:
    """A collection like PyInstaller's: a plugin in use, an unused plugin, and libraries."""
    from PyInstaller.depend.bindepend import get_imports  # noqa: PLC0415
    from PySide6 import QtSvg  # noqa: PLC0415

    qt = Path(QtSvg.__file__).parent
    plugins = "PySide6/Qt/plugins"
    entries: list[Entry] = [
        ("PySide6/QtSvg.abi3.so", QtSvg.__file__, "EXTENSION"),
        (
            f"{plugins}/imageformats/libqsvg.so",
            f"{qt}/Qt/plugins/imageformats/libqsvg.so",
            "BINARY",
        ),
        (
            f"{plugins}/imageformats/libqgif.so",
            f"{qt}/Qt/plugins/imageformats/libqgif.so",
            "BINARY",
        ),
        ("PySide6/Qt/lib/libQt6Sql.so.6", f"{qt}/Qt/lib/libQt6Sql.so.6", "BINARY"),
        ("libQt6Sql.so.6", "PySide6/Qt/lib/libQt6Sql.so.6", "SYMLINK"),
        ("libQt6Svg.so.6", "PySide6/Qt/lib/libQt6Svg.so.6", "SYMLINK"),
    ]
    found = [(Path(path).name, str(path)) for _, path in get_imports(QtSvg.__file__) if path]
    return entries + [
        (f"PySide6/Qt/lib/{name}" if "Qt6" in name else name, path, "BINARY")
        for name, path in found
    ]


def test_only_linked_libraries_stay(collected: list[Entry]) -> None:
    binaries, _ = slim(collected, [])
    names = {name for name, _, _ in binaries}
    assert {"PySide6/QtSvg.abi3.so", "PySide6/Qt/lib/libQt6Svg.so.6", "libQt6Svg.so.6"} <= names
    assert "PySide6/Qt/plugins/imageformats/libqsvg.so" in names
    assert not any("Sql" in name or "qgif" in name for name in names)


def test_files_for_developers_are_dropped(collected: list[Entry]) -> None:
    datas: list[Entry] = [
        ("PySide6/Qt/translations/qt_de.qm", "/x/qt_de.qm", "DATA"),
        ("PySide6/QtCore.pyi", "/x/QtCore.pyi", "DATA"),
        ("resources/styles/window.qss", "/x/window.qss", "DATA"),
    ]
    assert slim(collected, datas)[1] == [datas[-1]]


def test_a_framework_is_dropped_as_a_whole(collected: list[Entry]) -> None:
    settings: Entry = ("Qt/QtSql.framework/Resources/Info.plist", "/x/Info.plist", "DATA")
    assert slim(collected, [settings])[1] == []
