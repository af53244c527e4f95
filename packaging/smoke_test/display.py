"""A virtual screen, and checks of its picture."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PySide6.QtGui import QImage
from setup_venv import install_packages

_WIDTH: Final = 1600
_HEIGHT: Final = 900
_READY_WITHIN_S: Final = 20.0
# Bids and asks are more blue-green and more orange than all other colours of both themes
# (orderbook_desktop/gui/theme.py).
_APART: Final = 60
_POINTER_SHARE: Final = 0.001
_BOOK_SHARE: Final = 0.001
# Only each fifth row and column is read, so that frequent looks do not slow the program down.
_EVERY: Final = 5


class Screen:
    """An X server's picture, read from the server's file (X11's XWD format)."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._file = file

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the picture as rows of pixels with four bytes: blue, green, red, unused."""
        raw = np.memmap(self._file, np.uint8, "r")
        (head_bytes,), (colours,) = (struct.unpack_from(">I", raw.data, at) for at in (0, 76))
        start = head_bytes + 12 * colours
        return raw[start : start + _WIDTH * _HEIGHT * 4].reshape(_HEIGHT, _WIDTH, 4)

    def is_blank(self) -> bool:
        """Return whether the screen has a single colour, apart from the pointer."""
        rows = self._sample()
        others = (rows != rows[-1, -1]).any(axis=2)
        return float(others.mean()) < _POINTER_SHARE

    def shows_book(self) -> bool:
        """Return whether the screen shows both sides of a book."""
        rows = self._sample().astype(int)
        blue, green, red = (rows[:, :, part] for part in range(3))
        bids = (green - red > _APART) & (blue - red > _APART)
        asks = (red - blue > _APART) & (red - green > _APART // 2)
        return min(float(bids.mean()), float(asks.mean())) > _BOOK_SHARE

    def _sample(self) -> npt.NDArray[np.uint8]:
        return self.pixels()[::_EVERY, ::_EVERY, :3]

    def save(self, path: Path) -> None:
        """Write the picture as a PNG."""
        rows = np.ascontiguousarray(self.pixels())
        image = QImage(rows.tobytes(), _WIDTH, _HEIGHT, QImage.Format.Format_RGB32)
        if not image.save(str(path)):
            raise OSError(f"{path} could not be written")


@contextmanager
def screen(home: Path) -> Iterator[Screen | None]:
    """Give a screen while the context lasts; None on systems whose windows open without one."""
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        yield None
        return
    if not shutil.which("Xvfb"):
        problem = "The smoke test needs Xvfb; on Debian: sudo apt-get install xvfb"
        install_packages(["xvfb"], problem)
    folder = home / "screen"
    folder.mkdir(parents=True)
    reading, writing = os.pipe()
    size = f"{_WIDTH}x{_HEIGHT}x24"
    # Without -noreset the server would restart after its last window, and write a new file.
    options = ["-screen", "0", size, "-fbdir", str(folder), "-nolisten", "tcp", "-noreset"]
    # The server chooses a free number, and writes it when it is ready.
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), *options],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as number_file:
            number = number_file.readline().strip()
        file = folder / "Xvfb_screen0"
        until = time.monotonic() + _READY_WITHIN_S
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        yield Screen(f":{number}", file)
    finally:
        server.terminate()
        server.wait()
