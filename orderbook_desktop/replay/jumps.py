"""Where a jump of a replay leads: to gaps, large trades, bookmarks, and update ids."""

from __future__ import annotations

import asyncio

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import LargeTrades, ReplayOrder, Target
from orderbook_desktop.replay.large_trades import LargeTrade, LargeTradeFinder
from orderbook_desktop.replay.marks import Bookmarks
from orderbook_desktop.replay.pieces import Spot
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.replay.steps import Steps
from orderbook_desktop.replay.trade_reel import TradeReel
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.trade_store import TradeStore
from orderbook_desktop.system.tasks import end_tasks


class UnknownId(DatabaseError):
    """The event with `update_id` of `market` is not recorded in any unbroken run."""

    market: str
    update_id: int

    def __str__(self) -> str:
        return f"Update id {self.update_id} of {self.market} is not recorded."


class NothingThere(DatabaseError):
    """No `target` is recorded before or after the moment; `side` says which."""

    target: str
    side: str

    def __str__(self) -> str:
        return f"No {self.target} is known {self.side} this moment."


class Jumps:
    """Finds the spots that jumps in the recording of `market` lead to.

    Its methods are not for two tasks, but `give_up`; they raise what reading a recording raises.
    """

    def __init__(
        self,
        market: str,
        reel: Reel,
        trades: TradeReel,
        steps: Steps,
        bookmarks: Bookmarks,
        store: TradeStore,
    ) -> None:
        self._market = market
        self._reel = reel
        self._trades = trades
        self._steps = steps
        self._bookmarks = bookmarks
        self._store = store
        self._large = LargeTrades()
        self._finder: LargeTradeFinder | None = None
        self._search: asyncio.Task[LargeTrade | None] | None = None

    def set_large(self, large: LargeTrades) -> None:
        """Jump to these trades from now on."""
        if large != self._large:
            self._large, self._finder = large, None

    def give_up(self) -> None:
        """End a search for a large trade: its jump finds nothing."""
        if self._search is not None:
            self._search.cancel()

    async def spot_of(self, target: Target, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Return where the next one is, or the one before. Raises `NothingThere`."""
        if target is Target.GAP:
            found: Spot | None = await self._steps.gap(spot, order, back=back)
        elif target is Target.BOOKMARK:
            found = await self._at_bookmark(spot, order, back=back)
        else:
            found = await self._at_large(spot, order, back=back)
        if found is None or found is spot:
            raise NothingThere(target.value, "before" if back else "after")
        return found

    async def at_id(self, update_id: int, order: ReplayOrder) -> Spot:
        """Return where the event with an update id is due. Raises `UnknownId`."""
        found = await self._reel.with_id(update_id)
        if found is None:
            raise UnknownId(self._market, update_id)
        piece, place = found
        return Spot(piece, place, piece.due_at(place, order))

    async def _at_bookmark(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot | None:
        event_ms, update_id = spot.at_ns // NS_A_MS, spot.piece.last_id
        if not spot.in_gap:
            event_ms = spot.piece.event_ms_at(spot.place) or event_ms
            update_id = spot.piece.id_at(spot.place)
        await self._bookmarks.load()
        bookmark = self._bookmarks.beside(event_ms, update_id, back=back)
        return None if bookmark is None else await self.at_id(bookmark.update_id, order)

    async def _at_large(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot | None:
        """Return where the next large trade is; None also if the search was given up."""
        latest = await self._trades.latest(spot, order, 0)
        trade_id = -1 if latest is None else latest.trade_id
        # Back from where the clock stands at a trade it is one before that.
        trade_id += back and spot.trade_id is None
        found = await self._find(trade_id, spot.at_ns // NS_A_MS, back=back)
        if found is None:
            return None
        place = await self._trades.place_of(found.trade_id, found.event_ms)
        return None if place is None else await self._steps.at_trade(place, order)

    async def _find(self, trade_id: int, at_ms: int, *, back: bool) -> LargeTrade | None:
        if self._finder is None:
            self._finder = LargeTradeFinder(self._store, self._market, self._large)
        search = asyncio.ensure_future(self._finder.find(trade_id, at_ms, back=back))
        self._search = search
        try:
            await asyncio.wait({search})
            return None if search.cancelled() else search.result()
        finally:
            self._search = None
            await end_tasks(search)
