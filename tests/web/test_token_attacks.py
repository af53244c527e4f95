"""Attacks without a token, with a wrong one, or on the token itself; each is refused."""

from __future__ import annotations

import logging
import re

import httpx
import pytest

from orderbook_desktop.web.application import create_app
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.safety.hosts import is_loopback
from orderbook_desktop.web.safety.tokens import Sessions, TokenCheck, new_token, without_token
from orderbook_desktop.web.server import WebServer
from tests.web.conftest import TOKEN
from tests.web.hand_library import HandLibrary
from tests.web.reader import watching

_PATHS = ("/", "/events", "/stream", "/symbols", "/api/book", "/api/status", "/static/page.js")


@pytest.mark.parametrize("path", [*_PATHS, "/openapi.json", "/docs", "/nothing"])
async def test_without_the_token_no_path_gives_information(
    stranger: httpx.AsyncClient, path: str
) -> None:
    answer = await stranger.get(path)
    assert answer.status_code == 401
    assert "100.01" not in answer.text
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "wrong", ["", "a", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä", "%00", "\U0001f511"]
)
async def test_a_wrong_token_is_refused_in_query_header_and_cookie(
    stranger: httpx.AsyncClient, wrong: str
) -> None:
    assert (await stranger.get("/api/book", params={"token": wrong})).status_code == 401
    headers = {b"authorization": f"Bearer {wrong or '-'}".encode()}
    assert (await stranger.get("/api/book", headers=headers)).status_code == 401
    cookie = {b"cookie": f"orderbook_session_8000={wrong}".encode()}
    assert (await stranger.get("/api/book", headers=cookie)).status_code == 401


async def test_the_link_leaves_a_cookie_and_no_trace_of_the_token(
    stranger: httpx.AsyncClient,
) -> None:
    answer = await stranger.get(f"/?symbol=BTC%2FUSDT&token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?symbol=BTC%2FUSDT"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("orderbook_session_8000=")
    assert TOKEN not in cookie
    assert "; HttpOnly; SameSite=Lax" in cookie
    assert "Secure" not in cookie
    page = await stranger.get(answer.headers["location"])
    assert page.status_code == 200
    assert TOKEN not in page.text


@pytest.mark.parametrize("other", ['a={"b": 1}', "path=x", "no value", 'q="unended', "é=ü"])
async def test_cookies_of_other_programs_do_not_hide_the_session(
    stranger: httpx.AsyncClient, other: str
) -> None:
    # A browser sends cookies to all ports of a host.
    ours = f"orderbook_session_8000={Sessions(TOKEN).new()}"
    for pair in (f"{other}; {ours}", f"{ours}; {other}"):
        answer = await stranger.get("/api/book", headers={b"cookie": pair.encode()})
        assert answer.status_code == 200


async def test_the_token_is_no_cookie(stranger: httpx.AsyncClient) -> None:
    for name in ("orderbook_session_8000", "orderbook_token_8000"):
        answer = await stranger.get("/api/book", headers={"cookie": f"{name}={TOKEN}"})
        assert answer.status_code == 401


async def test_a_session_is_no_token(stranger: httpx.AsyncClient) -> None:
    session = Sessions(TOKEN).new()
    assert (await stranger.get("/api/book", params={"token": session})).status_code == 401
    headers = {"authorization": f"Bearer {session}"}
    assert (await stranger.get("/api/book", headers=headers)).status_code == 401


def test_each_session_is_another_and_lasts_thirty_days() -> None:
    moment = [1_700_000_000.0]
    sessions = Sessions(TOKEN, lambda: moment[0])
    first, second = sessions.new(), sessions.new()
    assert first != second
    for step, known in ((0, True), (30 * 86400 - 1, True), (1, False), (-40 * 86400, False)):
        moment[0] += step
        assert sessions.knows(first) is known


def test_sessions_end_with_the_token_and_go_on_with_the_same_one() -> None:
    session = Sessions(TOKEN).new()
    assert Sessions(TOKEN).knows(session)
    assert not Sessions(TOKEN + "x").knows(session)


def test_a_session_cannot_be_made_up_or_changed() -> None:
    sessions = Sessions(TOKEN)
    name, end, signature = sessions.new().split(".")
    for forged in (
        f"{name}.{int(end) + 1}.{signature}",
        f"{name[:-1]}{'a' if name[-1] != 'a' else 'b'}.{end}.{signature}",
        f"{name}.{end}.{'0' * 64}",
        f"{name}.{end}.{signature.upper()}0",
        f"{name}.{end}",
        f"{name}.{end}.{signature}\n",
        f"{name}.{'9' * 5000}.{signature}",
        f"{name}.\u0661.{signature}",
        "..",
        "",
    ):
        assert not sessions.knows(forged)


@pytest.mark.parametrize(
    ("headers", "client", "secure"),
    [
        ({"x-forwarded-proto": "https"}, "127.0.0.1", True),
        ({"x-forwarded-proto": "HTTPS, http"}, "::1", True),
        ({"x-forwarded-proto": "http, https"}, "127.0.0.1", False),
        ({"x-forwarded-proto": "http"}, "127.0.0.1", False),
        ({"forwarded": "for=192.0.2.1;proto=https"}, "127.0.0.1", True),
        ({"forwarded": 'for="[2001:db8::1]"; Proto="HTTPS" , for=1.2.3.4;proto=http'}, "::1", True),
        ({"forwarded": "for=192.0.2.1;proto=http"}, "::ffff:127.0.0.1", False),
        ({"forwarded": "xproto=https"}, "127.0.0.1", False),
        ({"x-forwarded-proto": "https"}, "::ffff:127.0.0.1", True),
        ({"x-forwarded-proto": "https"}, "192.168.1.9", False),
        ({"forwarded": "proto=https"}, "203.0.113.7", False),
        ({"x-forwarded-proto": "https"}, "172.18.0.7", True),
        ({"forwarded": "proto=https"}, "172.18.255.7", True),
        ({"x-forwarded-proto": "https"}, "172.19.0.7", False),
        ({"x-forwarded-proto": "https"}, "", False),
        ({}, "127.0.0.1", False),
    ],
)
async def test_the_cookie_is_for_https_only_where_a_proxy_of_ours_says_so(
    library: HandLibrary, headers: dict[str, str], client: str, secure: bool
) -> None:
    options = WebOptions(token=TOKEN, proxy="172.18.0.0/16")
    hub = Hub(library, options.limits)
    transport = httpx.ASGITransport(create_app(hub, options), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        answer = await opened.get(f"/?token={TOKEN}", headers=headers)
    hub.close()
    assert answer.headers["set-cookie"].endswith("; Secure") is secure


async def test_programs_send_the_token_in_a_header(stranger: httpx.AsyncClient) -> None:
    headers = {"authorization": f"bearer {TOKEN}"}
    assert (await stranger.get("/api/book", headers=headers)).status_code == 200
    assert (await stranger.get("/api/book", params={"token": TOKEN})).status_code == 200


async def test_health_needs_no_token_and_gives_no_information(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/healthz")).json() == {"status": "ok"}


async def test_the_token_is_never_logged(
    guarded: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/?", "/api/book?depth=nonsense&", "/stream?symbol=no&"):
        async with watching(guarded.port, f"{path}token={TOKEN}") as viewer:
            assert viewer.status in (303, 404, 422)
    assert not [one for one in caplog.records if TOKEN in one.getMessage()]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "book.example", ""])
def test_an_address_that_other_computers_reach_gets_a_token(host: str) -> None:
    tokens = {WebOptions(host=host).guarded().token for _ in range(5)}
    assert len(tokens) == 5
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert not WebOptions(host=host).guarded().token
    assert WebOptions(host=host, token="x").guarded().token == "x"


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("secrets.compare_digest", compare)
    check = TokenCheck(TOKEN, 1)
    assert not check.accepts({"authorization": "Bearer b"}, "token=a")
    assert compared == [b"a", b"b"]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("token=x", ""),
        ("symbol=BTC&token=x&group=1", "symbol=BTC&group=1"),
        ("%74oken=x&a=b", "a=b"),
        ("token=x&token=y", ""),
    ],
)
def test_a_token_in_a_link_can_be_taken_out(query: str, left: str) -> None:
    assert without_token(query) == left


def test_new_tokens_need_no_quoting() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", new_token())
