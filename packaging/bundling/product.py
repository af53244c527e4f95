"""The names of the product, in one place for the packages of all systems."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent

NAME: Final = "orderbook-desktop"
TITLE: Final = "Orderbook Desktop"
BUNDLE_ID: Final = "io.github.orderbook_desktop.OrderbookDesktop"
SUMMARY: Final = "See the exchange's order book live, and own an honest recording of it"
PUBLISHER: Final = "The Orderbook Desktop founders"
YEARS: Final = "2026"


def version() -> str:
    """Return the version that the package declares."""
    text = (ROOT / "orderbook_desktop" / "core" / "version.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError("orderbook_desktop/core/version.py declares no __version__")
    return found[1]


def archive_name(suffix: str) -> str:
    """Return the name of a download for this system: `orderbook-desktop-1.2.3-linux-x86_64.…`."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return f"{NAME}-{version()}-{system}-{machine}.{suffix}"
