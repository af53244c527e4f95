"""Requests to the exchange's REST interface, with bounded answers.

The received and the unpacked bytes are counted as they arrive, and the whole request has a time
limit. So an answer can neither fill the memory nor last for ever. Redirects are not followed,
cookies are not kept, and only the requested compression is accepted. aiohttp is imported with the
first request, so that the window does not wait for it.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    ProxyFailed,
    Redirected,
    TooLarge,
    UnexpectedAnswer,
    Unreachable,
    WebPage,
    connect_reason,
)
from orderbook_desktop.exchange.proxies import Proxy, proxy_for

if TYPE_CHECKING:
    import aiohttp

# Far more than a book of 5,000 levels a side has.
MOST_BYTES: Final = 16 * 2**20
# A list of all symbols is read slice by slice.
MOST_OF_A_LIST: Final = 64 * 2**20
# Only the beginning of an error's answer is of use.
_MOST_OF_AN_ERROR: Final = 16 * 2**10
_UNPACKED_AT_ONCE: Final = 256 * 2**10
_LONGEST_WEIGHT: Final = 9
# The local exchange names by these the prices within which its book is whole: it may play a
# capture, whose snapshot is all that is known. Binance has no such headers, and needs none: it
# serves as many levels as were asked for, or the whole side.
KNOWN_FROM: Final = "X-Known-From"
KNOWN_TO: Final = "X-Known-To"
# In place of a price: the side has no end, or it is not known how deep it is known.
NO_END: Final = "none"
NOWHERE: Final = "unknown"
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class Answer(Struct, frozen=True):
    """An answer of the exchange.

    `body` is empty where `take` got it; of an error it has the beginning. `retry_after` is the
    header of that name. `used_weight` is the header of the request weight, where it is a number.
    `known` are the texts of `KNOWN_FROM` and `KNOWN_TO`; None where one of them is missing.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    used_weight: int | None = None
    known: tuple[str, str] | None = None


class HttpClient:
    """Gets what is at `base_url`; close it with `close()`.

    A request fails that takes longer than `timeout_s` from its beginning to its last byte.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self,
        path: str,
        query: dict[str, str],
        most_bytes: int = MOST_BYTES,
        take: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Return the answer; the body of a good one goes to `take` in slices, where that is given.

        Raises `ExchangeError`, `TooLarge` for a body of more than `most_bytes`.
        """
        proxy = proxy_for(self.base_url)
        session = await self._opened()
        import aiohttp  # noqa: PLC0415 (see the module's docstring)

        through = {} if proxy is None else _options_of(proxy, self.base_url)
        try:
            async with session.get(
                self.base_url + path, params=query, allow_redirects=False, **through
            ) as response:
                return await self._read(response, most_bytes, take, proxy)
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            raise self._explained(error, proxy) from error

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # The loop must not wait for the import, nor for the lock of an import in another
            # thread.
            await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp  # noqa: PLC0415 (see the module's docstring)

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                headers={"Accept-Encoding": "gzip"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_UNPACKED_AT_ONCE,
            )
        return self._session

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        most_bytes: int,
        take: Callable[[bytes], None] | None,
        proxy: Proxy | None,
    ) -> Answer:
        status, headers = response.status, response.headers
        if 300 <= status < 400:
            raise Redirected(self.base_url, plain_text(headers.get("Location", ""), 100))
        if status == 407 and proxy is not None:
            raise ProxyFailed(proxy.variable, proxy.address, status_of_proxy(status))
        body = bytearray()
        is_good = status == 200
        parts = self._parts(response, most_bytes if is_good else _MOST_OF_AN_ERROR)
        try:
            async with aclosing(parts):
                async for part in parts:
                    if is_good and take is not None:
                        take(part)
                    else:
                        body += part
        except TooLarge:
            response.close()
            if is_good:
                raise
        if is_good and body[:64].lstrip().startswith(b"<"):
            raise WebPage(self.base_url)
        weight = headers.get("X-MBX-USED-WEIGHT-1M", "")
        is_number = weight.isascii() and weight.isdecimal() and len(weight) <= _LONGEST_WEIGHT
        known_from, known_to = headers.get(KNOWN_FROM, ""), headers.get(KNOWN_TO, "")
        return Answer(
            status,
            bytes(body),
            headers.get("Retry-After"),
            int(weight) if is_number else None,
            (known_from, known_to) if known_from and known_to else None,
        )

    async def _parts(
        self, response: aiohttp.ClientResponse, most_bytes: int
    ) -> AsyncGenerator[bytes]:
        """Iterate over the unpacked body as it comes; raises `TooLarge`."""
        unpacker = self._unpacker(response.headers.get("Content-Encoding", ""))
        received = unpacked = 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
            for part in _unpacked(chunk, unpacker):
                unpacked += len(part)
                if max(received, unpacked) > most_bytes:
                    raise TooLarge(self.base_url, most_bytes)
                yield part
                # A chunk may unpack to a thousand times its size: let other tasks run in between.
                await asyncio.sleep(0)
        if unpacker is not None and not unpacker.eof:
            raise Unreachable(self.base_url, "the answer broke off")

    def _unpacker(self, encoding: str) -> zlib._Decompress | None:
        match encoding.strip().lower():
            case "" | "identity":
                return None
            case "gzip" | "x-gzip" | "deflate":
                return zlib.decompressobj(_GZIP_OR_ZLIB)
            case _:
                reason = f"it is packed as {plain_text(encoding, 20)}, which was not asked for"
                raise UnexpectedAnswer(self.base_url, reason)

    def _explained(self, error: Exception, proxy: Proxy | None) -> ExchangeError:
        """Return our error for an error of aiohttp, or of the layers below it."""
        import aiohttp  # noqa: PLC0415 (see the module's docstring)

        if proxy is not None and (failed := _failure_of_proxy(error, proxy)) is not None:
            return failed
        match error:
            case zlib.error():
                return UnexpectedAnswer(self.base_url, "it can't be unpacked")
            case TimeoutError():
                reason = f"no answer within {self._timeout_s:.0f} s"
            case aiohttp.ClientConnectorCertificateError():
                reason = connect_reason(error.certificate_error)
            case aiohttp.ClientConnectorError():
                reason = connect_reason(error.os_error)
            case aiohttp.ClientPayloadError():
                reason = "the answer broke off"
            case aiohttp.ClientResponseError():
                return UnexpectedAnswer(self.base_url, "no HTTP as it should be")
            case aiohttp.NonHttpUrlClientError() | ValueError():  # InvalidURL is a ValueError too.
                return UnexpectedAnswer(self.base_url, "not a web address")
            case _:
                reason = connect_reason(error)
        if proxy is not None:
            reason = f"{reason}, through the proxy {proxy.address} of {proxy.variable}"
        return Unreachable(self.base_url, reason)


def _unpacked(chunk: bytes, unpacker: zlib._Decompress | None) -> Iterator[bytes]:
    """Iterate over what `chunk` unpacks to, in small parts."""
    if unpacker is None:
        yield chunk
        return
    while chunk and not unpacker.eof:
        yield unpacker.decompress(chunk, _UNPACKED_AT_ONCE)
        chunk = unpacker.unconsumed_tail


def _options_of(proxy: Proxy, base_url: str) -> dict[str, Any]:
    """Return aiohttp's options for a request for `base_url` through `proxy`."""
    options: dict[str, Any] = {"proxy": proxy.address}
    if proxy.user is not None:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        # In a tunnel the proxy does not see the request, so the credentials go into the
        # connection.
        name = "proxy_headers" if base_url.startswith("https:") else "headers"
        options[name] = {"Proxy-Authorization": f"Basic {credentials}"}
    return options


def _failure_of_proxy(error: Exception, proxy: Proxy) -> ProxyFailed | None:
    """Return the proxy's fault, or None where the proxy is not at fault."""
    import aiohttp  # noqa: PLC0415 (see the module's docstring)

    match error:
        case aiohttp.ClientHttpProxyError():
            reason = status_of_proxy(error.status)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return None
        case aiohttp.ClientConnectorError() if error.host == urlsplit(proxy.address).hostname:
            reason = connect_reason(error.os_error)
        case _:
            return None
    return ProxyFailed(proxy.variable, proxy.address, reason)


def status_of_proxy(status: int) -> str:
    """Return the meaning of the `status` by which a proxy answers a request for a connection."""
    if status == 407:
        return "it asks for a user name and password: http://user:password@host:port"
    return f"it answers HTTP {status}"
