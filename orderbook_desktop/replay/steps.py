"""Where a step, a jump or a seek leads, from where the clock is."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.replay import Step
from orderbook_desktop.core.replay_status import GapStop, ReplayOrder
from orderbook_desktop.replay.pieces import Piece, Run, Spot
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.replay.trade_reel import TradePlace, TradeReel

_NS_A_S: Final = 1_000_000_000


class Steps:
    """Finds the spots that a step or a jump leads to, in a reel and its trades.

    No step goes over a gap. A method returns the spot itself where there is nothing in that
    direction. It raises what reading a recording raises.
    """

    def __init__(self, reel: Reel, trades: TradeReel) -> None:
        self._reel = reel
        self._trades = trades

    def gap_stop(self, spot: Spot) -> GapStop | None:
        """Return the gap in which a spot is."""
        run = self._reel.run_of(spot.piece)
        if not spot.in_gap or run is None or run.gap_after is None:
            return None
        following = self._reel.neighbour(run, back=False)
        after_id = None if following is None else following.first_id
        return GapStop(run.gap_after, spot.is_before, spot.piece.last_id, after_id)

    def known(self, spot: Spot, step: Step, order: ReplayOrder, *, back: bool) -> Spot | None:
        """Return where a step leads, if all that is needed is in memory; else None."""
        found: Spot | None = None
        if spot.in_gap:
            return None
        if step is Step.SECOND:
            at_ns = spot.at_ns + (-_NS_A_S if back else _NS_A_S)
            found = self._reel.known_at(spot.piece, at_ns, order)
        elif step is Step.EVENT:
            found = self._event_known(spot, order, back=back)
        return found if found is not None and self._trades.is_around(found, order) else None

    def _event_known(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot | None:
        piece, place = spot.piece, spot.place + (-1 if back else 1)
        if not piece.first <= place <= piece.last:
            other = self._reel.known_before(piece) if back else self._reel.known_after(piece)
            if other is None:
                return None
            piece, place = other, other.last if back else other.first
        return Spot(piece, place, piece.due_at(place, order))

    async def event(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go one event on, or back."""
        if spot.in_gap:
            return await self.out_of_gap(spot, order, back=back)
        known = self._event_known(spot, order, back=back)
        if known is not None:
            return known
        piece = spot.piece
        other = await (self._reel.before(piece) if back else self._reel.after(piece))
        if other is None:
            return await self.into_gap(spot, order, back=back)
        # A piece that was archived meanwhile may reach further.
        place = other.place_of(piece.after_id) if back else other.first
        return Spot(other, place, other.due_at(place, order))

    async def second(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go one second on, or back; to the gap's edge where one is nearer."""
        if spot.in_gap:
            return await self.out_of_gap(spot, order, back=back)
        found = await self._reel.locate(spot.at_ns + (-_NS_A_S if back else _NS_A_S), order)
        return spot if found is None else await self._within_run(spot, found, order, back=back)

    async def trade(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go one trade on, or back to the one before; to the gap's edge where one is nearer."""
        if spot.in_gap:
            return await self.out_of_gap(spot, order, back=back)
        trades = self._trades
        place = await (trades.latest(spot, order, 1) if back else trades.following(spot, order))
        if place is None:
            return spot
        found = await self.at_trade(place, order)
        return spot if found is None else await self._within_run(spot, found, order, back=back)

    async def at_trade(self, trade: TradePlace, order: ReplayOrder) -> Spot | None:
        """Return where a trade is due, right before the events that are due at the same time."""
        found: Spot | None = None
        received_ns, repaired_ns = trade.received_due(order), trade.repaired_ns(order)
        if received_ns is not None:
            before = await self._reel.locate(received_ns - 1, order)
            found = None if before is None else replace(before, at_ns=received_ns)
        if repaired_ns is not None:
            before = await self._reel.locate(repaired_ns - 1, ReplayOrder.EXCHANGE)
            if before is not None and not before.in_gap:
                following = await self.event(before, order, back=False)
                before = replace(before, at_ns=following.at_ns)
            if before is not None and (found is None or before.at_ns > found.at_ns):
                found = before
        return None if found is None else replace(found, trade_id=trade.trade_id)

    async def _within_run(self, spot: Spot, found: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Return `found`, or the edge of the run of `spot` that is nearer, or the gap behind it."""
        run = self._reel.run_of(spot.piece)
        if run is None or (not found.in_gap and self._reel.run_of(found.piece) == run):
            return found
        if not back:
            last = await self._reel.last_of(run)
            return await self.into_gap(_at_last(last, order), order, back=False)
        first = await self._reel.first_of(run)
        edge = Spot(first, first.first, first.first_due(order))
        is_first = spot.piece.after_id == first.after_id and spot.place == first.first
        is_there = is_first and spot.at_ns <= edge.at_ns
        return await self.into_gap(spot, order, back=True) if is_there else edge

    async def gap(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go to the next gap, or to the one before."""
        run: Run | None = self._reel.run_of(spot.piece)
        if run is None:
            return spot
        if back:
            first = await self._reel.first_of(run)
            edge = Spot(first, first.first, first.first_due(order))
            found = await self.into_gap(edge, order, back=True)
        else:
            if spot.in_gap:
                run = self._reel.neighbour(run, back=False)
                if run is None:
                    return spot
            last = await self._reel.last_of(run)
            found = await self.into_gap(_at_last(last, order), order, back=False)
        return found if found.in_gap else spot

    async def out_of_gap(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go from a gap to the book behind it, or to the one before it."""
        if back:
            return _at_last(spot.piece, order)
        run = self._reel.run_of(spot.piece)
        following = None if run is None else self._reel.neighbour(run, back=False)
        if following is None:
            return spot
        first = await self._reel.first_of(following)
        return Spot(first, first.first, first.first_due(order))

    async def into_gap(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go from the edge of a run into the gap beside it, if there is one."""
        run = self._reel.run_of(spot.piece)
        if run is None:
            return spot
        if not back:
            return spot if run.gap_after is None else _behind(spot.piece, order)
        before = self._reel.neighbour(run, back=True)
        if before is None or run.gap_before is None:
            return spot
        last = await self._reel.last_of(before)
        at_ns = spot.piece.first_due(order)
        return Spot(last, last.last, at_ns, in_gap=True, is_before=False)


def _at_last(piece: Piece, order: ReplayOrder) -> Spot:
    return Spot(piece, piece.last, piece.last_due(order))


def _behind(piece: Piece, order: ReplayOrder) -> Spot:
    """Return the beginning of the gap behind a piece."""
    return replace(_at_last(piece, order), in_gap=True)
