"""Which of the collected files the program can reach; the rest is left out of the bundle.

PyInstaller collects what every Qt plugin needs, those included that are not shipped: GTK by
way of a theme, Kerberos by way of the network. What is left here is what the modules and the
plugins that are shipped are linked with, and what these are linked with in turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from PyInstaller.depend.bindepend import get_imports

# Name in the bundle, file on disk, kind: a row of PyInstaller's tables of contents.
Entry = tuple[str, str, str]

# By kind of Qt's plugins, words of the names of those that a window of widgets needs.
_QT_PLUGINS: Final = {
    "platforms": ("xcb", "wayland", "offscreen", "windows", "cocoa"),
    "imageformats": ("svg",),
    "iconengines": ("svgicon",),
    "styles": ("windows", "mac"),
    "platforminputcontexts": ("ibus", "compose"),
    "platformthemes": ("xdgdesktopportal",),
    "wayland-shell-integration": ("xdg-shell",),
    "wayland-decoration-client": ("bradient",),
}


def slim(binaries: Iterable[Entry], datas: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the modules, the plugins in use and the libraries that these need; and the rest.

    The rest goes without what belongs to a library that went, and without Qt's translations,
    QML and development files.
    """
    used = [entry for entry in binaries if _plugin_is_used(PurePath(entry[0]))]
    names = _reached([source for name, source, kind in used if _is_root(name, kind)])
    kept = [entry for entry in used if _key(entry[0]) in names or _is_root(entry[0], entry[2])]
    files = {PurePath(name) for name, _, kind in kept if kind != "SYMLINK"}
    frameworks = {_framework(name) for name, _, _ in kept} | {None}

    def stays(entry: Entry) -> bool:
        name, source, kind = entry
        is_lost = kind == "SYMLINK" and (PurePath(name).parent / source) not in files
        return not is_lost and _framework(name) in frameworks and not _is_spare(PurePath(name))

    return [entry for entry in kept if stays(entry)], [entry for entry in datas if stays(entry)]


def _framework(name: str) -> str | None:
    return next((part for part in PurePath(name).parts if part.endswith(".framework")), None)


def _is_spare(path: PurePath) -> bool:
    if "PySide6" not in path.parts:
        return False
    return "translations" in path.parts or path.suffix in (".qml", ".qmltypes", ".pyi")


def _plugin_is_used(path: PurePath) -> bool:
    if "PySide6" not in path.parts or "plugins" not in path.parts:
        return True
    kind = path.parts[path.parts.index("plugins") + 1]
    return any(word in path.stem.lower() for word in _QT_PLUGINS.get(kind, ()))


def _is_root(name: str, kind: str) -> bool:
    """Tell whether a binary is loaded by name, so that no other binary tells of it."""
    path = PurePath(name)
    is_interpreter = path.name.lower().startswith(("libpython", "python"))
    return kind == "EXTENSION" or "plugins" in path.parts or is_interpreter


def _reached(sources: list[str]) -> set[str]:
    """Return the names of the libraries that `sources` load, directly or not."""
    reached: set[str] = set()
    waiting = list(sources)
    seen: set[str] = set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        for name, path in get_imports(source):
            reached.add(_key(name))
            if path is not None:
                reached.add(_key(str(path)))
                waiting.append(str(path))
    return reached


def _key(name: str) -> str:
    return PurePath(name).name.lower()
