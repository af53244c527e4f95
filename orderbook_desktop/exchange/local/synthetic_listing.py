"""The symbols of the synthetic exchange: a dozen busy ones, and hundreds of quiet ones."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.units import format_units, parse_units
from orderbook_desktop.exchange.local.source import Listing

_NOTIONAL_OF_A_LEVEL: Final = Decimal(1500)
# About this share of the orders that come or go are trades.
_TRADED_SHARE: Final = Decimal("0.05")
_STEPS_A_DAY: Final = 864_000
_PRICES_IN_DOLLARS: Final = {
    "USDT": Decimal(1),
    "USDC": Decimal(1),
    "EUR": Decimal("1.1"),
    "TRY": Decimal("0.03"),
    "BTC": Decimal(61837),
    "ETH": Decimal(2680),
    "BNB": Decimal(512),
}


class MarketSpec(Struct, frozen=True):
    """What a synthetic market is like.

    `tick` and `step` are in units of 10^-8; `price_ticks` is where the price starts.
    `levels` is how many a side has, at most and on average; `changes` how many orders come
    or go in 100 ms, on average; `typical_lots` the median quantity of a level, in steps.
    """

    market: str
    base: str
    quote: str
    tick: int
    step: int
    price_ticks: int
    levels: int
    changes: float
    typical_lots: float

    def listing(self) -> Listing:
        """Return the market as `exchangeInfo` lists it."""
        dollars = _PRICES_IN_DOLLARS[self.quote]
        least = (Decimal(5) / dollars).quantize(Decimal("0.00001"))
        return Listing(
            self.market,
            self.base,
            self.quote,
            format_units(self.tick),
            format_units(self.step),
            f"{least:.8f}",
            format_units(self.price_ticks * self.tick),
            f"{self._day_volume():.8f}",
        )

    def _day_volume(self) -> Decimal:
        """Return about the volume of 24 hours, in the quote asset."""
        orders = Decimal(self.changes) * _STEPS_A_DAY
        return orders * _TRADED_SHARE * _NOTIONAL_OF_A_LEVEL / _PRICES_IN_DOLLARS[self.quote]


def _spec(
    symbol: str, price: str, tick: str, step: str, *, levels: int, changes: float
) -> MarketSpec:
    base, quote = symbol.split("/")
    notional = _NOTIONAL_OF_A_LEVEL / _PRICES_IN_DOLLARS[quote]
    lots = notional / Decimal(price) / Decimal(step)
    return MarketSpec(
        base + quote,
        base,
        quote,
        parse_units(tick),
        parse_units(step),
        int(Decimal(price) / Decimal(tick)),
        levels,
        changes,
        max(1.0, float(lots)),
    )


_TRADED: Final = (
    _spec("BTC/USDT", "61837.64", "0.01", "0.00001", levels=5000, changes=24),
    _spec("ETH/USDT", "2680.31", "0.01", "0.0001", levels=5000, changes=20),
    _spec("SOL/USDT", "153.27", "0.01", "0.001", levels=3000, changes=14),
    _spec("BNB/USDT", "512.40", "0.01", "0.001", levels=3000, changes=10),
    _spec("XRP/USDT", "0.6132", "0.0001", "0.1", levels=1500, changes=10),
    _spec("DOGE/USDT", "0.10714", "0.00001", "1", levels=2000, changes=10),
    _spec("PEPE/USDT", "0.00000851", "0.00000001", "1", levels=1000, changes=10),
    _spec("ADA/USDT", "0.3371", "0.0001", "0.1", levels=1500, changes=7),
    _spec("LINK/USDT", "10.41", "0.01", "0.01", levels=1000, changes=7),
    _spec("BTC/EUR", "56215.12", "0.01", "0.00001", levels=2000, changes=10),
    _spec("ETH/BTC", "0.04334", "0.00001", "0.0001", levels=1500, changes=8),
    _spec("BNB/BTC", "0.008281", "0.000001", "0.001", levels=1000, changes=5),
)

_QUIET_PRICES: Final = {
    "AAVE": "98.71", "ALGO": "0.1242", "APT": "5.81", "AR": "22.14", "ARB": "0.5512",
    "ATOM": "5.12", "AVAX": "21.45", "AXS": "4.71", "BCH": "337.2", "BONK": "0.00001832",
    "CAKE": "1.81", "COMP": "43.21", "CRV": "0.2811", "DASH": "23.31", "DOT": "4.71",
    "DYDX": "1.021", "EGLD": "26.71", "ENS": "17.42", "EOS": "0.4781", "ETC": "18.42",
    "FET": "0.8971", "FIL": "3.512", "FLOKI": "0.00011731", "FTM": "0.3312", "GALA": "0.01771",
    "GRT": "0.1512", "HBAR": "0.05432", "ICP": "7.312", "IMX": "1.151", "INJ": "17.81",
    "JUP": "0.8112", "KAVA": "0.3112", "LDO": "1.081", "LTC": "59.12", "MANA": "0.2712",
    "MKR": "2011", "NEAR": "3.912", "NEO": "9.71", "OP": "1.312", "ORDI": "27.81",
    "PENDLE": "2.612", "QTUM": "2.112", "RENDER": "4.812", "RUNE": "3.712", "SAND": "0.2512",
    "SEI": "0.2612", "SHIB": "0.00001372", "SNX": "1.312", "STX": "1.412", "SUI": "0.8512",
    "THETA": "1.212", "TIA": "4.912", "TRX": "0.1271", "UNI": "6.012", "VET": "0.02212",
    "WIF": "1.612", "WLD": "1.712", "XLM": "0.1012", "XTZ": "0.6612", "ZEC": "31.12",
}  # fmt: skip
_QUIET_QUOTES: Final = ("USDT", "USDC", "EUR", "TRY", "BTC", "ETH", "BNB")


def synthetic_specs(activity: float = 1.0) -> dict[str, MarketSpec]:
    """Return all symbols of the synthetic exchange by market, the traded ones first.

    `activity` multiplies how much happens in each.
    """
    specs = (*_TRADED, *_quiet_specs())
    return {spec.market: replace(spec, changes=spec.changes * activity) for spec in specs}


def _quiet_specs() -> list[MarketSpec]:
    specs = []
    for base, dollars in _QUIET_PRICES.items():
        for quote in _QUIET_QUOTES:
            price = Decimal(dollars) / _PRICES_IN_DOLLARS[quote]
            # Prices have four digits that count, and eight places at most.
            places = min(8, 3 - price.adjusted())
            tick = Decimal(1).scaleb(-places)
            if price < 100 * tick:
                continue
            step = Decimal(1).scaleb(max(-4, min(0, Decimal(dollars).adjusted() * -1 - 2)))
            specs.append(
                _spec(
                    f"{base}/{quote}",
                    str(price.quantize(tick)),
                    f"{tick:f}",
                    f"{step:f}",
                    levels=300,
                    changes=0.6,
                )
            )
    return specs
