"""The folder of tiles: blocks in files that appear whole, and that any program may delete.

Two programs that build the same block write the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.storage.tiles.block_file import DamagedTile, decode_block, encode_block
from orderbook_desktop.storage.tiles.levels import BlockKey, Level

_log = logging.getLogger(__name__)

_FOLDER: Final = "tiles"
_BYTES_A_GB: Final = 1_000_000_000
# More than any tile takes.
_BYTES_AT_MOST: Final = 1 << 28
_SUFFIX: Final = ".tile"
_NAMED: Final = re.compile(
    r"(?P<bin>\d+)-(?P<step>\d+)e-(?P<exponent>\d+)-(?P<statistic>max|integral)/"
    r"(?P<from>\d+)-(?P<digest>[0-9a-f]+)\.tile"
)
_PART: Final = ".part"
_GRID: Final = "grid.json"
_DAY_S: Final = 86_400
# Tiles of such bins are small, and show months: they go last.
COARSE_MS: Final = 256_000
# So much of the limit is left after a removal, and above so much the cache is nearly full.
_KEPT_PERCENT: Final = 90
_NEARLY_FULL_PERCENT: Final = 85
# Sizes are added up again once so much was written.
_LOOK_PERCENT: Final = 1


class TileCache:
    """The tiles of one database, below `folder`, where all tiles take at most `limit` bytes.

    `place` names the database or the packed file. No method raises: where a tile can't be read or
    written, there is none.
    """

    def __init__(self, folder: Path, place: str, limit: int) -> None:
        self._all = folder
        self._own = folder / hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        self._limit = limit
        self._written = 0
        self.problem = ""

    @classmethod
    def of_database(cls, data_dir: Path, dsn: str, name: str, gigabytes: float) -> TileCache:
        """Return the tiles of a database: of the server at `dsn`, or the program's own if empty."""
        return cls(data_dir / _FOLDER, f"{dsn or data_dir} {name}", round(gigabytes * _BYTES_A_GB))

    @classmethod
    def of_file(cls, data_dir: Path, file: Path, gigabytes: float) -> TileCache:
        """Return the tiles of a packed file."""
        return cls(data_dir / _FOLDER, str(file.resolve()), round(gigabytes * _BYTES_A_GB))

    @property
    def has_room(self) -> bool:
        """Whether tiles are kept at all."""
        return self._limit > 0

    def get(self, key: BlockKey, rows: tuple[int, int] | None = None) -> Section | None:
        """Return a block, if it is there, or these rows of it; a damaged one is deleted.

        So is one of another name that was copied there.
        """
        path = self._path(key)
        try:
            return _read(path, key, rows)
        except OSError:
            return None
        except DamagedTile as error:
            _log.info("%s: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None

    def put(self, key: BlockKey, section: Section) -> bool:
        """Keep a block; return whether there is room for it. What it had another name for goes.

        If it can't be written, `problem` says why.
        """
        data = encode_block(section)
        if len(data) > self._limit:
            return False
        path = self._path(key)
        for old in self._beginning_with(path.parent, f"{path.name.partition('-')[0]}-"):
            if old != path:
                _removed(old)
        self.problem = self._write(path, data)
        if not self.problem:
            self._written += len(data)
        return True

    @staticmethod
    def _write(path: Path, data: bytes) -> str:
        """Write a file; return why that was not possible, or nothing."""
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It is not forced to the disk: after a crash its checksum tells.
            beside.write_bytes(data)
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            return f"{path.parent}: {error.strerror or error}"
        return ""

    def grid(self, market: str) -> PriceGrid | None:
        """Return the price grid that was fixed for `market`, if it is known."""
        try:
            data = (self._folder(market) / _GRID).read_bytes()
            grid = msgspec.json.decode(data, type=PriceGrid)
        except (OSError, msgspec.DecodeError):
            return None
        return grid if grid.is_possible else None

    def fix_grid(self, market: str, grid: PriceGrid) -> PriceGrid:
        """Fix the grid of `market`, unless another program has just done so; return what is."""
        if not self.has_room:
            return grid
        known = self.grid(market)
        if known is None:
            self._write(self._folder(market) / _GRID, msgspec.json.encode(grid))
        return known or grid

    def kept(self, market: str) -> set[BlockKey]:
        """Return the keys of the blocks of `market`."""
        found = (self._key_of(market, path) for path in self._files(self._folder(market)))
        return {key for key in found if key is not None}

    def kept_of(self, market: str, level: Level) -> set[BlockKey]:
        """Return the keys of the blocks of one level."""
        folder = self._level_folder(market, level)
        found = (self._key_of(market, path) for path in self._beginning_with(folder, ""))
        return {key for key in found if key is not None}

    @staticmethod
    def _key_of(market: str, path: Path) -> BlockKey | None:
        named = _NAMED.fullmatch(f"{path.parent.name}/{path.name}")
        if named is None:
            return None
        level = Level(
            int(named["bin"]),
            int(named["step"]),
            int(named["exponent"]),
            Statistic(named["statistic"]),
        )
        return BlockKey(market, level, int(named["from"]) * 1000, named["digest"])

    def keep_only(self, market: str, wanted: Collection[BlockKey]) -> int:
        """Delete blocks of `market` that are not `wanted`, and what is left of older versions.

        Returns how many these were. Where none is wanted the grid goes, too.
        """
        folder, removed = self._folder(market), 0
        for path in self._files(folder):
            if path.suffix == _SUFFIX and self._key_of(market, path) not in wanted:
                removed += _removed(path)
        if not wanted:
            _removed(folder / _GRID)
        return removed

    def has(self, key: BlockKey) -> bool:
        """Whether a block is there; it may be damaged."""
        return self._path(key).exists()

    def size(self, key: BlockKey) -> int:
        """Return how many bytes a block takes; 0: it is not there."""
        return _size(self._path(key))

    def remove(self, key: BlockKey) -> None:
        """Delete a block."""
        _removed(self._path(key))

    @property
    def is_nearly_full(self) -> bool:
        """Whether so much is there that old tiles, if they were built, would soon go again."""
        return sum(map(_size, self._files(self._all))) > self._percent(_NEARLY_FULL_PERCENT)

    def _percent(self, part: int) -> int:
        return self._limit * part // 100

    def trim(self) -> int:
        """Delete tiles until all of them, of any database, are within the limit; return how many.

        Fine ones go first, of these the oldest; the newest day and coarse ones go last.
        """
        if self._written < self._percent(_LOOK_PERCENT):
            return 0
        self._written = 0
        sizes = {path: size for path in self._files(self._all) if (size := _size(path))}
        total, removed = sum(sizes.values()), 0
        if total <= self._percent(100 - _LOOK_PERCENT):
            return 0
        newest = max(map(_begins_s, sizes))
        for path in sorted(sizes, key=lambda path: _worth(path, newest)):
            if total <= self._percent(_KEPT_PERCENT):
                break
            removed += _removed(path)
            total -= sizes[path]
        return removed

    def _path(self, key: BlockKey) -> Path:
        name = f"{key.from_ms // 1000:011}-{key.digest}{_SUFFIX}"
        return self._level_folder(key.market, key.level) / name

    def _level_folder(self, market: str, level: Level) -> Path:
        name = f"{level.bin_ms}-{level.step}e-{level.exponent}-{level.statistic}"
        return self._folder(market) / name

    def _folder(self, market: str) -> Path:
        return self._own / quote(market, safe="")

    @staticmethod
    def _beginning_with(folder: Path, begin: str) -> list[Path]:
        """Return the tiles in `folder` whose names begin like that."""
        try:
            found = [path for path in folder.iterdir() if path.name.startswith(begin)]
        except OSError:
            return []
        return [path for path in found if path.suffix == _SUFFIX]

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        """Yield the tiles in `folder` and below, and what is left of incomplete ones."""
        for place, _, names in os.walk(folder):
            for name in names:
                if name.endswith((_SUFFIX, _PART)):
                    yield Path(place, name)


def _read(path: Path, key: BlockKey, rows: tuple[int, int] | None) -> Section:
    # What is no file might never end.
    if path.exists() and not (path.is_file() and _size(path) <= _BYTES_AT_MOST):
        raise DamagedTile("it is too long")
    section = decode_block(path.read_bytes(), rows)
    heatmap = section.heatmap
    level = Level(heatmap.bin_ms, heatmap.step, heatmap.scale.price, heatmap.statistic)
    if (heatmap.market, level, heatmap.to_ms) != (key.market, key.level, key.to_ms):
        raise DamagedTile("it is one of another name")
    return section


def _begins_s(path: Path) -> int:
    digits = path.name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _worth(path: Path, newest_s: int) -> tuple[bool, bool, bool, int]:
    """Return how long a tile is to be kept, compared with others."""
    begins_s, bin_text = _begins_s(path), path.parent.name.partition("-")[0]
    is_coarse = bin_text.isdecimal() and int(bin_text) >= COARSE_MS
    is_new = begins_s > newest_s - _DAY_S
    return path.suffix == _SUFFIX, is_coarse or is_new, is_coarse, begins_s


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
