"""Markets with very different numbers, which window and page have to show alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import format_units, parse_units
from tests.web.hand_library import HandBook, Pairs


class MadeMarket(NamedTuple):
    """A symbol, and its levels as the exchange would send them."""

    info: SymbolInfo
    bids: Pairs
    asks: Pairs

    @property
    def book(self) -> HandBook:
        """The market's book."""
        book = HandBook(self.info.market)
        book.load(self.bids, self.asks)
        return book


def _info(base: str, tick: str, step: str) -> SymbolInfo:
    return SymbolInfo(
        f"{base}/USDT", f"{base}USDT", base, "USDT", parse_units(tick), parse_units(step)
    )


def _side(best: str, tick: str, size: str, count: int = 400, every: int = 7) -> Pairs:
    """Return levels from `best` outward, at distances of multiples of `tick` (negative: bids)."""
    first, apart = (
        parse_units(best),
        -parse_units(tick[1:]) if tick[0] == "-" else parse_units(tick),
    )
    lot = parse_units(size)
    return [
        (format_units(first + apart * (at + at % every)), format_units(lot * (1 + at % 5)))
        for at in range(0, count, 1 + count // 300)
    ]


_BTC: Final = _info("BTC", "0.01", "0.00001")
MARKETS: Final[Mapping[str, MadeMarket]] = MappingProxyType(
    {
        "BTC": MadeMarket(
            _BTC,
            _side("57123.45", "-0.37", "0.04217"),
            _side("57123.46", "0.41", "1.5", 900),
        ),
        "PEPE": MadeMarket(
            _info("PEPE", "0.00000001", "1"),
            _side("0.00000812", "-0.00000001", "91000000", 60),
            _side("0.00000813", "0.00000001", "75000000"),
        ),
        "half a unit": MadeMarket(
            _info("XBT", "0.5", "0.001"),
            _side("57123.5", "-0.5", "0.217"),
            _side("57124.0", "0.5", "1.5", 900),
        ),
        "very wide": MadeMarket(
            _info("RARE", "0.0001", "0.1"),
            [("0.5000", "10"), ("0.4000", "2.5"), ("0.0001", "100000")],
            [("1.5000", "7.5"), ("9.0000", "1"), ("90000.0000", "3")],
        ),
        "far levels": MadeMarket(
            _BTC,
            [*_side("57123.45", "-0.01", "0.5"), ("1.00", "300")],
            [*_side("57123.46", "0.01", "0.5"), ("900000.00", "20")],
        ),
        "no bids": MadeMarket(_BTC, [], _side("100.00", "0.05", "2")),
        "no asks": MadeMarket(_BTC, _side("100.00", "-0.05", "2"), []),
        "one level": MadeMarket(_BTC, [("57123.45", "0.5")], []),
        "one a side": MadeMarket(_BTC, [("57123.45", "0.5")], [("57123.47", "0.25")]),
        "finer than the tick": MadeMarket(
            _info("MOG", "0.00000001", "1"),
            [("0.0000081212", "5"), ("0.0000081190", "12")],
            [("0.0000081300", "5.5"), ("0.0000081412", "1")],
        ),
        "whole coins beyond int64": MadeMarket(
            _info("BTT", "0.00000001", "1"),
            [("0.00000090", "93000000000"), ("0.00000089", "0.5")],
            [("0.00000091", "1"), ("0.00000092", "92000000001")],
        ),
        "tick and lot unknown": MadeMarket(
            _info("NEW", "0", "0"),
            [("1.2500", "10.50"), ("1.2400", "3")],
            [("1.2525", "3.00"), ("1.3000", "0.25")],
        ),
    }
)
