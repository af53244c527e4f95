"""The 24-hour ticker of a symbol, as far as the exchange of this computer knows it.

Source: Binance Spot API, "24hr ticker price change statistics", the fields of `type=MINI`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from orderbook_desktop.exchange.local.source import Listing

_DAY_MS: Final = 86_400_000


def day_ticker(listing: Listing, now_ms: int) -> dict[str, Any]:
    """Return the ticker at `now_ms` (ms since the epoch): its volume, and one price for all."""
    price = Decimal(listing.price)
    base_volume = Decimal(listing.day_volume) / price if price else price
    prices = dict.fromkeys(("openPrice", "highPrice", "lowPrice", "lastPrice"), listing.price)
    return {
        "symbol": listing.market,
        **prices,
        "volume": f"{base_volume:.8f}",
        "quoteVolume": listing.day_volume,
        "openTime": now_ms - _DAY_MS,
        "closeTime": now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": 0,
    }
