"""Adaptations of a bundled program to the libraries and files of the system."""

import ctypes
import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# The vendor-neutral libraries of the graphics driver; each comes after the ones that it needs. Qt
# is linked with them, although the program draws only in memory. Every desktop has them.
_FRONT_OF_DRIVER: Final = ("libGLdispatch.so.0", "libGLX.so.0", "libGL.so.1", "libEGL.so.1")
_FONT_SETTINGS: Final = Path("/etc/fonts/fonts.conf")
# The certificates of Debian and Arch, of Fedora, of SUSE, and of Alpine and macOS.
_AUTHORITIES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


def give_children_their_own() -> None:
    """Let child processes (a mongod, a browser) load the system's libraries, not the bundle's."""
    for name in _LIBRARY_PATHS:
        before = os.environ.pop(f"{name}_ORIG", None)
        os.environ.pop(name, None)
        if before:
            os.environ[name] = before


def find_certificates() -> None:
    """Let the bundle's OpenSSL find the system's certificates, or else the bundle's.

    By default it looks in the folders of the machine that built it.
    """
    built = ssl.get_default_verify_paths()
    if sys.platform == "win32" or built.cafile or _has_certificates(built.capath):
        return
    ours = Path(vars(sys)["_MEIPASS"]) / "certifi" / "cacert.pem"
    for path in (*_AUTHORITIES, ours):
        if path.exists():
            os.environ["SSL_CERT_FILE"] = str(path)
            return


def _has_certificates(folder: str | None) -> bool:
    return bool(folder) and any(Path(str(folder)).iterdir())


def use_bundled_fallbacks() -> None:
    """Use the bundle's graphics libraries and font if the system has none, like many servers."""
    ours = Path(vars(sys)["_MEIPASS"]) / "bare"
    for name in _FRONT_OF_DRIVER:
        if not _loads(name):
            # Qt then finds the loaded library by its name. If loading fails, the window says so.
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
