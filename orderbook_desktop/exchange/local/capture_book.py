"""The book of one market of a capture: its snapshot and all diffs played since.

A capture does not say how deep the true book was beyond the last levels of its snapshot, nor how
many levels were asked for. So the book is known to these two prices, also at the end of the play.

It is deliberately simple (dicts of `Decimal`) and independent of the program's own book: tests
compare the program with it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from orderbook_desktop.core.depth_sync import may_follow
from orderbook_desktop.core.events import WIDEST_EVENT
from orderbook_desktop.exchange.local.source import LocalBook, TextLevel
from orderbook_desktop.formats.capture_messages import Diff, Snapshot

_log = logging.getLogger(__name__)

# A snapshot's line comes after its request, which took a few seconds at most. Events in between
# may be in the snapshot or not.
_DIFFS_REMEMBERED: Final = 2_000
_OLDER_BY_DIFFS: Final = 50

_Side = dict[Decimal, TextLevel]
_Edges = tuple[str | None, str | None]


class CaptureBook:
    """Follows one market by the id rules of "How to manage a local order book correctly".

    `known` is false until there is a snapshot (or forever, if the capture has none for this
    market and `without_snapshot` is not given: then the diffs alone are the book).
    """

    def __init__(self, market: str, *, without_snapshot: bool = False) -> None:
        self.market = market
        self.known = False
        self.last_update_id = 0
        # The time of the last event in the book; 0: unknown.
        self._last_ms = 0
        self.gaps = 0
        self._without_snapshot = without_snapshot
        self._broken = True
        self._bids: _Side = {}
        self._asks: _Side = {}
        # See `LocalBook.known`.
        self._edges: _Edges | None = None
        self._recent: deque[Diff] = deque(maxlen=_DIFFS_REMEMBERED)
        self._applied = 0
        self._older: tuple[int, _Side, _Side] | None = None
        self._newer: tuple[int, _Side, _Side] | None = None

    def load(self, snapshot: Snapshot) -> None:
        """Take a snapshot line.

        While the ids are unbroken the book needs no snapshot. A later snapshot that has only the
        best levels would even lose levels, so it is skipped.
        """
        if self.known and not self._broken:
            return
        later = [diff for diff in self._recent if diff.final_id > snapshot.last_update_id]
        if later and min(diff.first_id for diff in later) > snapshot.last_update_id + 1:
            _log.warning(
                "snapshot %s of %s is older than the events around it",
                snapshot.last_update_id,
                self.market,
            )
            return
        self._bids, self._asks = {}, {}
        self._set(snapshot.bids, snapshot.asks)
        # At least one level was asked for, so a side without any has no end.
        self._edges = (
            self._bids[min(self._bids)][0] if self._bids else None,
            self._asks[max(self._asks)][0] if self._asks else None,
        )
        self.last_update_id, self._last_ms = snapshot.last_update_id, 0
        self.known, self._broken = True, False
        for diff in later:
            self._take(diff)
        self._older = self._newer = self._copy()

    def apply(self, diff: Diff) -> None:
        """Take a diff line."""
        self._recent.append(diff)
        if not self.known:
            if not self._without_snapshot:
                return
            self.known = True
            self.last_update_id = diff.first_id - 1
        self._take(diff)
        self._applied += 1
        if self._applied % _OLDER_BY_DIFFS == 0:
            self._older, self._newer = self._newer, self._copy()

    def end(self) -> None:
        """There are no more lines: without a snapshot, the diffs alone are the book."""
        if self.known:
            return
        self.known, self._broken = True, False
        for diff in self._recent:
            self.last_update_id = self.last_update_id or diff.first_id - 1
            self._take(diff)

    def view(self) -> LocalBook:
        """Return the book as it is now."""
        return self._view(self.last_update_id, self._bids, self._asks)

    def older_view(self) -> LocalBook | None:
        """Return the book of 50 to 100 diffs ago, or the first one."""
        older = self._older or self._newer
        return self._view(*older) if older else None

    def _take(self, diff: Diff) -> None:
        known = self.last_update_id, self._last_ms
        is_too_wide = not 0 <= diff.final_id - diff.first_id <= WIDEST_EVENT
        if is_too_wide or not may_follow(diff.final_id, diff.event_ms, *known):
            # One of the two has an impossible id; only another snapshot can show which.
            self.gaps += 1
            self._broken = True
            _log.warning(
                "update id %s of %s can't follow update id %s",
                diff.final_id,
                self.market,
                self.last_update_id,
            )
            return
        if diff.final_id <= self.last_update_id:
            return
        if diff.first_id > self.last_update_id + 1:
            self.gaps += 1
            self._broken = True
            _log.warning(
                "the capture lacks update ids %s to %s of %s",
                self.last_update_id + 1,
                diff.first_id - 1,
                self.market,
            )
        self._set(diff.bids, diff.asks)
        self.last_update_id, self._last_ms = diff.final_id, diff.event_ms

    def _set(self, bids: Iterable[TextLevel], asks: Iterable[TextLevel]) -> None:
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for price, quantity in levels:
                if Decimal(quantity):
                    side[Decimal(price)] = (price, quantity)
                else:
                    side.pop(Decimal(price), None)

    def _copy(self) -> tuple[int, _Side, _Side]:
        return self.last_update_id, self._bids.copy(), self._asks.copy()

    def _view(self, last_update_id: int, bids: _Side, asks: _Side) -> LocalBook:
        return LocalBook(
            last_update_id,
            [bids[price] for price in sorted(bids, reverse=True)],
            [asks[price] for price in sorted(asks)],
            self._edges,
        )
