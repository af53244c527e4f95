"""Arrow streams, taken by a reader that is not ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import arro3.core
import arro3.io
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.formats.arrow_stream import (
    ArrowStream,
    Batch,
    Column,
    bits,
    int128s,
    words,
)

_LARGEST = 10**38 - 1
_COLUMNS = (Column("id", "l"), Column("flag", "b"), Column("side", "u"), Column("price", "d:38,8"))


def _batch(first: int, length: int) -> Batch:
    ids = np.arange(first, first + length)
    odd = ids % 2 == 1
    return length, ((ids,), (bits(odd),), words(odd, ("bid", "ask")), (int128s(ids),))


def _read(stream: ArrowStream) -> Any:
    return arro3.core.Table.from_arrow(stream)


def test_batches_come_whole_and_in_order() -> None:
    stream = ArrowStream(_COLUMNS, iter([_batch(0, 5), _batch(5, 1), _batch(6, 1_000)]))
    table = _read(stream)
    ids = list(range(1_006))
    assert table["id"].to_pylist() == ids
    assert table["flag"].to_pylist() == [one % 2 == 1 for one in ids]
    assert table["side"].to_pylist() == ["ask" if one % 2 else "bid" for one in ids]
    assert table["price"].to_pylist() == [Decimal(one).scaleb(-8) for one in ids]
    assert not any(field.nullable for field in table.schema)


def test_everything_that_was_lent_is_released() -> None:
    stream = ArrowStream(_COLUMNS, iter([_batch(0, 100), _batch(100, 100)]))
    table = _read(stream)
    assert stream.lent == 2
    assert table.num_rows == 200
    del table
    assert stream.lent == 0
    unread = ArrowStream(_COLUMNS, iter([_batch(0, 100)]))
    arro3.core.RecordBatchReader.from_stream(unread)
    assert unread.lent == 0


def test_a_failure_among_the_batches_is_kept() -> None:
    def failing() -> Iterator[Batch]:
        yield _batch(0, 3)
        raise ZeroDivisionError("mine")

    stream = ArrowStream(_COLUMNS, failing())
    with pytest.raises(Exception, match="no more of it can be had"):
        arro3.io.write_parquet(stream, io.BytesIO())
    assert isinstance(stream.failure, ZeroDivisionError)
    assert stream.lent == 0


@given(st.lists(st.integers(0, _LARGEST), min_size=1), st.integers(0, 38))
def test_decimals_of_any_size_and_scale_are_exact(values: list[int], scale: int) -> None:
    column = (int128s(np.array(values, dtype=object)),)
    stream = ArrowStream([Column("value", f"d:38,{scale}")], iter([(len(values), (column,))]))
    assert _read(stream)["value"].to_pylist() == [Decimal(f"{value}e-{scale}") for value in values]


def test_both_kinds_of_arrays_give_the_same_numbers() -> None:
    values = [0, 1, 2**31, 2**63 - 1]
    assert int128s(np.array(values)).tobytes() == int128s(np.array(values, object)).tobytes()
