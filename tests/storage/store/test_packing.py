from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.storage.store.packing import DamagedDocument, pack, unpack


@given(st.binary())
def test_comes_back_as_it_was(data: bytes) -> None:
    assert unpack(pack(data)) == data


@given(st.binary(min_size=1), st.data())
def test_damage_is_told_and_never_passes(data: bytes, draw: st.DataObject) -> None:
    packed = pack(data)
    at = draw.draw(st.integers(0, len(packed) - 1))
    bit = 1 << draw.draw(st.integers(0, 7))
    damaged = packed[:at] + bytes([packed[at] ^ bit]) + packed[at + 1 :]
    # A flag of the header that nobody reads may change; the data may not.
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
    """A gigabyte of zeros, in 32 kB, would take all the memory there is, at a larger number."""
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
