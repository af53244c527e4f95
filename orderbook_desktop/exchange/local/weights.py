"""Request weights: what each request costs, and how much was used in this minute."""

from __future__ import annotations

from typing import Final

EXCHANGE_INFO_WEIGHT: Final = 20
DEPTH_LIMIT_AT_MOST: Final = 5000
_TICKERS_WEIGHTS: Final = ((20, 2), (100, 40))
_ALL_TICKERS_WEIGHT: Final = 80
_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (DEPTH_LIMIT_AT_MOST, 250))


def depth_weight(limit: int) -> int:
    """Return the weight of a depth request for `limit` levels a side (at most 5,000)."""
    return next(weight for most, weight in _DEPTH_WEIGHTS if limit <= most)


def tickers_weight(symbols: int | None) -> int:
    """Return the weight of a request for the 24-hour tickers of `symbols`, None: of all."""
    if symbols is None:
        return _ALL_TICKERS_WEIGHT
    return next((w for most, w in _TICKERS_WEIGHTS if symbols <= most), _ALL_TICKERS_WEIGHT)


class WeightMeter:
    """Counts the weight used in the current minute; `limit` is what a minute allows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._minute = 0

    def use(self, weight: int, now_s: float) -> int:
        """Count `weight` at `now_s` (s since the epoch); return the seconds to wait, 0 if none."""
        if self._minute != int(now_s // 60):
            self._minute, self.used = int(now_s // 60), 0
        self.used += weight
        return 0 if self.used <= self.limit else int(60 - now_s % 60) + 1
