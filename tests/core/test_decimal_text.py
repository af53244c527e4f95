"""Numbers as window and browser both write them."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.decimal_text import percent_text, with_thousands


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", "0"), ("1234.50", "1,234.50"), ("-1234567", "-1,234,567"), ("0.00000812", "0.00000812")],
)
def test_thousands(text: str, expected: str) -> None:
    assert with_thousands(text) == expected


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(1.5, "+1.50 %"), (-0.9234, "-0.923 %"), (0.0000175, "+0.00002 %")],
)
def test_percent_text(percent: float, expected: str) -> None:
    assert percent_text(percent) == expected
