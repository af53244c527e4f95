from __future__ import annotations

from orderbook_desktop.core.browser_switch import BrowserState, BrowserStatus, viewers_text


def test_viewers_are_told_in_words() -> None:
    assert [viewers_text(count) for count in (0, 1, 12)] == ["0 viewers", "1 viewer", "12 viewers"]


def test_the_address_may_hold_the_token_and_is_in_no_repr() -> None:
    status = BrowserStatus(BrowserState.ON, link="http://127.0.0.1:8000/?token=secret")
    assert "secret" not in repr(status)
