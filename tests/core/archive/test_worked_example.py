"""The worked example in the package's docstring is what the codec does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from orderbook_desktop.core import archive
from orderbook_desktop.core.archive import decode_chunk, encode_chunk, reproduces
from orderbook_desktop.core.archive.tokens import Column, read_signed, read_unsigned
from orderbook_desktop.core.events import decode_diff
from tests.core.archive.runs import Pairs, Run, run_of, spelt
from tests.core.reference_book import snapshot_payload

TEXT: Final = archive.__doc__ or ""
START_MS: Final = 1_700_000_000_000
_EVENT: Final = re.compile(r"    (\d)      (\d{4})   (\d{4})   +(\d+)  (\d)(?: {9}(.*))?")
_COLUMN: Final = re.compile(
    r"    ([a-z]+(?:_[a-z]+)*)( s)? +(.*?) *((?:[0-9a-f]{2} ?)+)(?:\+ (.*))?"
)
# Their bytes are no tokens.
_PACKED: Final = ("few_changes", "toggles")


def _levels(text: str) -> Pairs:
    pairs = (one.split("=") for one in text.split())
    return [(f"{float(price):.8f}", f"{float(quantity):.8f}") for price, quantity in pairs]


def _run() -> Run:
    """The run that the table tells."""
    events = []
    for _, first, final, time, delay, levels in filter(None, map(_groups, TEXT.splitlines())):
        event_ms = START_MS + int(time)
        bids, asks = _levels(levels[:18]), _levels(levels[18:])
        payload = spelt(int(first), int(final), event_ms, bids, asks)
        events.append(decode_diff(payload, (event_ms + int(delay)) * 10**6))
    bids, asks = [("100", "2"), ("99.99", "1")], [("100.01", "3"), ("100.02", "1")]
    snapshot = snapshot_payload(bids, asks, 1000)
    return run_of(snapshot, events)


def _groups(line: str) -> tuple[str, ...] | None:
    found = _EVENT.fullmatch(line)
    return None if found is None else tuple(group or "" for group in found.groups())


def _columns(part: msgspec.Struct) -> Iterator[tuple[str, Column]]:
    for name in part.__struct_fields__:
        field = getattr(part, name)
        if isinstance(field, Column):
            yield name, field
        else:
            yield from _columns(field)


def test_the_columns_are_those_of_the_example() -> None:
    run = _run()
    assert len(run.events) == 10
    chunk = encode_chunk(run.start, run.events)
    assert reproduces(decode_chunk(chunk), run.events)
    columns = dict(_columns(chunk.columns))
    told = [found for found in map(_COLUMN.fullmatch, TEXT.splitlines()) if found]
    for name, signed, numbers, tokens, bits in (found.groups() for found in told):
        column = columns.pop(name)
        assert (column.tokens.hex(" "), column.bits.hex()) == (tokens.strip(), bits or ""), name
        if name not in _PACKED:
            read = read_signed if signed else read_unsigned
            assert read(column).tolist() == [int(one) for one in numbers.split()], name
    assert set(columns.values()) == {Column()}, "the rest is empty"


def test_its_sizes_are_those_of_the_example() -> None:
    run = _run()
    chunk = encode_chunk(run.start, run.events)
    size = len(msgspec.msgpack.encode(chunk))
    text_size = sum(len(event.payload) for event in run.events)
    assert f"the chunk has {size} bytes; the texts of the ten events have {text_size}." in TEXT
