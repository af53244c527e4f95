"""What a bundle has to put right between its own libraries and those of the system."""

import ctypes
import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# The vendor-neutral front of the graphics driver, each after what it needs. Qt is linked with
# it, though we only ever draw in memory; it belongs to the system, and is on every desktop.
_FRONT_OF_DRIVER: Final = ("libGLdispatch.so.0", "libGLX.so.0", "libGL.so.1", "libEGL.so.1")
_FONT_SETTINGS: Final = Path("/etc/fonts/fonts.conf")
# Debian's and Arch's, Fedora's, SUSE's, then Alpine's and macOS's.
_AUTHORITIES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


def give_children_their_own() -> None:
    """Let what we start (a mongod, a browser) find its own libraries, not the bundle's."""
    for name in _LIBRARY_PATHS:
        before = os.environ.pop(f"{name}_ORIG", None)
        os.environ.pop(name, None)
        if before:
            os.environ[name] = before


def know_whom_to_trust() -> None:
    """Let our OpenSSL, which looks where it was built, find the system's certificates, or ours."""
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
