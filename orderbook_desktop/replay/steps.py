"""Where a step, a jump or a seek leads, from where the clock is."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.replay_status import GapStop, ReplayOrder
from orderbook_desktop.replay.reel import Piece, Reel, Run, Spot

_NS_A_S: Final = 1_000_000_000


class Steps:
    """Finds the spots that a step or a jump leads to, in a `reel`. No step goes over a gap.

    A method returns the spot itself where there is nothing in that direction. It raises what
    reading a recording raises.
    """

    def __init__(self, reel: Reel) -> None:
        self._reel = reel

    def gap_stop(self, spot: Spot) -> GapStop | None:
        """Return the gap in which a spot is."""
        run = self._reel.run_of(spot.piece)
        if not spot.in_gap or run is None or run.gap_after is None:
            return None
        following = self._reel.neighbour(run, back=False)
        after_id = None if following is None else following.first_id
        return GapStop(run.gap_after, spot.is_before, spot.piece.last_id, after_id)

    async def event(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go one event on, or back."""
        if spot.in_gap:
            return await self.out_of_gap(spot, order, back=back)
        piece, place = spot.piece, spot.place + (-1 if back else 1)
        if piece.first <= place <= piece.last:
            return Spot(piece, place, piece.due_at(place, order))
        other = await (self._reel.before(piece) if back else self._reel.after(piece))
        if other is None:
            return await self.into_gap(spot, order, back=back)
        place = other.last if back else other.first
        return Spot(other, place, other.due_at(place, order))

    async def second(self, spot: Spot, order: ReplayOrder, *, back: bool) -> Spot:
        """Go one second on, or back; to the gap's edge where one is nearer."""
        if spot.in_gap:
            return await self.out_of_gap(spot, order, back=back)
        at_ns = spot.at_ns + (-_NS_A_S if back else _NS_A_S)
        run, found = self._reel.run_of(spot.piece), await self._reel.locate(at_ns, order)
        if run is None or found is None:
            return spot
        found_run = self._reel.run_of(found.piece)
        if found_run == run and not found.in_gap:
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
