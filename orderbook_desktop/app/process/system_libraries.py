"""The system libraries that Qt's wheels expect, and Debian's packages of them.

Imports nothing but the standard library: it is asked before anything of Qt is loaded, and
by `packaging/setup_venv.py` before anything at all is installed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Final

# The NEEDED entries of PySide6's libraries and plugins: to draw at all, and for X besides.
OFFSCREEN: Final = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
}
X_WINDOW: Final = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
}


def missing_packages(libraries: Mapping[str, str]) -> list[str]:
    """Return the packages of those `libraries` that can't be loaded."""
    return sorted({libraries[name] for name in missing_libraries(libraries)})


def missing_libraries(libraries: Iterable[str]) -> list[str]:
    """Return those of `libraries` that can't be loaded."""
    return [name for name in libraries if not _loads(name)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
