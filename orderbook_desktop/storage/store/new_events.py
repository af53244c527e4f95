"""The database's change stream, as what was newly recorded: events, trades and joined answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

from orderbook_desktop.core.streams import DEPTH, MarketEvent, Stream
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import event_of
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, TRADE_EVENTS, WITNESSES, Document
from orderbook_desktop.storage.store.trade_documents import trades_of


class NewEvents(NamedTuple):
    """Events of `stream` that were just stored; the market is empty if that is damaged.

    `unpack` returns them, in order; trades that were asked for afterwards belong before those that
    came already. It raises `MalformedMessage` or `DamagedDocument` if they are damaged. It is None
    for an answer of the exchange that was joined to the recorded book, which is known deeper now.
    """

    stream: Stream
    unpack: Callable[[], Sequence[MarketEvent]] | None

    @classmethod
    def of(cls, change: Mapping[str, Any]) -> Self:
        """Return the events of a change that `watch_events` yields."""
        document, collection = change["fullDocument"], change["ns"]["coll"]
        market = document.get("market")
        market = market if isinstance(market, str) else ""
        if collection == TRADE_EVENTS:
            return cls(Stream(market, TRADE), partial(trades_of, document))
        unpack = partial(_event, document) if collection == DEPTH_EVENTS else None
        return cls(Stream(market, DEPTH), unpack)


def watch_events(database: Database, token: Mapping[str, Any] | None, await_ms: int) -> Any:
    """Return motor's change stream of new events and of answers that were joined to a book.

    It begins after the change `token`. The server answers within `await_ms`, even without a change.
    """
    joined = {"ns.coll": WITNESSES, "fullDocument.joined_id": {"$gt": 0}}
    kinds = [{"ns.coll": DEPTH_EVENTS}, {"ns.coll": TRADE_EVENTS}, joined]
    return database.watch([{"$match": {"operationType": "insert", "$or": kinds}}], token, await_ms)


def _event(document: Document) -> list[MarketEvent]:
    return [event_of(document)]
