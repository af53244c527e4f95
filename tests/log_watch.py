"""Unexpected log records at WARNING or above fail a test.

A test that provokes one says so; the pattern is searched for in `LEVEL logger: message`:

    @pytest.mark.expects_log(r"WARNING .*exchange.*: .*closed")   # must be logged
    @pytest.mark.allows_log(r"reconnecting")                      # may be logged
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest


class _Collector(logging.Handler):
    """Keeps the text of every record at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def only_expected_logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that logs what it did not announce, or announces what it does not log."""
    collector = _Collector()
    logging.getLogger().addHandler(collector)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(collector)
    expected = _patterns(request, "expects_log")
    welcome = [*expected, *_patterns(request, "allows_log")]
    surplus = [
        line for line in collector.lines if not any(re.search(pattern, line) for pattern in welcome)
    ]
    if surplus:
        pytest.fail("unexpected log records:\n" + "\n".join(surplus), pytrace=False)
    for pattern in expected:
        if not any(re.search(pattern, line) for line in collector.lines):
            pytest.fail(f"expected log record {pattern!r} is missing", pytrace=False)


def _patterns(request: pytest.FixtureRequest, marker: str) -> list[str]:
    return [pattern for mark in request.node.iter_markers(marker) for pattern in mark.args]
