"""The gate: an ASGI application that refuses each request that fails a check."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.web.safety.hosts import HostCheck, ProxyCheck
from orderbook_desktop.web.safety.tokens import TokenCheck, without_token
from orderbook_desktop.web.templates import Templates

_NOTHING: Final = {
    "default-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_OUR_OWN: Final = {
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
}

# With more addresses than this, the address that has been quiet longest is forgotten.
_REMEMBERED: Final = 4096

_METHODS: Final = ("GET", "HEAD")
# This path says only that the server works; a container's health check has no token.
_OPEN_PATHS: Final = ("/healthz",)
_PAGES: Final = ("/",)
_WHOLE_LINK: Final = (
    "This order book opens by its whole link only, with the token at the end. The terminal or the"
    " window of the program shows the link; a restart of the program may have changed it."
)

# For these statuses another try would be refused in the same way.
_NO_WAY_ON = (401, 421)


def _policy_text(allowed: Mapping[str, str]) -> str:
    """Return the content security policy that allows `allowed`, and nothing else."""
    return "; ".join(f"{name} {value}" for name, value in {**_NOTHING, **allowed}.items())


SECURITY_HEADERS: Final = {
    "content-security-policy": _policy_text(_OUR_OWN),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class RateCheck:
    """Allows each address `per_s` requests a second, and `burst` at once after a quiet time."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, address: str, now: float) -> bool:
        """Whether `address` may make a request at the time `now` (seconds); counts it."""
        tokens, since = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_s)
        allowed = tokens >= 1
        # The address goes to the end, so the first one has been quiet longest.
        self._buckets[address] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        return allowed


class Refusal(Struct, frozen=True):
    """The reason why a request is refused."""

    status: int
    sentence: str
    headers: tuple[tuple[str, str], ...] = ()


class Gate:
    """Checks method, size, host, origin, rate and token of a request before `app` gets it.

    `target_bytes` limits path and query, `head_bytes` the whole head of a request. `token` is
    None if no token is required. `proxies` says which requests came by https. `refuse_page`
    makes the page of a refusal from a status and a sentence. A security header that an answer
    sets itself stays as it is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        target_bytes: int,
        head_bytes: int,
        rates: RateCheck,
        hosts: HostCheck,
        proxies: ProxyCheck,
        token: TokenCheck | None,
        refuse_page: Callable[[int, str], Response],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._target_bytes = target_bytes
        self._head_bytes = head_bytes
        self._rates = rates
        self._hosts = hosts
        self._proxies = proxies
        self._token = token
        self._refuse_page = refuse_page
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by `app` or by a refusal."""
        if scope["type"] != "http":
            return
        request = _Request(scope)
        refusal = self._refusal(request)
        secured = _with_security_headers(send)
        if refusal is not None:
            await self._answer(refusal, request)(scope, receive, secured)
        elif self._token and request.path in _PAGES and self._token.in_query(request.query):
            # The redirect keeps the token out of the address line, the history and referrers.
            query = without_token(request.query)
            response = RedirectResponse(request.path + (f"?{query}" if query else ""), 303)
            secure = self._proxies.is_https(request.address, request.headers)
            response.headers["set-cookie"] = self._token.cookie(secure=secure)
            response.headers["cache-control"] = "no-store"
            await response(scope, receive, secured)
        else:
            await self._app(scope, receive, secured)

    def _refusal(self, request: _Request) -> Refusal | None:
        return self._misshapen(request) or self._foreign(request) or self._unwelcome(request)

    def _misshapen(self, request: _Request) -> Refusal | None:
        if request.method not in _METHODS:
            allow = (("allow", ", ".join(_METHODS)),)
            return Refusal(405, "This server answers only GET and HEAD.", allow)
        if request.target_bytes > self._target_bytes:
            return Refusal(414, "The address is too long.")
        if request.head_bytes > self._head_bytes:
            return Refusal(431, "The request's head is too long.")
        if request.has_body:
            return Refusal(413, "A request here has no body.")
        return None

    def _foreign(self, request: _Request) -> Refusal | None:
        if not self._hosts.accepts(request.headers.get("host", "")):
            return Refusal(
                421, "This server does not have that name; open it by its address in digits."
            )
        if request.is_foreign:
            return Refusal(403, "Pages of other sites may not request this.")
        return None

    def _unwelcome(self, request: _Request) -> Refusal | None:
        if not self._rates.allows(request.address, self._now()):
            return Refusal(429, "Too many requests; wait a moment.", (("retry-after", "1"),))
        if self._token is None or request.path in _OPEN_PATHS:
            return None
        if self._token.accepts(request.headers, request.query):
            return None
        return Refusal(401, _WHOLE_LINK, (("www-authenticate", "Bearer"),))

    def _answer(self, refusal: Refusal, request: _Request) -> Response:
        if is_for_a_person(request.headers):
            response = self._refuse_page(refusal.status, refusal.sentence)
        else:
            body = msgspec.json.encode({"detail": refusal.sentence})
            response = Response(body, refusal.status, media_type="application/json")
        response.headers.update({**dict(refusal.headers), "cache-control": "no-store"})
        return response


class _Request:
    """The parts of a request that the checks look at."""

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        raw_path: bytes = scope.get("raw_path") or self.path.encode()
        self.target_bytes = len(raw_path) + len(scope["query_string"])
        # A header that comes twice is joined, so that it passes no check.
        self.headers: dict[str, str] = {}
        self.head_bytes = self.target_bytes
        for name, value in scope["headers"]:
            self.head_bytes += len(name) + len(value)
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        client = scope.get("client")
        self.address: str = client[0] if client else ""

    @property
    def has_body(self) -> bool:
        """Whether the request announces a body."""
        length = self.headers.get("content-length", "0").strip()
        return "transfer-encoding" in self.headers or length not in ("", "0")

    @property
    def is_foreign(self) -> bool:
        """Whether another site's page made the request; a followed link to the page is not."""
        site = self.headers.get("sec-fetch-site", "none")
        if site in ("cross-site", "same-site"):
            return self.headers.get("sec-fetch-mode") != "navigate" or self.path not in _PAGES
        origin = self.headers.get("origin")
        if origin is None:
            return False
        return origin.partition("://")[2] != self.headers.get("host", "")


def _with_security_headers(send: Send) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return secured


def is_for_a_person(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers (lower-case names) is for a whole page.

    htmx also asks for HTML, but would put the page into the page that is open.
    """
    return "text/html" in headers.get("accept", "") and "hx-request" not in headers


class RefusalPage:
    """Makes pages that load no other file, since the server would refuse that as well.

    The style sheet is in the page. The page's own policy names the hash of the style sheet, and
    allows nothing else.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._style = resource_path("web/static/theme.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._policy = _policy_text({"style-src": f"'sha256-{digest}'"})

    def response(self, status: int, sentence: str) -> HTMLResponse:
        """Return the page for a refusal with this status."""
        text = self._templates.refusal(sentence, self._style, has_way_on=status not in _NO_WAY_ON)
        return HTMLResponse(text, status, {"content-security-policy": self._policy})
