"""Where the files under `resources/` are: in a checkout, an installed wheel or a bundle."""

from __future__ import annotations

import sys
from pathlib import Path


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
