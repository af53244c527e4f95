"""The control pages for tests: they order faults, list them, and show the exchange's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from orderbook_desktop.exchange.local.faults import Fault, FaultBoard
from orderbook_desktop.exchange.local.rest import Answer, error_answer, json_answer
from orderbook_desktop.exchange.local.source import MarketSource

CONTROL_PREFIX: Final = "/control/"


class ControlPages:
    """Answers the requests of `/control/`: `state`, `book`, and with faults on `fault(s)`.

    `inject` executes an order; `more_state` adds the server's fields to `state`.
    """

    def __init__(
        self,
        source: MarketSource,
        board: FaultBoard | None,
        inject: Callable[[Fault], None],
        more_state: Callable[[], dict[str, Any]],
    ) -> None:
        self._source = source
        self._board = board
        self._inject = inject
        self._more_state = more_state

    async def answer(self, page: str, query: dict[str, str]) -> Answer:
        """Return the answer to `GET` of `page` (behind `/control/`)."""
        if page == "state":
            return json_answer(self._state())
        if page == "book":
            return await self._book(query.get("symbol", ""))
        if page == "faults" and self._board:
            return json_answer(_faults(self._board))
        if page == "fault" and self._board:
            return self._fault(query)
        return error_answer(-1000, "This endpoint does not exist.", status=404)

    def _state(self) -> dict[str, Any]:
        ids = {market: self._source.update_id(market) for market in self._source.listings}
        return {
            "played": self._source.played,
            "updateIds": {market: update_id for market, update_id in ids.items() if update_id},
            **self._more_state(),
        }

    async def _book(self, market: str) -> Answer:
        if market not in self._source.listings:
            return error_answer(-1121, "Invalid symbol.")
        return Answer((await self._source.book(market)).as_json())

    def _fault(self, query: dict[str, str]) -> Answer:
        try:
            fault = msgspec.convert(query, Fault, strict=False)
        except msgspec.ValidationError as error:
            return error_answer(-1100, f"No such fault: {error}")
        self._inject(fault)
        return json_answer(fault)


def _faults(board: FaultBoard) -> dict[str, Any]:
    return {
        "counts": {kind.value: count for kind, count in board.counts.items()},
        "pending": [{"fault": fault, "left": left} for fault, left in board.pending],
        "log": list(board.log),
    }
