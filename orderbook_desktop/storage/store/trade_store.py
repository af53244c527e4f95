"""The trades of a recording, and the interface by which all readers read them.

Trades consist of *runs* (`core.trade_coverage`), which say what is stored, and of *parts*: chunks
of the archive, and batches that are not archived yet. Parts may overlap; each trade is identified
by its own id, and readers take each id once. All methods may raise errors of the storage; for a
database these are PyMongo's. Damaged parts raise `DamagedDocument`, `DamagedChunk` or
`MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.core.trades import Trade


class TradePart(Struct, frozen=True):
    """Stored trades with ids that go on without a hole, not unpacked yet: a chunk or a batch.

    `key` is its `_id`. Times are the earliest and the latest of its trades (ms), `size` is in
    bytes. `unpack` returns the trades, in several pieces if no scale holds them all, and raises if
    any byte differs from what was written. It is slow, so call it in a thread. `document` is what
    is stored.
    """

    key: str
    is_archived: bool
    first_id: int
    last_id: int
    from_ms: int
    to_ms: int
    size: int
    unpack: Callable[[], list[DecodedTrades]]
    document: Mapping[str, Any] = {}


class TradeStore(Protocol):
    """A place that holds trades."""

    async def markets(self) -> list[str]:
        """Return the markets that have trades here, in order of their names."""
        ...

    async def runs(self, market: str) -> list[TradeRun]:
        """Return the runs of `market` in order of their first ids."""
        ...

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """Return the parts with trades from `first_id` to `last_id`, in order of first ids.

        Of two that begin with one id the archived one comes first. They all have to fit into
        memory, so ask for some ten thousand ids at a time.
        """
        ...

    def trades(
        self, market: str, first_id: int, last_id: int, *, backwards: bool = False
    ) -> AsyncGenerator[DecodedTrades, None]:
        """Iterate over the trades from `first_id` to `last_id`, each once, in order of ids.

        With `backwards` the last ones come first; within what is yielded the ids still ascend.
        What is missing is left out: only two ids that follow each other tell of no gap. The caller
        closes the iterator (`contextlib.aclosing`).
        """
        ...

    async def first_id_at(self, market: str, event_ms: int) -> int | None:
        """Return the id of the first trade at or after a time (ms); None if there is none."""
        ...

    async def newest(self, market: str, count: int) -> list[Trade]:
        """Return the newest `count` trades, or fewer, in order of ids."""
        ...

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the last `count` trades before `trade_id`, or fewer, in order of ids."""
        ...
