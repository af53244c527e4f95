"""Columns of whole numbers come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.archive.tokens import (
    Column,
    fold,
    read_signed,
    read_unsigned,
    unfold,
    write_signed,
    write_unsigned,
)
from orderbook_desktop.core.errors import DamagedChunk

numbers = st.lists(
    st.one_of(
        st.integers(-100, 100),
        st.integers(-(2**63), 2**63 - 1),
        # Where doubles round up to the next power of two.
        st.integers(0, 62).map(lambda bit: 2**bit - 1),
        st.integers(0, 62).map(lambda bit: -(2**bit)),
    )
)


@given(numbers)
def test_any_numbers_come_back(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert read_signed(write_signed(array)).tolist() == values
    assert read_unsigned(write_unsigned(array)).tolist() == values
    assert unfold(fold(array)).tolist() == values


def test_small_numbers_take_a_byte_and_no_bits() -> None:
    column = write_unsigned(np.arange(64))
    assert column == Column(bytes(range(64)), b"")
    assert fold(np.array([0, -1, 1, -2, 2])).tolist() == [0, 1, 2, 3, 4]


def test_a_token_tells_all_but_the_open_bits() -> None:
    # 0b1_0_000101: length 8, first bit 0, open bits 000101.
    assert write_unsigned(np.array([0b10000101])) == Column(bytes([64 + 2]), bytes([0b000101]))
    # The whole range takes 180 tokens.
    assert write_unsigned(np.array([-1])).tokens == bytes([179])


@pytest.mark.parametrize(
    "column",
    [Column(b"\x01", b"\x00"), Column(b"\x41", b""), Column(b"\xb4", b""), Column(b"\xff", b"")],
)
def test_what_does_not_belong_together_is_damage(column: Column) -> None:
    with pytest.raises(DamagedChunk):
        read_unsigned(column)
