"""Removes debugging symbols from Linux libraries that contain them.

Other symbols stay. Libraries in a `NAME.libs` folder of a wheel, such as OpenBLAS, were patched
after linking, and removing symbols would break them, so they stay as they are.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def drop_debug_symbols(folder: Path) -> int:
    """Remove debugging symbols from libraries below `folder`; return how many bytes that saved."""
    saved = 0
    for path in sorted(folder.rglob("*.so*")):
        if path.is_symlink() or path.parent.name.endswith(".libs") or not _has_symbols(path):
            continue
        before = path.stat().st_size
        subprocess.run(["objcopy", "--strip-debug", str(path)], check=True)
        saved += before - path.stat().st_size
    return saved


def _has_symbols(path: Path) -> bool:
    shown = subprocess.run(
        ["objdump", "--section-headers", str(path)], capture_output=True, text=True, check=False
    )
    return ".debug_info" in shown.stdout
