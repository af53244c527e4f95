"""The container of a packed recording: found by seeking, proven to the last byte, never trusted."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderbook_desktop.formats.packed_file import (
    BOOKMARK_KINDS,
    KINDS,
    TRADE_KINDS,
    DamagedPackedFile,
    NoPackedFile,
    OtherFormat,
    PackedFile,
    PackedFileError,
    PackedWriter,
    is_packed,
)

_FOOTER = 48


def _kinds(form: int) -> dict[str, tuple[str, ...]]:
    """The kinds of records of a format."""
    chosen: dict[str, tuple[str, ...]] = {}
    for kinds in (KINDS, TRADE_KINDS, BOOKMARK_KINDS)[:form]:
        chosen |= kinds
    return chosen


def _written(markets: int = 2, records: int = 3, schema: int = 3, *, form: int = 1) -> bytes:
    """A file of made-up records."""
    chosen, out = random.Random(1), io.BytesIO()
    writer = PackedWriter(out, schema, has_trades=form == 2, has_bookmarks=form == 3)
    for market in range(markets):
        writer.begin(f"M{market}")
        for kind, numbers in _kinds(form).items():
            for number in range(records):
                row = tuple(number * 10 + at for at in range(len(numbers)))
                writer.add(kind, row, chosen.randbytes(chosen.randrange(1, 200)))
        writer.end()
    writer.close()
    assert writer.size == len(out.getvalue())
    return out.getvalue()


def _proven(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with PackedFile(path) as file:
        file.prove()


def _sealed(data: bytes, directory: object) -> bytes:
    """`data` with another directory, whose checksums are right: what a hostile program writes."""
    offset = struct.unpack("<Q", data[-_FOOTER : -_FOOTER + 8])[0]
    packed = msgspec.msgpack.encode(directory)
    size = offset + len(packed) + _FOOTER
    digest = hashlib.blake2b(packed, digest_size=16).digest()
    place = struct.pack("<QQ16sQ", offset, len(packed), digest, size)
    return data[:offset] + packed + place + struct.pack("<I4s", zlib.crc32(place), b"OBD\n")


def _directory(data: bytes) -> list[dict[str, Any]]:
    """The directory of `data`, as it is decoded."""
    offset, length = struct.unpack("<QQ", data[-_FOOTER : -_FOOTER + 16])
    found: list[dict[str, Any]] = msgspec.msgpack.decode(data[offset : offset + length])
    return found


@pytest.mark.parametrize("form", [1, 2, 3])
def test_what_was_written_is_read(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.obd"
    path.write_bytes(_written(form=form))
    chosen = random.Random(1)
    reported: list[tuple[int, int]] = []
    with PackedFile(path) as file:
        assert (file.markets, file.schema, file.size) == (["M0", "M1"], 3, path.stat().st_size)
        for market in file.markets:
            for kind, numbers in _kinds(form).items():
                rows = file.rows(market, kind)
                for number, row in enumerate(rows):
                    assert file.record(row) == chosen.randbytes(chosen.randrange(1, 200))
                    found = tuple(int(row[name]) for name in numbers)
                    assert found == tuple(number * 10 + at for at in range(len(numbers)))
        assert len(file.rows("M2", "chunks")) == 0
        file.prove(lambda done, total: reported.append((done, total)))
    assert reported[-1] == (path.stat().st_size,) * 2
    assert is_packed(path)


def test_an_empty_recording_can_be_read(tmp_path: Path) -> None:
    _proven(tmp_path / "a.obd", _written(markets=0))
    _proven(tmp_path / "a.obd", _written(records=0))


@pytest.mark.parametrize("form", [1, 2, 3])
def test_each_flipped_byte_is_found(tmp_path: Path, form: int) -> None:
    data = _written(markets=1, records=2, form=form)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(PackedFileError):
            _proven(tmp_path / "a.obd", bytes(changed))


def test_each_cut_is_found(tmp_path: Path) -> None:
    data = _written(markets=1, records=1)
    for length in range(len(data)):
        with pytest.raises((NoPackedFile, DamagedPackedFile)):
            _proven(tmp_path / "a.obd", data[:length])
    with pytest.raises(DamagedPackedFile, match=r"is damaged: .*; use another copy of it"):
        _proven(tmp_path / "a.obd", data + b"\0")


def test_another_format_is_named(tmp_path: Path) -> None:
    data = bytearray(_written())
    data[8:12] = struct.pack("<I", 4)
    data[16:20] = struct.pack("<I", zlib.crc32(data[:16]))
    with pytest.raises(OtherFormat, match=r"has format 4, which this version .* a later version"):
        _proven(tmp_path / "a.obd", bytes(data))


@pytest.mark.parametrize("form", [1, 2, 3])
def test_the_tables_are_those_of_the_format(tmp_path: Path, form: int) -> None:
    data = bytearray(_written(form=form))
    data[8:12] = struct.pack("<I", form % 3 + 1)
    data[16:20] = struct.pack("<I", zlib.crc32(data[:16]))
    with pytest.raises(DamagedPackedFile, match="other tables than its format"):
        _proven(tmp_path / "a.obd", bytes(data))


def test_what_is_no_packed_recording_is_named(tmp_path: Path) -> None:
    for name, content, said in (
        ("empty.obd", b"", "is empty"),
        ("text.obd", b"some notes", "is no packed recording"),
        ("zip.obd", b"PK\x03\x04" * 100, "is no packed recording"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NoPackedFile, match=said):
            PackedFile(tmp_path / name)
    with pytest.raises(NoPackedFile, match="does not exist"):
        PackedFile(tmp_path / "none.obd")
    with pytest.raises(NoPackedFile, match="is a folder"):
        PackedFile(tmp_path)
    assert not is_packed(tmp_path)
    assert not is_packed(tmp_path / "none")
    assert is_packed(tmp_path / "none.OBD")


@pytest.mark.parametrize(
    "change",
    [
        lambda market: market.clear(),
        lambda market: market.update(offset=1 << 62),
        lambda market: market["chunks"].__setitem__(0, 1 << 62),
        lambda market: market["chunks"].__setitem__(0, -8),
        lambda market: market["chunks"].__setitem__(1, 1 << 58),
        lambda market: market["chunks"].__setitem__(1, -1),
        lambda market: market["chunks"].__setitem__(1, 2),
        lambda market: market["chunks"].__setitem__(2, b"short"),
        lambda market: market.update(market="M0\x1b[2J"),
        lambda market: market.update(more=1),
    ],
)
def test_a_hostile_directory_takes_no_memory(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    data = _written(markets=1)
    directory = _directory(data)
    change(directory[0])
    tracemalloc.start()
    try:
        with pytest.raises(DamagedPackedFile) as raised:
            _proven(tmp_path / "a.obd", _sealed(data, directory))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert str(raised.value).isprintable()


def test_markets_out_of_order_are_refused(tmp_path: Path) -> None:
    data = _written(markets=2)
    for markets in (_directory(data)[::-1], _directory(data)[:1] * 2):
        with pytest.raises(DamagedPackedFile, match="not in order"):
            _proven(tmp_path / "a.obd", _sealed(data, markets))


def test_rows_that_name_one_record_again_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    writer = PackedWriter(out, 3)
    writer.begin("M0")
    writer.add("segments", (1, 2, 3, 4), b"record")
    writer._rows["segments"] *= 1000
    writer.end()
    writer.close()
    (tmp_path / "a.obd").write_bytes(out.getvalue())
    with (
        PackedFile(tmp_path / "a.obd") as file,
        pytest.raises(DamagedPackedFile, match="do not follow each other"),
    ):
        file.rows("M0", "segments")


def test_bytes_that_no_table_names_are_found(tmp_path: Path) -> None:
    data = _written(markets=2)
    with pytest.raises(DamagedPackedFile, match="is not at byte"):
        _proven(tmp_path / "a.obd", _sealed(data, _directory(data)[1:]))
