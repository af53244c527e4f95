"""Requests that the OpenAPI schema allows, and many that it forbids, make no server error."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.server import WebServer
from tests.examples import examples
from tests.web.hand_library import loaded_library
from tests.web.threaded import serving

# Streams are old as soon as they begin, so that every answer has an end.
_LIMITS = Limits(stream_age_s=0.0, requests_per_s=10_000.0)


@pytest.fixture(scope="module")
def served() -> Iterator[WebServer]:
    options = WebOptions(port=0, limits=_LIMITS)
    with serving(loaded_library(), options) as server:
        yield server


_PATHS = (
    *("/", "/events", "/symbols", "/stream", "/api/book", "/api/status", "/healthz"),
    *("/api/heatmap", "/api/heatmap/live", "/api/heatmap/colours"),
)
_WITHOUT_PARAMETERS = ("/api/status", "/healthz")
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (path, mode)
        for path in _PATHS
        for mode in schemathesis.GenerationMode
        if mode is schemathesis.GenerationMode.POSITIVE or path not in _WITHOUT_PARAMETERS
    ],
)
def test_no_request_makes_the_server_fail(
    served: WebServer, path: str, mode: schemathesis.GenerationMode
) -> None:
    operation: Any = schemathesis.openapi.from_url(served.address + "openapi.json")[path]["GET"]
    answered = []

    @examples(
        40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(timeout=60)
        answered.append(answer.status_code)
        case.validate_response(answer, checks=_CHECKS)

    ask()
    assert answered
    assert max(answered) < 500


@pytest.mark.parametrize(
    "target",
    [
        *("/api/book?depth=" + "9" * 400, "/api/book?symbol=%ff%fe", "/?group=0.%30"),
        *("/%00", "/stream?symbol=%F0%9F%92%B0", "//", "/api/book?symbol[]=a", "/?live[]=x"),
        *("*", "http://evil.example/api/book", "/events?group=999999999999.99999999"),
    ],
)
def test_odd_addresses_are_answered_too(served: WebServer, target: str) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.putrequest("GET", target, skip_accept_encoding=True)
        connection.endheaders()
        assert connection.getresponse().status < 500
    finally:
        connection.close()
