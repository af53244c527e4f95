"""The exchange's refusals as errors, and the sentences that people read."""

from __future__ import annotations

import errno
import math
import socket
import ssl
from email.utils import formatdate

import pytest

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.errors import (
    Paced,
    RateLimited,
    RegionBlocked,
    UnexpectedAnswer,
    UnknownSymbol,
    Unreachable,
    connect_reason,
    pause_from,
    refusal,
)

NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        (formatdate(NOW_S + 90, usegmt=True), 90.0),
        (formatdate(NOW_S + 90), 90.0),
        (formatdate(NOW_S - 90, usegmt=True), 0.0),
        (None, 60.0),
        ("", 60.0),
        ("soon", 60.0),
        ("-5", 60.0),
        ("1.5", 60.0),
        ("²", 60.0),
        ("9" * 400, math.inf),
        ("1" + "0" * 30, math.inf),
        ("NaN", 60.0),
        ("-" + "9" * 400, 60.0),
        ("Fri, 31 Dec 9999 23:59:59 +9999", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT" + " " * 70 + "x", 60.0),
    ],
)
def test_retry_after(header: str | None, pause: float) -> None:
    assert pause_from(header, NOW_S) == pause


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (418, RateLimited),
        (429, RateLimited),
        (451, RegionBlocked),
        (403, RateLimited),
        (500, Unreachable),
        (503, Unreachable),
        (404, UnexpectedAnswer),
        (301, UnexpectedAnswer),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[KnownError]) -> None:
    error = refusal("http://host", status, "7", NOW_S)
    assert type(error) is kind


def test_a_blocked_region_names_the_settings_that_help() -> None:
    sentence = str(refusal("http://host", 451, None, NOW_S))
    for part in ("http://host", "451", "ORDERBOOK_REST_URL", "ORDERBOOK_WS_URL"):
        assert part in sentence


def test_a_ban_is_told_from_a_request_to_slow_down() -> None:
    assert "banned" in str(refusal("", 418, "30", NOW_S))
    assert "banned" not in str(refusal("", 429, "30", NOW_S))
    assert "30 s" in str(refusal("", 429, "30", NOW_S))


def test_the_firewall_is_told_from_a_blocked_region() -> None:
    sentence = str(refusal("", 403, None, NOW_S))
    assert "firewall" in sentence
    assert "HTTP 403" in sentence
    assert "60 s" in sentence
    assert "region" not in sentence


def test_a_symbol_that_was_delisted_is_not_told_to_be_written_another_way() -> None:
    sentence = str(UnknownSymbol("LUNA/USDT"))
    assert sentence.startswith("The exchange doesn't trade LUNA/USDT, or not any more")
    assert "What is recorded of it stays." in sentence
    assert "write" not in sentence


def test_our_own_pacing_blames_nobody() -> None:
    assert str(Paced(22.2)) == (
        "Waiting 23 s: the exchange limits how many whole books may be asked for in a minute."
    )


def test_sentences_say_what_and_what_to_do() -> None:
    assert "check ORDERBOOK_REST_URL" in str(UnexpectedAnswer("http://host", "HTTP 404"))
    assert "XX/YY" in str(UnknownSymbol("XX/YY"))
    assert "HTTP 503" in str(refusal("http://host", 503, None, NOW_S))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "refused"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "name is not known"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "TLS"),
        (ValueError("odd"), "odd"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons_are_for_people(error: Exception, words: str) -> None:
    assert words in connect_reason(error)


def test_a_refused_certificate_is_told_why() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    assert "certificate" in connect_reason(error)
    assert "self-signed" in connect_reason(error)
