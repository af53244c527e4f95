"""What was added and pulled at the ladder's rows in the last seconds, without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from orderbook_desktop.core.heatmap.flows import PriceFlow
from orderbook_desktop.core.heatmap.recent_flows import RecentFlows
from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.ladder import Ladder, Side
from orderbook_desktop.core.number_format import exact_text
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.ladder.position import Row

WINDOWS_S: Final = (10, 60, 300)
"""Of how many seconds what was added and pulled can be shown."""


class RowFlow(NamedTuple):
    """What was added and pulled at a row, as texts; each is a lower bound."""

    added: str = ""
    pulled: str = ""


class LadderFlow:
    """Follows what is added and pulled in the last `seconds`, while its columns are shown."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds if seconds in WINDOWS_S else WINDOWS_S[1]
        self._recent = RecentFlows(self.seconds * 1_000)
        self._frame: BookFrame | None = None

    def follow(self, frame: BookFrame) -> None:
        """Take what has come; a replay has no events to follow."""
        self._frame = None
        if frame.depth is not None and frame.tape is not None:
            self._frame = frame
            self._recent.follow(frame.depth, frame.tape)

    def texts(self, rows: Sequence[Row], ladder: Ladder, step: int) -> list[RowFlow]:
        """Return what to show of `rows`, which are of groups of `step`."""
        if self._frame is None:
            return [RowFlow()] * len(rows)
        found = []
        for row in rows:
            flow = self._flow_at(row, ladder, step).flow
            added, pulled = (
                AT_LEAST + self._text(size) if size else ""
                for size in (flow.added_low, flow.pulled_low)
            )
            found.append(RowFlow(added, pulled))
        return found

    def describe(self, row: Row, ladder: Ladder, step: int) -> str:
        """Return what flowed at a row, with its bounds, and how much of the time is known."""
        frame, recent = self._frame, self._recent
        if frame is None:
            return ""
        flow, asset = self._flow_at(row, ladder, step).flow, frame.symbol.base
        low, high = self._text(flow.traded_low), self._text(flow.traded_high)
        traded = low if low == high else f"{low} to {high}"
        known = min(self.seconds, recent.covered_ms // 1_000)
        of = "" if known >= self.seconds - 1 else f" ({known} s of them are computed)"
        return (
            f"Added at least {self._text(flow.added_low)} {asset}, traded {traded} {asset}, "
            f"pulled at least {self._text(flow.pulled_low)} {asset} "
            f"in the last {counted(self.seconds, 'second')}{of}"
        )

    def _flow_at(self, row: Row, ladder: Ladder, step: int) -> PriceFlow:
        finer = int(10 ** max(0, self._recent.scale.price - ladder.scale.price))
        price, wide, twice_mid = row.price * finer, step * finer, ladder.twice_mid
        is_ask = row.side is Side.ASK
        if row.side is None:
            is_ask = twice_mid is not None and 2 * row.price > twice_mid
        low, high = (price - wide + 1, price) if is_ask else (price, price + wide - 1)
        if twice_mid is not None and step > 1:
            middle = twice_mid * finer // 2
            low, high = (max(low, middle + 1), high) if is_ask else (low, min(high, middle))
        return self._recent.between(low, high)

    def _text(self, size: int) -> str:
        places = 0 if self._frame is None else self._frame.format.quantity_places
        return exact_text(size, self._recent.scale.quantity, places)
