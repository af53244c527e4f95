"""What can go wrong with the exchange.

KnownError
└── ExchangeError           anything about the exchange
    ├── Unreachable         no connection, a timeout, or a server error (5xx)
    ├── BadProxy            a variable names a proxy that can't be used
    ├── ProxyFailed         the proxy that a variable names lets nothing through
    ├── RateLimited         418, 429 or 403: the exchange demands a pause
    ├── Paced               we pause by ourselves, before the exchange demands it
    ├── RegionBlocked       451: not served where we are
    ├── UnknownSymbol       the exchange does not trade it
    ├── NoBook              it is listed, and has no book for now
    ├── TradesNotServed     it no longer serves trades as old as these
    └── UnexpectedAnswer    an answer that is none of its documents'
        ├── TooLarge        … because it is longer than any of theirs
        ├── Redirected      … but sends on to another address
        └── WebPage         … but a page, as networks show it that want a log-in
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.foreign_text import plain_text

_PAUSE_WITHOUT_HEADER_S: Final = 60.0
# A ban may last three days (Binance Spot API, "LIMITS"), or the answer may be wrong. One request
# an hour is right in both cases.
LONGEST_PAUSE_S: Final = 3600.0
_LONGEST_HEADER: Final = 64
# Binance Spot API, "Error codes": too many requests, and too many orders.
_TOO_MANY: Final = frozenset({-1003, -1015})
# Unknown, disconnected, server busy, unexpected response, time-out, shutting down, and too many
# connections: these are temporary.
_PASSING: Final = frozenset({-1000, -1001, -1006, -1007, -1008, -1016, -1034})
# OpenSSL's codes for a certificate that is not valid yet, or has expired.
_BY_DATE: Final = frozenset({9, 10})
_banned_until_ms: Final = re.compile(r"banned until (\d{13})\b", re.ASCII).search


class ExchangeError(KnownError):
    """Something about the exchange failed."""


class Unreachable(ExchangeError):
    """The exchange at `url` did not answer; `reason` says how it failed."""

    url: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The exchange at {self.url} can't be reached ({self.reason}); "
            "check the network connection. Trying again."
        )


class BadProxy(ExchangeError):
    """The environment's `variable` names no proxy that can be used; `reason` says why."""

    variable: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The proxy of {self.variable} isn't understood (it {self.reason}); write it as "
            "http://host:port, or remove it."
        )


class ProxyFailed(ExchangeError):
    """The proxy at `address`, named by `variable`, forwards nothing; `reason` says why."""

    variable: str
    address: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The proxy {self.address} that {self.variable} names doesn't let the program through "
            f"({self.reason}); start it, or correct or remove {self.variable}. Trying again."
        )


class RateLimited(ExchangeError):
    """The exchange wants a pause; HTTP `status` is 418, 429 or 403.

    The exchange asked for `asked_s` seconds. We wait for `retry_after_s` of them.
    """

    def __init__(self, retry_after_s: float, status: int, asked_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        self.status = status
        self.asked_s = max(asked_s, retry_after_s)
        super().__init__(retry_after_s, status, asked_s)

    @property
    def banned(self) -> bool:
        """Whether the exchange banned this address, as it had not waited before."""
        return self.status == 418

    def __str__(self) -> str:
        what = {
            403: "The exchange's firewall refuses this address for now (HTTP 403)",
            418: "The exchange has banned this address for a while",
        }.get(self.status, "The exchange asks for fewer requests")
        if self.asked_s > LONGEST_PAUSE_S:
            what = f"{what}, and to wait for more than an hour"
        return f"{what}; trying again in {self.retry_after_s:.0f} s."


class Paced(ExchangeError):
    """We wait for `retry_after_s` seconds, to stay within the exchange's request limit."""

    retry_after_s: float

    def __str__(self) -> str:
        return (
            f"Waiting {math.ceil(self.retry_after_s)} s: the exchange limits how many whole "
            "books may be asked for in a minute."
        )


class RegionBlocked(ExchangeError):
    """The exchange at `url` does not serve this region (HTTP `status`)."""

    url: str
    status: int

    def __str__(self) -> str:
        return (
            f"The exchange at {self.url} doesn't serve your region (HTTP {self.status}); "
            "set ORDERBOOK_REST_URL and ORDERBOOK_WS_URL to addresses that do, "
            "or start the demo."
        )


class UnknownSymbol(ExchangeError):
    """The exchange does not trade `symbol`."""

    symbol: str

    def __str__(self) -> str:
        return (
            f"The exchange doesn't trade {self.symbol}, or not any more; choose a spot symbol that "
            "it trades. What is recorded of it stays."
        )


class NoBook(ExchangeError):
    """The exchange lists `market` but has no book of it now."""

    market: str

    def __str__(self) -> str:
        return (
            f"The exchange has no book of {self.market} for now: it is listed, but isn't traded; "
            "asking again from time to time."
        )


class TradesNotServed(ExchangeError):
    """The exchange no longer serves the trades of `market` from the id `from_id` on."""

    market: str
    from_id: int

    def __str__(self) -> str:
        return (
            f"The exchange no longer serves the trades of {self.market} from id {self.from_id} on; "
            "import its public files of these days to fill the gap."
        )


class UnexpectedAnswer(ExchangeError):
    """The exchange at `url` gave an answer that its documents do not describe."""

    url: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.url} gave an answer that isn't Binance's ({self.reason}); "
            "check ORDERBOOK_REST_URL and ORDERBOOK_WS_URL."
        )


class TooLarge(UnexpectedAnswer):
    """The answer of `url` is longer than `most_bytes`, which no answer of Binance exceeds."""

    def __init__(self, url: str, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(url, f"it is longer than {most_bytes // 2**20} MiB")


class Redirected(UnexpectedAnswer):
    """The server at `url` redirects to `target`, which is not followed."""

    def __init__(self, url: str, target: str) -> None:
        self.target = target
        super().__init__(url, f"it sends on to {target or 'nowhere'}")

    def __str__(self) -> str:
        return (
            f"{self.url} sends on to {self.target or 'nowhere'}, which is not followed; this "
            "network may want you to log in, else check ORDERBOOK_REST_URL and ORDERBOOK_WS_URL."
        )


class WebPage(UnexpectedAnswer):
    """The exchange at `url` seemed to answer with a web page."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "a web page")

    def __str__(self) -> str:
        return (
            f"A web page came in place of an answer of the exchange at {self.url}; this network "
            "may want you to log in, else check ORDERBOOK_REST_URL and ORDERBOOK_WS_URL."
        )


def refusal(url: str, status: int, retry_after: str | None, now_s: float) -> ExchangeError:
    """Return the error for an HTTP `status` other than success, got from `url` at `now_s`.

    `retry_after` is the header of that name, if there is one; `now_s` is in seconds since the
    epoch. Source: Binance Spot API, "HTTP Return Codes": 403 is the limit of its web application
    firewall, which ends by itself.
    """
    if status in (403, 418, 429):
        return rate_limited(pause_from(retry_after, now_s), status)
    if status == 451:
        return RegionBlocked(url, status)
    if status == 511:  # "Network Authentication Required": the network's own answer.
        return WebPage(url)
    if status >= 500:
        return Unreachable(url, f"HTTP {status}")
    return UnexpectedAnswer(url, f"HTTP {status}")


def coded_refusal(
    url: str, code: int, message: str, retry_after: str | None, now_s: float
) -> ExchangeError | None:
    """Return the error that a `code` in an answer's body stands for; None where it stands for none.

    Source: Binance Spot API, "Error codes". A proxy on the way may have changed the HTTP status.
    """
    if code in _TOO_MANY:
        banned = _banned_until_ms(message[:1000])
        if banned is None:
            return rate_limited(pause_from(retry_after, now_s), 429)
        return rate_limited(max(0.0, int(banned[1]) / 1000 - now_s), 418)
    if code in _PASSING:
        return Unreachable(url, f"it says: {plain_text(message) or code}")
    return None


def rate_limited(asked_s: float, status: int) -> RateLimited:
    """Return the error for a pause of `asked_s`; we wait for an hour at most."""
    return RateLimited(min(asked_s, LONGEST_PAUSE_S), status, asked_s)


def pause_from(retry_after: str | None, now_s: float) -> float:
    """Return the seconds that a Retry-After header asks for: a number, or an HTTP date.

    Where the header is missing or makes no sense, it is a minute, the exchange's counting
    interval.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) <= 12 else math.inf
    if len(text) > _LONGEST_HEADER:
        return _PAUSE_WITHOUT_HEADER_S
    try:
        date = parsedate_to_datetime(text)
        pause = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now_s
    except (ValueError, OverflowError, OSError, TypeError):
        return _PAUSE_WITHOUT_HEADER_S
    return max(pause, 0.0)


def connect_reason(error: BaseException) -> str:
    """Return a few words that say why a connection could not be opened."""
    match error:
        case TimeoutError():
            reason = "no answer in time"
        case ssl.SSLCertVerificationError():
            reason = f"its certificate is not accepted: {_verdict(error)}"
        case ssl.SSLError():
            reason = "it does not speak TLS as it should"
        case socket.gaierror(errno=socket.EAI_AGAIN):
            reason = "its name can't be looked up: no name server answers"
        case socket.gaierror():
            reason = "its name is not known"
        case ConnectionResetError():
            reason = "connection reset"
        case OSError(errno=int(number)) if number in errno.errorcode:
            reason = os.strerror(number).lower()
        case _:
            reason = plain_text(str(error)) or type(error).__name__
    return reason


def missing_authorities(environment: Mapping[str, str] = os.environ) -> str:
    """Return the fault of the certificate authorities that the environment names, or empty."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        named = environment.get(variable, "")
        if named and not any(Path(path).exists() for path in named.split(os.pathsep)):
            return f"{variable} names {plain_text(named)}, which isn't there"
    return ""


def _verdict(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not accepted, with the setting of ours that may be wrong."""
    verdict = plain_text(error.verify_message)
    if getattr(error, "verify_code", 0) in _BY_DATE:
        return f"{verdict}; is the date of this computer right?"
    if missing := missing_authorities():
        return f"{verdict}; {missing}"
    return verdict
