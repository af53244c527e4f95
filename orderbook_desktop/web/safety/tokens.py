"""The token that a viewer sends, in the link or a header, and the session that the link opens."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode

_SCHEME: Final = "bearer "
_MAX_FIELDS: Final = 16
_SESSION_S: Final = 30 * 24 * 3600
_SESSION: Final = re.compile(r"([A-Za-z0-9_-]{32}\.([0-9]{1,12}))\.([0-9a-f]{64})")


def new_token() -> str:
    """Return a new token of 192 random bits."""
    return secrets.token_urlsafe(24)


class Sessions:
    """Makes and checks sessions. A session is a random name and an end time, with a signature.

    The key of the signature derives from the token by a function that is slow on purpose, so
    that a session does not reveal the token. All sessions end when the token changes. After a
    restart with the same token the sessions go on. Sessions take no memory. `now` returns
    seconds since 1970.
    """

    def __init__(self, token: str, now: Callable[[], float] = time.time) -> None:
        salt = b"orderbook-desktop viewer session"
        self._key = hashlib.scrypt(token.encode(), salt=salt, n=2**14, r=8, p=1)
        self._now = now

    def new(self) -> str:
        """Return a new session, which ends after 30 days."""
        text = f"{secrets.token_urlsafe(24)}.{int(self._now()) + _SESSION_S}"
        return f"{text}.{self._signature(text)}"

    def knows(self, session: str) -> bool:
        """Whether `session` was made with our token, and has not ended."""
        match = _SESSION.fullmatch(session)
        if match is None:
            return False
        is_ours = hmac.compare_digest(self._signature(match[1]), match[3])
        # A session that ends later than a new one was made before the clock was set back.
        return is_ours and 0 < int(match[2]) - self._now() <= _SESSION_S

    def _signature(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()


class TokenCheck:
    """Compares tokens in constant time. `port` keeps the cookies of two servers apart."""

    def __init__(self, token: str, port: int) -> None:
        self._token = token.encode()
        self._sessions = Sessions(token)
        self._cookie = f"orderbook_session_{port}"

    def accepts(self, headers: Mapping[str, str], query: str) -> bool:
        """Whether the headers (lower-case names) or the query hold the token or a session."""
        # Every candidate is compared, so that the time reveals nothing about them.
        matches = [self._matches(candidate) for candidate in self._candidates(headers, query)]
        return any(matches) or self._has_session(headers)

    def in_query(self, query: str) -> bool:
        """Whether the query holds the token; a session should take its place."""
        return any(self._matches(candidate) for candidate in _from_query(query))

    def cookie(self, *, secure: bool) -> str:
        """Return the `Set-Cookie` header of a new session, which scripts can't read.

        `secure` is whether the browser came by https; it then sends the cookie only by https.
        The cookie is Lax, not Strict: with Strict, a link on another site, such as a web mail,
        would set the cookie, and the redirect after it would be refused. Other requests from
        other sites come without a Lax cookie, too, and `Gate` refuses them.
        """
        value = f"{self._cookie}={self._sessions.new()}; Path=/; Max-Age={_SESSION_S}"
        return f"{value}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def _matches(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode("utf-8", "surrogateescape"), self._token)

    def _candidates(self, headers: Mapping[str, str], query: str) -> list[str]:
        found = _from_query(query)
        authorization = headers.get("authorization", "")
        if authorization[: len(_SCHEME)].lower() == _SCHEME:
            found.append(authorization[len(_SCHEME) :].strip())
        return found

    def _has_session(self, headers: Mapping[str, str]) -> bool:
        # The window makes tokens, but reads none.
        from starlette.requests import cookie_parser  # noqa: PLC0415

        # Cookies have no port: cookies of other programs are among them, also malformed ones.
        cookies = cookie_parser(headers.get("cookie", ""))
        return self._sessions.knows(cookies.get(self._cookie, ""))


def _from_query(query: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS).get("token", [])
    except ValueError:
        return []


def without_token(query: str) -> str:
    """Return the query without its token."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    return urlencode([(name, value) for name, value in pairs if name != "token"])
