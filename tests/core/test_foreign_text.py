"""Text of other people's making."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.foreign_text import plain_text, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Way too many requests.", "Way too many requests."),
        ("币安人生USDT", "币安人生USDT"),
        ("two\r\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x07\x9b", "?[31mred??"),
        ("\u202eturned\u200b\ufeff", "?turned??"),
        ("x" * 500, "x" * 200 + "…"),
        ("  " * 5000 + "x", "…"),
        ("\x00" * 10**6, "?" * 200 + "…"),
    ],
)
def test_it_is_one_line_of_what_can_be_seen(text: str, shown: str) -> None:
    assert plain_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", "''"), ("BTC\n\x1b", r"'BTC\n\x1b'"), ("x" * 10_000, f"'{'x' * 60}'…")],
)
def test_a_value_is_quoted_with_escapes_and_cut(text: str, shown: str) -> None:
    assert quoted(text) == shown
