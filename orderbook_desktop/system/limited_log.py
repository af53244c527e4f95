"""A log file that cannot fill the disk, nor fail its writer when something else did."""

from __future__ import annotations

import logging
from io import FileIO
from pathlib import Path

log = logging.getLogger(__name__)


class LimitedLog:
    """Appends lines to `path`, keeping `limit` bytes there and as many in `path`.1.

    Where the disk is full or gone, that is told once in the program's own log, and the lines
    are lost. For one thread. Call `close()` when done.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file: FileIO | None = None
        self._size = 0
        self._told = False

    def write(self, line: bytes) -> None:
        """Append `line`, which brings its own line end."""
        try:
            if self._file is not None and self._size + len(line) > self._limit:
                self.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            if self._file is None:
                # Unbuffered: nothing is left to be written, and to fail, when it is closed.
                self._file = FileIO(self._path, "a")
                self._size = self._path.stat().st_size
            self._size += self._file.write(line)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("%s cannot be written: %s", self._path, error)

    def close(self) -> None:
        """Close the file; a later `write()` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
