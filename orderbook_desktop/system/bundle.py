"""What a frozen bundle is, and where the program's resource files are.

A bundle is two executables in one folder, and no Python interpreter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# The second executable of a frozen bundle, in the folder of the first. It is the guard and
# SecantusDB in one, since a bundle has no interpreter for `-m`.
BUNDLED_DATABASE: Final = (
    "orderbook-database.exe" if sys.platform == "win32" else "orderbook-database"
)


def is_frozen() -> bool:
    """Return whether this is a bundle without a Python interpreter of its own."""
    return bool(getattr(sys, "frozen", False))


def bundled_database() -> Path:
    """Return where a frozen bundle has its second executable."""
    return Path(sys.executable).with_name(BUNDLED_DATABASE)


def resource_path(name: str) -> Path:
    """Return the path of the file or folder `name` below `resources/`.

    Raises `FileNotFoundError` where the installation lacks it.
    """
    package = Path(__file__).parents[1]
    bundle = getattr(sys, "_MEIPASS", None)
    homes = [package, package.parent, *([Path(bundle)] if bundle else [])]
    for home in homes:
        path = home / "resources" / name
        if path.exists():
            return path
    raise FileNotFoundError(f"resources/{name} is missing from this installation")
