"""Columns that contradict each other are damage, told by name, and never a wrong book."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    DamagedChunk,
    decode_chunk,
    encode_chunk,
)
from orderbook_desktop.core.archive.tokens import Column, write_unsigned
from orderbook_desktop.core.events import decode_diff
from tests.core.archive.runs import run_of, spelt
from tests.core.reference_book import snapshot_payload

A, B, C = "1.00000000", "1.10000000", "1.20000000"
SIZE, OTHER, NONE = "0.50000000", "0.70000000", "0.00000000"


def a_chunk(*events: list[tuple[str, str]]) -> ArchiveChunk:
    payloads = [spelt(n, n, 100 * n, bids, []) for n, bids in enumerate(events, start=2)]
    snapshot = snapshot_payload([("0.90000000", SIZE)], [("2.00000000", OTHER)], 1)
    run = run_of(snapshot, [decode_diff(payload, 1) for payload in payloads])
    return encode_chunk(run.start, run.events)


def with_column(chunk: ArchiveChunk, group: str, name: str, tokens: bytes) -> ArchiveChunk:
    columns = getattr(chunk.columns, group)
    assert getattr(columns, name).tokens != tokens
    columns = msgspec.structs.replace(columns, **{name: Column(tokens)})
    return ArchiveChunk(chunk.header, msgspec.structs.replace(chunk.columns, **{group: columns}))


def check_told(chunk: ArchiveChunk, reason: str) -> None:
    with pytest.raises(DamagedChunk, match=reason) as caught:
        _ = decode_chunk(chunk).changes
    assert str(caught.value).startswith("An archived minute of the recording is damaged (")


def test_counts_of_bids_and_asks_must_be_right() -> None:
    chunk = a_chunk([(A, SIZE)])
    header = msgspec.structs.replace(chunk.header, bid_count=2, ask_count=0)
    check_told(ArchiveChunk(header, chunk.columns), "bids are not as many")


def test_counts_of_changes_must_be_right() -> None:
    chunk = a_chunk([(A, SIZE)], [(A, OTHER)])
    header = msgspec.structs.replace(chunk.header, change_count=3)
    check_told(ArchiveChunk(header, chunk.columns), "changes are missing")


def test_changes_must_lie_within_the_events() -> None:
    chunk = a_chunk([(A, SIZE)], [(A, OTHER)])
    check_told(with_column(chunk, "lanes", "gaps_while_there", b"\2"), "outside the events")


def test_impossible_counts_are_damage_and_no_crash() -> None:
    chunk = a_chunk([(A, SIZE)], [(B, SIZE)])
    counts = write_unsigned(np.array([3, -1]))
    keys = msgspec.structs.replace(chunk.columns.keys, new_bids=counts)
    columns = msgspec.structs.replace(chunk.columns, keys=keys)
    check_told(ArchiveChunk(chunk.header, columns), "do not fit together")


@pytest.mark.parametrize("source", [b"\0", b"\1", b"\2"])
def test_a_quantity_must_come_from_somewhere(source: bytes) -> None:
    """No quantity was there before, and nothing goes."""
    check_told(with_column(a_chunk([(A, SIZE)]), "quantities", "new_sources", source), "nowhere")


def test_quantities_must_not_come_from_each_other() -> None:
    # Every level is added and removed in the same event; each is said to have moved from
    # the removal of the next one.
    chunk = a_chunk([(price, size) for price in (C, B, A) for size in (SIZE, NONE)])
    circle = with_column(chunk, "quantities", "new_sources", bytes([3, 3, 4]))
    check_told(circle, "come from each other")


def test_a_common_quantity_must_be_known() -> None:
    # The start book has this quantity too, so it is common, and the only such one.
    chunk = a_chunk([(A, OTHER)])
    assert chunk.columns.quantities.new_sources.tokens == bytes([10])
    check_told(with_column(chunk, "quantities", "new_sources", bytes([11])), "common quantity")


def test_a_level_that_is_there_has_a_quantity() -> None:
    chunk = a_chunk([(A, OTHER)])
    # A quantity of 0 steps that is not in the column of uneven ones either.
    told = with_column(chunk, "quantities", "common", b"\0")
    check_told(told, "wrong quantity")


def test_the_order_of_levels_must_be_one() -> None:
    chunk = a_chunk([(A, SIZE), (B, SIZE)])
    check_told(with_column(chunk, "odd", "places", b"\0\0"), "order of its levels")


def test_texts_must_fit_their_events() -> None:
    payload = spelt(2, 2, 100, [], []).replace(b",", b", ")
    run = run_of(snapshot_payload([], [], 1), [decode_diff(payload, 1)])
    chunk = encode_chunk(run.start, run.events)
    assert decode_chunk(chunk).payloads() == [payload]
    check_told(with_column(chunk, "odd", "texts", payload[:-1]), "texts")
    check_told(with_column(chunk, "odd", "odd", b"\1"), "texts")


def test_another_format_is_told() -> None:
    chunk = a_chunk([(A, SIZE)])
    header = msgspec.structs.replace(chunk.header, schema_version=99)
    check_told(ArchiveChunk(header, chunk.columns), "its format is 99 with times in ms")


@pytest.mark.parametrize(
    ("group", "name", "tokens", "reason"),
    [
        ("keys", "new_steps", b"\2\2", "new prices do not fit their counts"),
        ("keys", "new_firsts", b"\2\2\2", "a column has 3 numbers instead of"),
        ("lanes", "toggles", b"\0\0\0", "toggles do not fit the changes"),
        ("lanes", "few_changes", b"\0\0\0", "counts of changes do not fit the prices"),
    ],
)
def test_columns_must_be_as_long_as_they_have_to(
    group: str, name: str, tokens: bytes, reason: str
) -> None:
    chunk = a_chunk([(A, SIZE)], [(B, OTHER)])
    check_told(with_column(chunk, group, name, tokens), reason)
