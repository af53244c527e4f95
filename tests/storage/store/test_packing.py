from __future__ import annotations

import contextlib
import gzip
import hashlib
import random
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    DamagedChunk,
    decode_chunk,
    encode_chunk,
    encode_loose,
    encode_minutes,
)
from orderbook_desktop.core.archive.tokens import Column
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.exchange.local import write_capture
from orderbook_desktop.storage.store import packing as archive_packing
from orderbook_desktop.storage.store.packing import (
    DamagedDocument,
    chunk_document,
    chunk_of,
    pack,
    pack_chunk,
    unpack,
    unpack_chunk,
)
from tests.core.archive.runs import Run, runs


@given(st.binary())
def test_comes_back_as_it_was(data: bytes) -> None:
    assert unpack(pack(data)) == data


@given(st.binary(min_size=1), st.data())
def test_damage_is_reported_and_never_passes(data: bytes, draw: st.DataObject) -> None:
    packed = pack(data)
    at = draw.draw(st.integers(0, len(packed) - 1))
    bit = 1 << draw.draw(st.integers(0, 7))
    damaged = packed[:at] + bytes([packed[at] ^ bit]) + packed[at + 1 :]
    # An unused flag of the header may change; the data may not.
    with contextlib.suppress(DamagedDocument):
        assert unpack(damaged) == data


@given(st.binary(min_size=1), st.data())
def test_a_part_is_damaged(data: bytes, draw: st.DataObject) -> None:
    packed = pack(data)
    with pytest.raises(DamagedDocument, match="damaged"):
        unpack(packed[: draw.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize("packed", [None, "text", 5, {}])
def test_another_type_is_damaged(packed: object) -> None:
    with pytest.raises(DamagedDocument):
        unpack(packed)  # type: ignore[arg-type]


def test_an_immodest_size_is_damaged() -> None:
    frame = b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(DamagedDocument):
        unpack(frame)


@pytest.mark.parametrize("at_most", [1 << 10, 1 << 20])
def test_what_unpacks_to_more_than_it_may_is_damaged(at_most: int) -> None:
    assert unpack(pack(bytes(at_most)), at_most) == bytes(at_most)
    with pytest.raises(DamagedDocument, match=f"unpacks to more than {at_most:,} bytes"):
        unpack(pack(bytes(at_most + 1)), at_most)


def test_a_bomb_is_damaged_before_it_is_unpacked() -> None:
    """A gigabyte of zeros takes 32 kB packed; more of it would fill all memory."""
    packed = pack(bytes(1 << 30))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedDocument, match="unpacks to more than"):
            unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()


@given(st.integers(200, 600), st.binary(min_size=1, max_size=300))
def test_what_follows_is_damage(size: int, junk: bytes) -> None:
    packed = pack(random.Random(size).randbytes(size))
    assert len(unpack(packed)) == size
    with pytest.raises(DamagedDocument):
        unpack(packed + junk)


def recorded(lines: list[bytes]) -> tuple[BookImage, list[DepthDiff]]:
    """Return the first book of a collector, and the events after it."""
    sync, waiting = DepthSync(), []
    snapshot: DepthSnapshot | None = None
    for line in lines:
        received, text = line.strip().split(b" ", 1)
        if text.startswith(b'{"lastUpdateId"'):
            snapshot = decode_snapshot(text, "BTCUSDT")
        elif isinstance(message := decode_frame(text, int(received)), DepthDiff):
            waiting.append(message)
    assert snapshot is not None
    sync.receive_snapshot(snapshot)
    start = image_of(sync.book, "BTCUSDT")
    return start, [diff for diff in waiting if isinstance(sync.receive_diff(diff)[0], Applied)]


def synthetic(tmp_path: Path, seconds: float, levels: int) -> tuple[BookImage, list[DepthDiff]]:
    path = write_capture(
        tmp_path / "market.jsonl",
        seed=5,
        seconds=seconds,
        snapshot_levels=levels,
        streams=["depth@100ms"],
    )
    return recorded(path.read_bytes().splitlines())


@given(runs("any"))
def test_a_chunk_comes_back(run: Run) -> None:
    for chunk in (encode_chunk(run.start, run.events), encode_loose(run.events)):
        assert unpack_chunk(pack_chunk(chunk).data) == chunk
        assert chunk_of(chunk_document(pack_chunk(chunk), 7)) == chunk


def test_every_byte_counts(tmp_path: Path) -> None:
    packed = pack_chunk(encode_chunk(*synthetic(tmp_path, 5, 100))).data
    for at in range(len(packed)):
        for flipped in (0x01, 0x80, 0xFF):
            damaged = bytearray(packed)
            damaged[at] ^= flipped
            with pytest.raises(DamagedChunk):
                unpack_chunk(bytes(damaged))
    for damaged_size in (packed[:-1], packed + b"\0", packed[1:], packed[:5], b""):
        with pytest.raises(DamagedChunk):
            unpack_chunk(damaged_size)


def test_a_chunk_that_is_a_bomb_is_damaged_before_it_is_unpacked(tmp_path: Path) -> None:
    data = pack_chunk(encode_chunk(*synthetic(tmp_path, 2, 20))).data
    chunk = msgspec.msgpack.decode(data[16:], type=ArchiveChunk)
    megabyte, count = bytes(1 << 20), 300
    compressor = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(
            1, format=zstandard.FORMAT_ZSTD1_MAGICLESS
        )
    ).compressobj(size=count << 20)
    frame = b"".join(compressor.compress(megabyte) for _ in range(count)) + compressor.flush()
    # It says that it unpacks to ten bytes.
    lying = frame.replace((count << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"), 1)
    for tokens in (frame, lying, frame[:8], b""):
        column = Column(b"\1" + tokens, b"")
        events = replace(chunk.columns.events, id_steps=column)
        changed = ArchiveChunk(chunk.header, replace(chunk.columns, events=events))
        body = msgspec.msgpack.encode(changed)
        tracemalloc.start()
        try:
            with pytest.raises(DamagedChunk):
                unpack_chunk(hashlib.blake2b(body, digest_size=16).digest() + body)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()


def test_a_document_that_tells_something_else_is_damaged(tmp_path: Path) -> None:
    document = chunk_document(pack_chunk(encode_chunk(*synthetic(tmp_path, 2, 20))), 7)
    for name in document.keys() - {"data"}:
        for changed in ({**document, name: -7}, {k: v for k, v in document.items() if k != name}):
            with pytest.raises(DamagedChunk, match=name):
                chunk_of(changed)


def test_contents_that_contradict_each_other_are_damage_and_no_other_error(tmp_path: Path) -> None:
    chunk = encode_chunk(*synthetic(tmp_path, 2, 20))
    found = 0
    for group in chunk.columns.__struct_fields__:
        columns = getattr(chunk.columns, group)
        for name in columns.__struct_fields__:
            column = getattr(columns, name)
            for tokens in (column.tokens[:-1], column.tokens + b"\1", b"\x3f" + column.tokens[1:]):
                changed = {name: msgspec.structs.replace(column, tokens=tokens)}
                changed = {group: msgspec.structs.replace(columns, **changed)}
                damaged = ArchiveChunk(
                    chunk.header, msgspec.structs.replace(chunk.columns, **changed)
                )
                try:
                    _ = decode_chunk(damaged).changes
                except DamagedChunk:
                    found += 1
    assert found > 40


def test_other_formats_are_refused(tmp_path: Path) -> None:
    chunk = encode_chunk(*synthetic(tmp_path, 2, 20))
    later = msgspec.structs.replace(chunk.header, schema_version=9)
    with pytest.raises(DamagedChunk, match="format is 9"):
        decode_chunk(ArchiveChunk(later, chunk.columns))
    body = msgspec.msgpack.encode({"no": "chunk"})
    with pytest.raises(DamagedChunk):
        unpack_chunk(archive_packing._checksum(body) + body)


def test_a_synthetic_market_takes_less_than_its_gzip(tmp_path: Path) -> None:
    start, events = synthetic(tmp_path, 90, 1000)
    packed = [pack_chunk(chunk).data for chunk, _ in encode_minutes(start, events)]
    lines = b"".join(event.payload + b"\n" for event in events)
    assert sum(map(len, packed)) < 0.7 * len(gzip.compress(lines, 9))
