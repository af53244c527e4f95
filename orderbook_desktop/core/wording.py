"""Words of sentences: counts with their nouns, and lists."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, what: str, plural: str = "") -> str:
    """Return `1 event`, `2,000 events`; `plural` is the form that doesn't just end in s."""
    return f"{count:,} {what if count == 1 else plural or f'{what}s'}"


def listed(texts: Sequence[str], last_by: str = " and ") -> str:
    """Return `texts` as a list in a sentence: `a, b and c`; there is one at least."""
    *before, last = texts
    return f"{', '.join(before)}{last_by}{last}" if before else last
