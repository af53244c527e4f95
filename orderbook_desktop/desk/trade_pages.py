"""Reads recorded trades in the background for panes, which can't wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any, Protocol

from orderbook_desktop.core.desk import TradePage
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.sources import TradeHistory
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade

# Runs a job of a name in the background.
RunJob = Callable[[Coroutine[Any, Any, None], str], object]


class GappyHistory(TradeHistory, Protocol):
    """Recorded trades, and why some are missing."""

    async def gaps(self, market: str) -> list[TradeGap]:
        """Return the gaps of the recorded trades, in the order of their ids."""
        ...


class AskedTrades:
    """Reads pages of trades as jobs, which `run` runs; it is a `TradePages`.

    `history` is called with each request: another engine has another recording. A request that is
    under way when the jobs end has no answer.
    """

    def __init__(self, history: Callable[[], GappyHistory], run: RunJob) -> None:
        self._history = history
        self._run = run

    def before(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        """Read the last `count` trades before an id (see `TradePages`)."""
        history = self._history()
        trades = history.before(market, trade_id, count)
        self._start(market, history, trades, answered, until_id=trade_id)

    def after(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        """Read the first `count` trades after an id (see `TradePages`)."""
        history = self._history()
        trades = history.after(market, trade_id, count)
        self._start(market, history, trades, answered, from_id=trade_id)

    def _start(
        self,
        market: str,
        history: GappyHistory,
        reading: Awaitable[list[Trade]],
        answered: Callable[[TradePage], None],
        *,
        from_id: int | None = None,
        until_id: int | None = None,
    ) -> None:
        async def read() -> None:
            try:
                trades = await reading
                ids = [trade.trade_id for trade in trades]
                edges = [one for one in (from_id, *ids, until_id) if one is not None]
                # All runs of a long recording are needed only where trades are missing.
                gaps = await history.gaps(market) if _has_hole(edges) else []
                page = TradePage(trades, gaps)
            except KnownError as error:
                page = TradePage(problem=str(error))
            answered(page)

        self._run(read(), f"a page of trades of {market}")


def _has_hole(ids: Sequence[int]) -> bool:
    return any(after > before + 1 for before, after in pairwise(ids))
