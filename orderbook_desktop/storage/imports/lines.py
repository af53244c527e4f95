"""Lines of a file, plain or gzipped, with errors told as the person needs them."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import IO, Final, cast

from orderbook_desktop.core.received import UnusableFile

_GZIP: Final = b"\x1f\x8b"
# A line of depth data; what is longer is no such file.
_LONGEST_LINE: Final = 64 << 20


def read_lines(path: Path) -> Generator[tuple[int, bytes]]:
    """Iterate over (number, line without its end) of the file; empty lines are passed over.

    Raises `UnusableFile`. Close it.
    """
    number = 0
    try:
        with _open(path) as file:
            while raw := file.readline(_LONGEST_LINE):
                number += 1
                if number == 1:
                    raw = raw.removeprefix(BOM_UTF8)
                if line := raw.rstrip(b"\r\n"):
                    yield number, line
    except FileNotFoundError as error:
        raise UnusableFile(path, "does not exist") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnusableFile(path, "is damaged or cut off in its gzip data", number + 1) from error
    except OSError as error:
        raise UnusableFile(path, f"cannot be read ({error.strerror})") from error


def first_line(path: Path) -> bytes:
    """Return the first line that isn't empty; raises `UnusableFile` where there is none."""
    with closing(read_lines(path)) as lines:
        for _, line in lines:
            return line
    raise UnusableFile(path, "is empty")


def _open(path: Path) -> IO[bytes]:
    """Open by content, not by name."""
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP)) == _GZIP
    return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")
