from __future__ import annotations

import contextlib

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
