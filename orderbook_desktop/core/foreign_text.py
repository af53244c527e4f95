"""Text from outside, made safe for a terminal, a log, the window and the page."""

from __future__ import annotations

from typing import Final

LONGEST_SHOWN: Final = 200
_IN_PLACE: Final = "?"


def quoted(text: str, longest: int = 60) -> str:
    """Return the value `text` in quotation marks, with escapes for what can't be printed."""
    return repr(text) if len(text) <= longest else f"{text[:longest]!r}…"


def plain_text(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Return `text` as one line of at most about `longest` printable characters.

    A character becomes a question mark where it moves a terminal's cursor, turns the direction of
    writing or is invisible. An ellipsis marks text that is cut off.
    """
    # Only the beginning is looked at: an exchange's message may have millions of characters.
    start = text[: 4 * longest]
    line = "".join(
        character if character.isprintable() else _IN_PLACE for character in " ".join(start.split())
    )
    if len(line) <= longest and len(start) == len(text):
        return line
    return f"{line[:longest]}…"
