"""Times on the command line: reading them, and writing them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from orderbook_desktop.app.settings import BadSetting
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.foreign_text import quoted
from orderbook_desktop.core.time_text import time_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A number with fewer digits is a date or seconds: as ms it would be before any market existed.
_LEAST_DIGITS: Final = 11
_ACCEPTED: Final = (
    "an ISO 8601 time such as 2024-08-08T10:30 (local), 2024-08-08T10:30:00Z or "
    "2024-08-08T12:30+02:00, or milliseconds since 1970"
)


def parse_time(text: str) -> int:
    """Return `text` in milliseconds since the epoch.

    A time without offset is local. Raises `typer.BadParameter` if `text` is no time, or is one that
    local clocks show twice or never.
    """
    typed = text.strip()
    if typed.isascii() and typed.isdecimal() and len(typed) >= _LEAST_DIGITS:
        return int(typed)
    try:
        moment = datetime.fromisoformat(typed)
        since = moment.astimezone(UTC) - _EPOCH
        # Where clocks are put back or forward, the two readings of a local time differ.
        is_clear = moment.replace(fold=1).astimezone(UTC) - _EPOCH == since
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(f"{quoted(text)} is not {_ACCEPTED}") from error
    if not is_clear:
        raise typer.BadParameter(
            f"local clocks show {quoted(text)} twice, or never: add its offset, such as +02:00"
        )
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def checked_moment(text: str | None) -> str | None:
    """Return `text`, the moment of a recording; raises `typer.BadParameter` if it is none."""
    if text is not None:
        _check_moment(text)
    return text


def _check_moment(text: str, now_ns: Callable[[], int] = time.time_ns) -> None:
    # It loads numpy, which the command line does without.
    from orderbook_desktop.core.replay_times import parse_moment  # noqa: PLC0415

    try:
        parse_moment(text, now_ms=now_ns() // 1_000_000)
    except KnownError as error:
        raise typer.BadParameter(str(error).rstrip(".")) from error


def check_span(from_ms: int | None, to_ms: int | None) -> None:
    """Raise `BadSetting` unless `to_ms` comes after `from_ms`."""
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise BadSetting("--to", time_text(to_ms), "a time after --from")


FromTime = Annotated[
    int | None,
    typer.Option(
        "--from",
        parser=parse_time,
        metavar="TIME",
        help="Begin at this time (ISO 8601, local without an offset; or ms since 1970).",
        show_default=False,
    ),
]
ReplayTime = Annotated[
    str | None,
    typer.Option(
        "--replay",
        metavar="TIME",
        callback=checked_moment,
        help="Play the recording from this moment: 14:05:30, 'yesterday 9:00', -5m, an update id.",
        show_default=False,
    ),
]
ToTime = Annotated[
    int | None,
    typer.Option(
        "--to",
        parser=parse_time,
        metavar="TIME",
        help="End before this time.",
        show_default=False,
    ),
]
