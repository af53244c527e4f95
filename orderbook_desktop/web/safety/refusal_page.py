"""The page that tells a person why there is no book."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from starlette.responses import HTMLResponse

from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.web.safety.headers import policy_text
from orderbook_desktop.web.templates import Templates

# Another try would be refused in the same way.
_NO_WAY_ON = (401, 421)


def is_for_a_person(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers (by lower-case name) wants a page of its own.

    htmx asks for HTML, too, but would read the page as a part of another one.
    """
    return "text/html" in headers.get("accept", "") and "hx-request" not in headers


class RefusalPage:
    """Makes pages that need nothing else, as whatever they asked for would be refused, too.

    The style is in the page, and named by its hash in a policy of its own, which allows
    nothing but that.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._style = resource_path("web/static/theme.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._policy = policy_text({"style-src": f"'sha256-{digest}'"})

    def response(self, status: int, sentence: str) -> HTMLResponse:
        """Return the page for a refusal with this status."""
        text = self._templates.refusal(sentence, self._style, has_way_on=status not in _NO_WAY_ON)
        return HTMLResponse(text, status, {"content-security-policy": self._policy})
