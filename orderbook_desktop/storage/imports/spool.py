"""The chunks of an import, kept in a temporary file until the whole import has been checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct, field

from orderbook_desktop.core.archive import ArchiveChunk
from orderbook_desktop.storage.errors import folder_error
from orderbook_desktop.storage.imports.runs import FoundRun
from orderbook_desktop.storage.store.packing import PackedChunk, pack_chunk, unpack_chunk

# Where a chunk lies in the spool's file: offset and length in bytes.
ByteRange = tuple[int, int]


class SpooledRun(Struct):
    """A run, and where its chunks lie in the spool."""

    found: FoundRun
    ranges: list[ByteRange] = field(default_factory=list)

    @property
    def market(self) -> str:
        """The market of the run."""
        return self.found.segment.market


class SpoolFile:
    """An unnamed file in `folder`, to which data are appended. Use it as a context manager.

    Raises a `DatabaseError` if the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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

    def append(self, data: bytes) -> ByteRange:
        """Append `data`; return where they lie."""
        try:
            begin = self._file.seek(0, 2)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise folder_error(self._folder, error) from error
        return begin, len(data)

    def data_at(self, byte_range: ByteRange) -> bytes:
        """Return the data that lie at `byte_range`."""
        begin, length = byte_range
        self._file.seek(begin)
        return self._file.read(length)


class Spool(SpoolFile):
    """Keeps chunks in an unnamed file. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runs: list[SpooledRun] = []
        self.loose: list[ByteRange] = []
        # By market: the chunks of the run that has not ended yet.
        self._unfinished: dict[str, list[ByteRange]] = {}

    @property
    def chunk_count(self) -> int:
        """How many chunks the spool holds, loose ones included."""
        return sum(len(run.ranges) for run in self.runs) + len(self.loose)

    def put(self, chunk: ArchiveChunk) -> None:
        """Keep a chunk of its market's unfinished run."""
        self._unfinished.setdefault(chunk.header.market, []).append(self.keep(chunk))

    def put_run(self, found: FoundRun) -> None:
        """Finish its market's run."""
        self.runs.append(SpooledRun(found, self._unfinished.pop(found.segment.market)))

    def put_loose(self, chunk: ArchiveChunk) -> None:
        """Keep a loose chunk."""
        self.loose.append(self.keep(chunk))

    def packed(self, ranges: Iterable[ByteRange]) -> Iterator[PackedChunk]:
        """Iterate over the packed chunks at `ranges`."""
        for chunk_range in ranges:
            data = self.data_at(chunk_range)
            yield PackedChunk(unpack_chunk(data).header, data)

    def chunk_at(self, chunk_range: ByteRange) -> ArchiveChunk:
        """Return the chunk at `chunk_range`."""
        return unpack_chunk(self.data_at(chunk_range))

    def keep(self, chunk: ArchiveChunk) -> ByteRange:
        """Append a chunk to the file; return where it lies."""
        return self.append(pack_chunk(chunk).data)
