"""Takes debugging symbols out of Linux libraries that were shipped with them.

Only what is for debuggers, and only from files that are as the linker wrote them: those that
were patched after it (wheels keep them in `NAME.libs`; OpenBLAS is one) do not survive it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def drop_debug_symbols(folder: Path) -> int:
    """Make the libraries below `folder` smaller; return how many bytes that saved."""
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
