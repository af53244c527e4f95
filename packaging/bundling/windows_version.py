"""The version resource of the Windows executables."""

from __future__ import annotations

import re
from typing import Any

from bundling.product import PUBLISHER, SUMMARY, TITLE, YEARS, version


def version_info(executable: str) -> Any:
    """Return PyInstaller's `VSVersionInfo` for the executable of that name."""
    # This module exists on Windows only.
    from PyInstaller.utils.win32 import versioninfo as win  # noqa: PLC0415

    numbers = version_numbers(version())
    texts = {
        "CompanyName": PUBLISHER,
        "FileDescription": TITLE if "desktop" in executable else f"{TITLE}: database server",
        "FileVersion": version(),
        "InternalName": executable,
        "LegalCopyright": f"{YEARS} {PUBLISHER}",
        "OriginalFilename": f"{executable}.exe",
        "ProductName": TITLE,
        "ProductVersion": version(),
        "Comments": SUMMARY,
    }
    table = win.StringTable("040904B0", [win.StringStruct(*item) for item in texts.items()])
    return win.VSVersionInfo(
        ffi=win.FixedFileInfo(filevers=numbers, prodvers=numbers),
        kids=[
            win.StringFileInfo([table]),
            win.VarFileInfo([win.VarStruct("Translation", [0x0409, 0x04B0])]),
        ],
    )


def version_numbers(text: str) -> tuple[int, int, int, int]:
    """Return the four numbers of a version such as `1.2.3` or `1.2.3rc1`."""
    numbers = [int(part) for part in re.findall(r"\d+", text)][:4]
    first, second, third, fourth = (*numbers, 0, 0, 0, 0)[:4]
    return first, second, third, fourth
