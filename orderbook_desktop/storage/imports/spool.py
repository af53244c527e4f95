"""Chunks that wait on disk until everything is known to be good."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from orderbook_desktop.core.archive import ArchiveChunk
from orderbook_desktop.storage.errors import folder_error
from orderbook_desktop.storage.imports.runs import FoundRun
from orderbook_desktop.storage.store.packing import PackedChunk, pack_chunk, unpack_chunk

Place = tuple[int, int]


@dataclass(slots=True)
class SpooledRun:
    """A run, and where its chunks are."""

    found: FoundRun
    places: list[Place] = field(default_factory=list)

    @property
    def market(self) -> str:
        """Whose it is."""
        return self.found.segment.market


class Spool:
    """Keeps chunks in a file without a name in `folder`. Use it as a context manager.

    Raises a `DatabaseError` where that file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.runs: list[SpooledRun] = []
        self.loose: list[Place] = []
        self._folder = folder
        self._going_on: dict[str, list[Place]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise folder_error(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return sum(len(run.places) for run in self.runs) + len(self.loose)

    def put(self, chunk: ArchiveChunk) -> None:
        """Keep a chunk of the run of its market that goes on."""
        self._going_on.setdefault(chunk.header.market, []).append(self.keep(chunk))

    def put_run(self, found: FoundRun) -> None:
        """Note that the run of its market has ended."""
        self.runs.append(SpooledRun(found, self._going_on.pop(found.segment.market)))

    def put_loose(self, chunk: ArchiveChunk) -> None:
        """Keep a loose chunk."""
        self.loose.append(self.keep(chunk))

    def read(self, places: Iterable[Place]) -> Iterator[ArchiveChunk]:
        """Iterate over the chunks at `places`."""
        for place in places:
            yield self.chunk_at(place)

    def packed(self, places: Iterable[Place]) -> Iterator[PackedChunk]:
        """Iterate over the chunks at `places` as they were packed."""
        for place in places:
            data = self._data_at(place)
            yield PackedChunk(unpack_chunk(data).header, data)

    def chunk_at(self, place: Place) -> ArchiveChunk:
        """Return the chunk at `place`."""
        return unpack_chunk(self._data_at(place))

    def _data_at(self, place: Place) -> bytes:
        begin, length = place
        self._file.seek(begin)
        return self._file.read(length)

    def keep(self, chunk: ArchiveChunk) -> Place:
        """Keep a chunk of whatever kind; return where it is."""
        packed = pack_chunk(chunk).data
        try:
            begin = self._file.seek(0, 2)
            self._file.write(packed)
            self._file.flush()
        except OSError as error:
            raise folder_error(self._folder, error) from error
        return begin, len(packed)
