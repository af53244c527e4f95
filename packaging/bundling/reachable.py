"""Finds the collected files that the program can reach; the bundle leaves out the others.

PyInstaller collects the libraries of all Qt plugins, also of plugins that the bundle leaves out:
GTK for a theme, Kerberos for the network. The bundle contains the modules, the plugins in use,
and the libraries that these load, directly or through other libraries.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from PyInstaller.depend.bindepend import get_imports

# A row of PyInstaller's tables of contents: name in the bundle, file on disk, kind.
Entry = tuple[str, str, str]

# For each kind of Qt's plugins, parts of the names of plugins that a window of widgets needs.
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
    """Return the reachable `binaries`, and the `datas` that the program needs.

    Links to removed libraries, files of removed frameworks, and Qt's translations, QML and
    development files are left out of both.
    """
    used = [entry for entry in binaries if _plugin_is_used(PurePath(entry[0]))]
    names = _reached([source for name, source, kind in used if _is_root(name, kind)])
    reachable = [entry for entry in used if _key(entry[0]) in names or _is_root(entry[0], entry[2])]
    files = {PurePath(name) for name, _, kind in reachable if kind != "SYMLINK"}
    frameworks = {_framework(name) for name, _, _ in reachable} | {None}

    def stays(entry: Entry) -> bool:
        name, source, kind = entry
        is_lost = kind == "SYMLINK" and (PurePath(name).parent / source) not in files
        return not is_lost and _framework(name) in frameworks and not _is_spare(PurePath(name))

    return [entry for entry in reachable if stays(entry)], [
        entry for entry in datas if stays(entry)
    ]


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
    """Return whether a binary is loaded by its name, so that no other binary's links lead to it."""
    path = PurePath(name)
    is_interpreter = path.name.lower().startswith(("libpython", "python"))
    return kind == "EXTENSION" or "plugins" in path.parts or is_interpreter


def _reached(sources: list[str]) -> set[str]:
    """Return the names of the libraries that `sources` load, directly or not."""
    reached: set[str] = set()
    waiting = list(sources)
    examined: set[str] = set()
    while waiting:
        source = waiting.pop()
        if source in examined:
            continue
        examined.add(source)
        for name, path in get_imports(source):
            reached.add(_key(name))
            if path is not None:
                reached.add(_key(str(path)))
                waiting.append(str(path))
    return reached


def _key(name: str) -> str:
    return PurePath(name).name.lower()
