"""The words of a tape's rows: short ones for columns, and all that is known, exact."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final, NamedTuple

from msgspec import Struct

from orderbook_desktop.core.number_format import MarketFormat, exact_text, rounded_text, short_text
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.tape_rows import Missing, Summed, Sweep, TapeRow
from orderbook_desktop.core.time_text import clock_text, duration_text
from orderbook_desktop.core.units import format_units, rounded_units
from orderbook_desktop.core.wording import counted

# So many characters have room for a size.
_SIZE_WIDEST: Final = 11
_USUAL_OF: Final = 500
_PLACES_AT_MOST: Final = 8


class RowTexts(NamedTuple):
    """The texts of a row. `note` is the number of prices of a sweep, `x5`, else empty.

    `whole` is the text of a row without columns, in place of the others but time and quantity.
    """

    time: str
    side: str
    price: str
    quantity: str
    note: str = ""
    whole: str = ""


class TapeFormat(Struct, frozen=True):
    """How a market's trades are written: with the places of `market`, in the assets of `symbol`.

    `in_quote` is whether sizes are what they cost in the quote asset, with `cost_places` places.
    Times are in `zone`; None: local.
    """

    market: MarketFormat
    symbol: SymbolInfo
    in_quote: bool = False
    cost_places: int = 2
    zone: tzinfo | None = None

    def texts(self, row: TapeRow) -> RowTexts:
        """Return the texts of a row."""
        time = clock_text(row.event_ms, self.zone)
        if isinstance(row, Missing):
            return RowTexts(time, "", "", "", whole=missing_text(row))
        if isinstance(row, Summed):
            whole = f"+ {row.count:,} more"
            return RowTexts(time, "", "", self._size(row), whole=whole)
        side = "Sell" if row.is_sold else "Buy"
        note = f"x{row.prices}" if row.prices > 1 else ""
        return RowTexts(time, side, self.price_text(row), self._size(row), note)

    def price_text(self, row: TapeRow) -> str:
        """Return the price that a sweep came to, exact; empty for other rows."""
        return self._price(row.last_price, row) if isinstance(row, Sweep) else ""

    def range_text(self, row: TapeRow) -> str:
        """Return where a sweep began, `from 64,100.10`, or that a trade was repaired, or nothing.

        It goes on a row's other texts where there is room.
        """
        if not isinstance(row, Sweep):
            return ""
        if row.prices > 1:
            return f"from {self._price(row.first_price, row)}"
        return "repaired" if row.is_repaired else ""

    def describe(self, row: TapeRow) -> str:
        """Return all that is known of a row, exact, in lines."""
        if isinstance(row, Missing):
            why = f": {row.why.cause.sentence}" if row.why is not None else ""
            return f"{missing_text(row)}{why}\nIds {row.first_id} to {row.last_id}"
        if isinstance(row, Summed):
            exponent, places = row.scale.quantity, self.market.quantity_places
            return (
                f"{counted(row.count, 'trade')} that came too fast for rows of their own\n"
                f"Bought {exact_text(row.bought, exponent, places)} {self.symbol.base}, "
                f"sold {exact_text(row.sold, exponent, places)} {self.symbol.base}"
            )
        word = "Sold" if row.is_sold else "Bought"
        time = clock_text(row.event_ms, self.zone)
        lines = [
            f"{word} {self._quantity(row)} {self.symbol.base} at {time}",
            self._prices_line(row),
            f"{exact_text(row.cost, row.scale.notional, 2)} {self.symbol.quote}",
        ]
        if row.is_repaired:
            lines.append("Repaired: asked for after it was traded")
        return "\n".join(lines)

    def _prices_line(self, row: Sweep) -> str:
        last = self._price(row.last_price, row)
        if row.prices == 1:
            return f"Price {last} {self.symbol.quote}"
        average = row.cost * 100 // row.quantity
        # With one place more than a price has: the average lies between two of them.
        mean = rounded_text(average, row.scale.price + 2, self.market.price_places + 1)
        return (
            f"{row.prices} prices from {self._price(row.first_price, row)} to {last} "
            f"{self.symbol.quote}, average {mean}"
        )

    def _price(self, price: int, row: Sweep) -> str:
        return exact_text(price, row.scale.price, self.market.price_places)

    def _quantity(self, row: Sweep | Summed) -> str:
        return exact_text(row.quantity, row.scale.quantity, self.market.quantity_places)

    def _size(self, row: Sweep | Summed) -> str:
        """Return a size in few characters."""
        if self.in_quote:
            return self._short_cost(row.cost, row.scale.notional)
        places = self.market.quantity_places
        return short_text(row.quantity, row.scale.quantity, places, _SIZE_WIDEST)

    def _short_cost(self, cost: int, exponent: int) -> str:
        """Return a cost in few characters, all with the same number of places where they fit."""
        places = min(self.cost_places, exponent)
        units = rounded_units(cost, exponent - places)
        if not units:
            return f"<{format_units(1, places)}"
        return short_text(units, places, places, _SIZE_WIDEST)


def cost_places(tape: Tape) -> int:
    """Return how many places the costs of trades need: two from 1 on, as for money, else more."""
    costs = sorted(trade.price * trade.quantity for trade in tape.newest(_USUAL_OF))
    if not costs:
        return 2
    magnitude = len(str(costs[len(costs) // 2])) - 1 - tape.scale.notional
    return min(_PLACES_AT_MOST, max(2, 3 - magnitude))


def missing_text(row: Missing) -> str:
    """Return how many trades are missing, and for how long: `12 trades missing, 0:03:12.250`."""
    length = duration_text(max(0, row.last_ms - row.event_ms))
    return f"{counted(row.count, 'trade')} missing, {length}"
