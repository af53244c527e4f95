"""The token that a viewer shows, in the link, a header or the cookie that the link left."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode

_SCHEME: Final = "bearer "
_MAX_FIELDS: Final = 16
_KEPT_S: Final = 30 * 24 * 3600


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class TokenCheck:
    """Compares tokens in constant time. `port` keeps the cookies of two servers apart."""

    def __init__(self, token: str, port: int) -> None:
        self._token = token.encode()
        self._cookie = f"orderbook_token_{port}"

    def accepts(self, headers: Mapping[str, str], query: str) -> bool:
        """Whether a request with these headers (by lower-case name) and query has the token."""
        # Every candidate is compared, so that the time tells nothing about any.
        matches = [self._matches(one) for one in self._candidates(headers, query)]
        return any(matches)

    def in_query(self, query: str) -> bool:
        """Whether the token came in the link, from where it should go into the cookie."""
        return any(self._matches(one) for one in _from_query(query))

    def cookie(self) -> str:
        """Return the `Set-Cookie` header that keeps the token, out of reach of scripts.

        Lax, not Strict: a link that was followed from another site, such as a web mail's, would
        be refused right after it had left the cookie. Whatever but the page itself another
        site asks for comes without the cookie all the same, and `Gate` refuses it.
        """
        value = self._token.decode()
        return f"{self._cookie}={value}; Path=/; Max-Age={_KEPT_S}; HttpOnly; SameSite=Lax"

    def _matches(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode("utf-8", "surrogateescape"), self._token)

    def _candidates(self, headers: Mapping[str, str], query: str) -> list[str]:
        found = _from_query(query)
        authorization = headers.get("authorization", "")
        if authorization[: len(_SCHEME)].lower() == _SCHEME:
            found.append(authorization[len(_SCHEME) :].strip())
        # The window makes tokens, but reads none.
        from starlette.requests import cookie_parser  # noqa: PLC0415

        # Cookies know no ports: other programs' are among them, well-formed or not.
        cookies = cookie_parser(headers.get("cookie", ""))
        if self._cookie in cookies:
            found.append(cookies[self._cookie])
        return found


def _from_query(query: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS).get("token", [])
    except ValueError:
        return []


def without_token(query: str) -> str:
    """Return the query without its token, to be shown, kept and sent on."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    return urlencode([(name, value) for name, value in pairs if name != "token"])
