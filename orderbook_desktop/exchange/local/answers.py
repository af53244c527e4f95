"""HTTP answers, and the exchange's error codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

_REASONS = {418: "I'm a teapot", 451: "Unavailable For Legal Reasons"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, JSON body and extra headers of an HTTP answer."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The reason phrase."""
        try:
            return _REASONS.get(self.status) or HTTPStatus(self.status).phrase
        except ValueError:
            return "Unknown"


def json_answer(value: object, status: int = 200) -> Answer:
    """Return `value` as JSON."""
    return Answer(msgspec.json.encode(value), status)


def error_answer(code: int, message: str, status: int = 400, retry_after: int = -1) -> Answer:
    """Return the exchange's error JSON, with Retry-After unless `retry_after` is negative."""
    headers = {"Retry-After": str(retry_after)} if retry_after >= 0 else {}
    return Answer(msgspec.json.encode({"code": code, "msg": message}), status, headers)


def fault_answer(status: int, retry_after: int) -> Answer:
    """Return what the exchange sends along with an HTTP status of trouble."""
    code, message = {
        403: (0, "Forbidden by the web application firewall."),
        418: (-1003, "Way too much request weight used; IP banned."),
        429: (-1003, "Too much request weight used; current limit is 6000 per 1 MINUTE."),
        451: (0, "Service unavailable from a restricted location."),
    }.get(status, (-1000, "An unknown error occurred while processing the request."))
    return error_answer(code, message, status, retry_after)
