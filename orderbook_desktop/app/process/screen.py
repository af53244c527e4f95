"""A check whether Qt can open a window: its libraries, and a screen. Without them Qt would abort.

This module needs only the standard library: it is used before Qt is loaded, and by
`packaging/setup_venv.py` before any dependency is installed.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError

# The NEEDED entries of PySide6's libraries and plugins: for any drawing, and for X windows.
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

_CONNECT_S: Final = 2.0
_FIRST_X_PORT: Final = 6000
# Qt's platforms that need no display.
_WITHOUT_DISPLAY: Final = frozenset(
    {"offscreen", "minimal", "minimalegl", "vnc", "eglfs", "linuxfb", "vkkhrdisplay"}
)


def missing_packages(libraries: Mapping[str, str]) -> list[str]:
    """Return the packages of the `libraries` that can't be loaded."""
    return sorted({libraries[name] for name in missing_libraries(libraries)})


def missing_libraries(libraries: Iterable[str]) -> list[str]:
    """Return the `libraries` that can't be loaded."""
    return [name for name in libraries if not _loads(name)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class NoScreen(KnownError):
    """There is no screen to open a window on; `reason` says what is missing."""

    reason: str

    def __str__(self) -> str:
        return (
            f"There is no screen for a window ({self.reason}); start it from a desktop session, "
            "or record without a window: orderbook-desktop record BTC/USDT."
        )


class MissingLibraries(KnownError):
    """System libraries that Qt needs for a window are missing; `packages` are Debian's names."""

    packages: list[str]

    def __str__(self) -> str:
        names = " ".join(self.packages)
        return (
            "Qt needs system libraries that are missing; as root, install them with: "
            f"apt-get install {names}"
        )


def check_screen() -> None:
    """Raise `NoScreen` or `MissingLibraries` if Qt could not open a window."""
    if not sys.platform.startswith("linux"):
        return
    _require(OFFSCREEN)
    wanted = os.environ.get("QT_QPA_PLATFORM", "").partition(";")[0].partition(":")[0]
    if wanted in _WITHOUT_DISPLAY:
        return
    if wanted not in ("", "xcb") and not wanted.startswith("wayland"):
        raise NoScreen(f"QT_QPA_PLATFORM names {wanted}, which Qt doesn't know")
    if wanted != "xcb" and _wayland_answers():
        return
    if wanted.startswith("wayland"):
        raise NoScreen("QT_QPA_PLATFORM asks for Wayland, and no compositor answers")
    _check_x(os.environ.get("DISPLAY", ""))


def _check_x(display: str) -> None:
    if not display:
        raise NoScreen("neither DISPLAY nor WAYLAND_DISPLAY names one")
    if not _port_answers(display) or not _x_answers():
        raise NoScreen(f"no X server at DISPLAY={display} accepts this program")
    _require(X_WINDOW)


def _require(libraries: dict[str, str]) -> None:
    missing = missing_packages(libraries)
    if missing:
        raise MissingLibraries(missing)


def _wayland_answers() -> bool:
    name = os.environ.get("WAYLAND_DISPLAY", "")
    if not name:
        return False
    path = Path(os.environ.get("XDG_RUNTIME_DIR", "")) / name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _port_answers(display: str) -> bool:
    """Whether a remote X server can be reached within `_CONNECT_S`; Xlib would wait for minutes."""
    host, _, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    if host in ("", "unix") or host.startswith("/") or not number.isdecimal():
        return True
    try:
        with socket.create_connection((host, _FIRST_X_PORT + int(number)), _CONNECT_S):
            return True
    except (OSError, OverflowError):
        return False


def _x_answers() -> bool:
    """Whether the X server of DISPLAY accepts us, by the library that Qt uses."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError as error:
        raise MissingLibraries(["libxcb1"]) from error
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    try:
        return not xcb.xcb_connection_has_error(connection)
    finally:
        xcb.xcb_disconnect(connection)
