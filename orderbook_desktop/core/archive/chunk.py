"""What a chunk consists of: a header, and columns of whole numbers and text."""

from __future__ import annotations

from typing import Final

import msgspec

from orderbook_desktop.core.archive.keys import KeyColumns
from orderbook_desktop.core.archive.lanes import LaneColumns
from orderbook_desktop.core.archive.numbers import Coverage, EventColumns
from orderbook_desktop.core.archive.quantities import QuantityColumns
from orderbook_desktop.core.archive.tokens import Column

SCHEMA_VERSION: Final = 2
# Version 1 did not store the unit of times, nor how deep its start book was known.
READABLE_VERSIONS: Final = (1, SCHEMA_VERSION)
MILLISECONDS: Final = "ms"


class ChunkHeader(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a chunk covers, and how its numbers are scaled.

    `start_id` is the update id that the start book is as of, and `start_event_ms` its time
    (0 if unknown); `start_id` is None where the events belong to no book. `bid_count` and
    `ask_count` are the start book's levels, `change_count` those that events change.

    Prices are units of 10^-`price_exponent` and all multiples of `price_step`; quantities
    are units of 10^-`quantity_exponent` and mostly multiples of `quantity_step`. For
    `usual_step_ms` and `least_delay_ns` see `EventColumns`; the delay is below 0 where our
    clock is behind the exchange's.

    `unit` is that of all times but the receive times. `start_received_ns` is when the last message
    in the start book was received (0 if unknown). `known` are the ends of the start book's horizon
    (`core.horizon`), in units of prices; None where that is not known.
    """

    schema_version: int
    market: str
    coverage: Coverage
    start_id: int | None
    start_event_ms: int
    bid_count: int
    ask_count: int
    change_count: int
    price_exponent: int
    quantity_exponent: int
    price_step: int
    quantity_step: int
    usual_step_ms: int
    least_delay_ns: int
    unit: str = MILLISECONDS
    start_received_ns: int = 0
    known: tuple[int | None, int | None] | None = None

    @property
    def event_count(self) -> int:
        """How many events there are."""
        return self.coverage.event_count


class OddColumns(msgspec.Struct, frozen=True, array_like=True):
    """What is not as the exchange usually sends it.

    `unsorted` lists the events whose levels are not in the order of their keys, each once.
    `places` has for each of their levels, by key, its place in the event. `odd` lists the events
    that are not spelt canonically (`archive.wire`); `lengths` and `texts` have their texts.
    """

    unsorted: Column
    places: Column
    odd: Column
    lengths: Column
    texts: Column


class ChunkColumns(msgspec.Struct, frozen=True, array_like=True):
    """All columns of a chunk."""

    events: EventColumns
    keys: KeyColumns
    lanes: LaneColumns
    quantities: QuantityColumns
    odd: OddColumns


class ArchiveChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk ready to be packed, or unpacked and ready to be decoded."""

    header: ChunkHeader
    columns: ChunkColumns
