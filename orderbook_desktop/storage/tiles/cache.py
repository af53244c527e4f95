"""The folder of tiles: each a file that appears whole, and that any program may delete.

The name of a file says what it is made of: the chunk's checksum, and from when its first book
stands. So a tile never has to be compared with the recording: what changed has another name. Two
programs that build the same tile write the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.storage.tiles.tile_file import DamagedTile, decode_tile, encode_tile

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".tile"
_NAMED: Final = re.compile(
    r"(?P<bin>\d+)-(?P<step>\d+)e-(?P<exponent>\d+)-(?P<statistic>last|max|integral)/"
    r"(?P<minute>\d+)-(?P<from>\d+)-(?P<checksum>[0-9a-f]+)\.tile"
)
_PART: Final = ".part"
_MINUTES_A_DAY: Final = 1_440
# Tiles of such bins are small, and show months: they go last.
_COARSE_MS: Final = 256_000
# So much of the limit is left after a removal, in percent.
_KEPT_PERCENT: Final = 90


class TileKey(Struct, frozen=True):
    """What a tile is made of, and how: a chunk of `market` that begins in `minute`.

    `checksum` is the chunk's, and `from_ms` when its first book begins to stand.
    """

    market: str
    statistic: Statistic
    bin_ms: int
    step: int
    exponent: int
    minute: int
    from_ms: int
    checksum: bytes


class TileCache:
    """The tiles of one database, below `folder`, where all tiles take at most `limit` bytes.

    `place` names the database or the packed file. No method raises: where a tile can't be read or
    written, there is none.
    """

    def __init__(self, folder: Path, place: str, limit: int) -> None:
        self._all = folder
        self._own = folder / hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        self._limit = limit
        self._has_written = False

    @property
    def has_room(self) -> bool:
        """Whether tiles are kept at all."""
        return self._limit > 0

    def get(self, key: TileKey) -> Heatmap | None:
        """Return a tile, if it is there; a damaged one is deleted."""
        path = self._path(key)
        try:
            return decode_tile(path.read_bytes())
        except OSError:
            return None
        except DamagedTile as error:
            _log.info("%s: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None

    def put(self, key: TileKey, tile: Heatmap) -> None:
        """Keep a tile, unless there is no room for it."""
        data = encode_tile(tile)
        if len(data) > self._limit:
            return
        path = self._path(key)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It is not forced to the disk: after a crash its checksum tells.
            beside.write_bytes(data)
            beside.replace(path)
            self._has_written = True
        except OSError as error:
            _log.info("a tile of the heatmap was not written: %s", error)
            with suppress(OSError):
                beside.unlink()

    def kept(self, market: str) -> dict[TileKey, Path]:
        """Return the tiles of `market`, each with its file."""
        found = ((self._key_of(market, path), path) for path in self._files(self._folder(market)))
        return {key: path for key, path in found if key is not None}

    @staticmethod
    def _key_of(market: str, path: Path) -> TileKey | None:
        named = _NAMED.fullmatch(f"{path.parent.name}/{path.name}")
        if named is None:
            return None
        return TileKey(
            market,
            Statistic(named["statistic"]),
            int(named["bin"]),
            int(named["step"]),
            int(named["exponent"]),
            int(named["minute"]),
            int(named["from"]),
            bytes.fromhex(named["checksum"]),
        )

    def forget_before(self, market: str, minute: int) -> int:
        """Delete the tiles of `market` of chunks before `minute`, as retention has removed these.

        Returns how many these were.
        """
        old = [path for path in self._files(self._folder(market)) if _minute(path) < minute]
        return sum(map(_removed, old))

    def trim(self) -> int:
        """Delete tiles until all of them, of any database, are within the limit; return how many.

        Fine ones go first, of these the oldest; the newest day and coarse ones go last.
        """
        if not self._has_written:
            return 0
        self._has_written = False
        sizes = {path: size for path in self._files(self._all) if (size := _size(path))}
        total, removed = sum(sizes.values()), 0
        if total <= self._limit:
            return 0
        newest = max(map(_minute, sizes))
        for path in sorted(sizes, key=lambda path: _worth(path, newest)):
            if total <= self._limit * _KEPT_PERCENT // 100:
                break
            removed += _removed(path)
            total -= sizes[path]
        return removed

    def _path(self, key: TileKey) -> Path:
        level = f"{key.bin_ms}-{key.step}e-{key.exponent}-{key.statistic}"
        name = f"{key.minute:010}-{key.from_ms}-{key.checksum.hex()}{_SUFFIX}"
        return self._folder(key.market) / level / name

    def _folder(self, market: str) -> Path:
        return self._own / quote(market, safe="")

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        """Yield the tiles in `folder` and below, and what is left of incomplete ones."""
        for place, _, names in os.walk(folder):
            for name in names:
                if name.endswith((_SUFFIX, _PART)):
                    yield Path(place, name)


def _minute(path: Path) -> int:
    digits = path.name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _worth(path: Path, newest_minute: int) -> tuple[bool, bool, int]:
    """Return how long a tile is to be kept, compared with others."""
    minute, bin_text = _minute(path), path.parent.name.partition("-")[0]
    is_coarse = bin_text.isdecimal() and int(bin_text) >= _COARSE_MS
    is_new = minute > newest_minute - _MINUTES_A_DAY
    return path.suffix == _SUFFIX, is_coarse or is_new, minute


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
