"""What a bundle has to put right between its own libraries and those of the system."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# The vendor-neutral front of the graphics driver, each after what it needs. Qt is linked with
# it, though we only ever draw in memory; it belongs to the system, and is on every desktop.
_FRONT_OF_DRIVER: Final = ("libGLdispatch.so.0", "libGLX.so.0", "libGL.so.1", "libEGL.so.1")
_FONT_SETTINGS: Final = Path("/etc/fonts/fonts.conf")


def give_children_their_own() -> None:
    """Let what we start (a mongod, a browser) find its own libraries, not the bundle's."""
    for name in _LIBRARY_PATHS:
        before = os.environ.pop(f"{name}_ORIG", None)
        os.environ.pop(name, None)
        if before:
            os.environ[name] = before


def make_up_for_a_bare_machine() -> None:
    """Use our own copy of what every desktop has, and a server may not."""
    ours = Path(vars(sys)["_MEIPASS"]) / "bare"
    for name in _FRONT_OF_DRIVER:
        if not _loads(name):
            # Qt finds it by its name then. Where that fails too, the window says what is missing.
            with suppress(OSError):
                ctypes.CDLL(str(ours / name), mode=ctypes.RTLD_GLOBAL)
    if not _FONT_SETTINGS.exists():
        os.environ.setdefault("FONTCONFIG_FILE", str(ours / "fonts.conf"))


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
