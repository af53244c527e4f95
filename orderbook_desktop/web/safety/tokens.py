"""The token that a viewer shows, in the link or a header, and the session that the link opens."""

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
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class Sessions:
    """Makes and knows sessions: a random name and its end, signed with a key of our own.

    The key comes from the token by a function that is slow on purpose, so that a session does
    not tell the token. Hence all sessions end when the token changes, one that was made before
    a restart with the same token goes on, and none takes memory. `now` is in seconds since 1970.
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
        # One that ends later than any that is made now comes from before the clock was set back.
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
        """Whether a request with these headers (by lower-case name) and query may be answered."""
        # Every candidate is compared, so that the time tells nothing about any.
        matches = [self._matches(one) for one in self._candidates(headers, query)]
        return any(matches) or self._has_session(headers)

    def in_query(self, query: str) -> bool:
        """Whether the token came in the link; a session should take its place."""
        return any(self._matches(one) for one in _from_query(query))

    def cookie(self, *, secure: bool) -> str:
        """Return the `Set-Cookie` header of a new session, out of reach of scripts.

        `secure` is whether the browser came by https; then it sends the cookie only so.
        Lax, not Strict: a link that was followed from another site, such as a web mail's, would
        be refused right after it had left the cookie. Whatever but the page itself another
        site asks for comes without the cookie all the same, and `Gate` refuses it.
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

        # Cookies know no ports: other programs' are among them, well-formed or not.
        cookies = cookie_parser(headers.get("cookie", ""))
        return self._sessions.knows(cookies.get(self._cookie, ""))


def _from_query(query: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS).get("token", [])
    except ValueError:
        return []


def without_token(query: str) -> str:
    """Return the query without its token, to be shown, kept and sent on."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    return urlencode([(name, value) for name, value in pairs if name != "token"])
