"""The headers that tell a browser what the page may do: little more than show itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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


def policy_text(allowed: Mapping[str, str]) -> str:
    """Return the content security policy that allows this much, and nothing else."""
    return "; ".join(f"{name} {value}" for name, value in {**_NOTHING, **allowed}.items())


SECURITY_HEADERS: Final = {
    "content-security-policy": policy_text(_OUR_OWN),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
