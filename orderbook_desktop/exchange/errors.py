"""What can go wrong with the exchange.

KnownError
└── ExchangeError           anything about the exchange
    ├── Unreachable         no connection, a timeout, or a server error (5xx)
    ├── RateLimited         418, 429 or 403: told to wait
    ├── Paced               we wait of our own accord, before we are told to
    ├── RegionBlocked       451: not served where we are
    ├── UnknownSymbol       the exchange does not trade it
    └── UnexpectedAnswer    an answer that is none of its documents'
"""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from orderbook_desktop.core.errors import KnownError

_PAUSE_WITHOUT_HEADER_S: Final = 60.0
# Binance Spot API, "LIMITS": bans last three days at most. What asks for more is mistaken.
_LONGEST_PAUSE_S: Final = 3 * 86_400.0


class ExchangeError(KnownError):
    """Something about the exchange failed."""


class Unreachable(ExchangeError):
    """The exchange at `url` did not answer; `reason` says how it failed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return (
            f"The exchange at {self.url} can't be reached ({self.reason}); "
            "check the network connection. Trying again."
        )


class RateLimited(ExchangeError):
    """The exchange wants a pause of `retry_after_s` seconds; HTTP `status` is 418, 429 or 403."""

    def __init__(self, retry_after_s: float, status: int) -> None:
        self.retry_after_s = retry_after_s
        self.status = status
        super().__init__(retry_after_s, status)

    @property
    def banned(self) -> bool:
        """Whether the address was banned for not having waited before."""
        return self.status == 418

    def __str__(self) -> str:
        what = {
            403: "The exchange's firewall refuses this address for now (HTTP 403)",
            418: "The exchange has banned this address for a while",
        }.get(self.status, "The exchange asks for fewer requests")
        return f"{what}; trying again in {self.retry_after_s:.0f} s."


class Paced(ExchangeError):
    """We wait for `retry_after_s` seconds, to stay within the exchange's request limit."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(retry_after_s)

    def __str__(self) -> str:
        return (
            f"Waiting {math.ceil(self.retry_after_s)} s: the exchange limits how many whole "
            "books may be asked for in a minute."
        )


class RegionBlocked(ExchangeError):
    """The exchange at `url` does not serve this region (HTTP `status`)."""

    def __init__(self, url: str, status: int) -> None:
        self.url = url
        self.status = status
        super().__init__(url, status)

    def __str__(self) -> str:
        return (
            f"The exchange at {self.url} doesn't serve your region (HTTP {self.status}); "
            "set ORDERBOOK_REST_URL and ORDERBOOK_WS_URL to addresses that do, "
            "or start the demo."
        )


class UnknownSymbol(ExchangeError):
    """The exchange does not trade `symbol`."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        super().__init__(symbol)

    def __str__(self) -> str:
        return f"The exchange doesn't trade {self.symbol}; write a spot symbol such as BTC/USDT."


class UnexpectedAnswer(ExchangeError):
    """The exchange at `url` gave an answer that is none of its documents'."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return (
            f"{self.url} gave an answer that isn't Binance's ({self.reason}); "
            "check ORDERBOOK_REST_URL and ORDERBOOK_WS_URL."
        )


def refusal(url: str, status: int, retry_after: str | None, now_s: float) -> ExchangeError:
    """Return the error for an HTTP `status` other than success, got from `url` at `now_s`.

    `retry_after` is the header of that name, if there is one; `now_s` is in seconds since
    the epoch. Source: Binance Spot API, "HTTP Return Codes": 403 is its web application
    firewall's limit, which passes.
    """
    if status in (403, 418, 429):
        return RateLimited(pause_from(retry_after, now_s), status)
    if status == 451:
        return RegionBlocked(url, status)
    if status >= 500:
        return Unreachable(url, f"HTTP {status}")
    return UnexpectedAnswer(url, f"HTTP {status}")


def pause_from(retry_after: str | None, now_s: float) -> float:
    """Return the seconds to wait by a Retry-After header: seconds, or an HTTP date.

    A minute, the exchange's interval of counting, where it is missing or makes no sense.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        pause = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return _PAUSE_WITHOUT_HEADER_S
        pause = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now_s
    return min(max(pause, 0.0), _LONGEST_PAUSE_S)


def connect_reason(error: BaseException) -> str:
    """Return in a few words why a connection could not be opened."""
    match error:
        case TimeoutError():
            reason = "no answer in time"
        case ssl.SSLCertVerificationError():
            reason = f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            reason = "it does not speak TLS as it should"
        case socket.gaierror():
            reason = "its name is not known"
        case ConnectionResetError():
            reason = "connection reset"
        case OSError(errno=int(number)) if number in errno.errorcode:
            reason = os.strerror(number).lower()
        case _:
            reason = str(error) or type(error).__name__
    return reason
