"""Which proxy the environment names, and what can't be one."""

from __future__ import annotations

import pytest

from orderbook_desktop.exchange.errors import BadProxy
from orderbook_desktop.exchange.proxies import Proxy, proxy_for

REST = "https://data-api.binance.vision"
STREAMS = "wss://data-stream.binance.vision"


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        (REST, {}, None),
        (REST, {"HTTP_PROXY": "http://p:1"}, None),
        (REST, {"HTTPS_PROXY": "127.0.0.1:3128"}, ("HTTPS_PROXY", "http://127.0.0.1:3128")),
        (REST, {"HTTPS_PROXY": "p"}, ("HTTPS_PROXY", "http://p:80")),
        (REST, {"https_proxy": "http://a:1", "HTTPS_PROXY": "b:2"}, ("https_proxy", "http://a:1")),
        (REST, {"https_proxy": "", "HTTPS_PROXY": "http://b:2"}, None),
        (REST, {"ALL_PROXY": "https://[::1]:8/"}, ("ALL_PROXY", "https://[::1]:8")),
        (REST, {"ALL_PROXY": "a:1", "HTTPS_PROXY": "b:2"}, ("HTTPS_PROXY", "http://b:2")),
        (REST, {"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, None),
        (REST, {"HTTPS_PROXY": "p:1", "no_proxy": "x.test, .binance.vision"}, None),
        (REST, {"HTTPS_PROXY": "p:1", "NO_PROXY": "vision.test"}, ("HTTPS_PROXY", "http://p:1")),
        (STREAMS, {"HTTPS_PROXY": "p:1"}, ("HTTPS_PROXY", "http://p:1")),
        (STREAMS, {"WSS_PROXY": "q:1", "HTTPS_PROXY": "p:1"}, ("WSS_PROXY", "http://q:1")),
        ("ws://127.0.0.1:9", {"HTTP_PROXY": "p:1"}, ("HTTP_PROXY", "http://p:1")),
        ("ws://127.0.0.1:9", {"HTTP_PROXY": "p:1", "NO_PROXY": "127.0.0.1"}, None),
        ("http://h:9", {"http_proxy": "p:1", "NO_PROXY": "h:9"}, None),
        ("nonsense", {"HTTP_PROXY": "p:1"}, None),
    ],
)
def test_the_proxy_for_an_address(
    url: str,
    environment: dict[str, str],
    found: tuple[str, str] | None,
) -> None:
    proxy = proxy_for(url, environment)
    assert (proxy and (proxy.variable, proxy.address)) == found


@pytest.mark.parametrize(
    "value",
    [
        *("socks5://h:1", "SOCKS5H://h:1", "socks4://h", "ftp://h:1", "://h:1", "http://", "http://:1"),
        *("h:port", "h:99999", "h:0", "http://[::1", "http://h:1/path", "http://h:1?x", "h h:1"),
        *("http://u:geheim@h\x1b[31m:1", "u%3Av:geheim@h:1", "socks5://u:geheim@h:1"),
        *("u\udcff:geheim@h:1", "u:geheim\udcff@h:1"),
    ],
)  # fmt: skip
def test_what_cant_be_a_proxy_is_told_without_its_secrets(value: str) -> None:
    with pytest.raises(BadProxy) as caught:
        proxy_for(REST, {"HTTPS_PROXY": value})
    sentence = str(caught.value)
    assert "HTTPS_PROXY" in sentence
    assert "http://host:port" in sentence
    assert sentence.isprintable()
    assert "geheim" not in sentence


def test_credentials_are_understood_and_not_shown() -> None:
    proxy = proxy_for(REST, {"HTTPS_PROXY": "http://me:p%40s%3As@h:1"})
    assert proxy == Proxy("HTTPS_PROXY", "http://h:1", "me", "p@s:s")
    assert proxy.address_with_credentials == "http://me:p%40s%3As@h:1"
    assert "p@s" not in repr(proxy)
    alone = proxy_for(REST, {"HTTPS_PROXY": "me@h:1"})
    assert alone is not None
    assert alone.address_with_credentials == "http://me:@h:1"
