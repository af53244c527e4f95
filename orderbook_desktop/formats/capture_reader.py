"""Depth messages of captures: what a collector wrote, as the live feed would have seen it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_diff, decode_snapshot
from orderbook_desktop.core.received import (
    Broken,
    FileNotes,
    Received,
    Time,
    UnusableFile,
    check_exact,
    in_order_of_time,
)
from orderbook_desktop.formats.capture_lines import CaptureLine, CaptureUnreadable, read_lines
from orderbook_desktop.formats.capture_survey import MarketSurvey, market_of

_LINES_SURVEYED: Final = 20_000
_looks_like_line: Final = re.compile(rb"\d+(\.\d+)? +\{").match


def is_captured(line: bytes) -> bool:
    """Whether a file that begins with `line` is a capture."""
    return _looks_like_line(line) is not None


def captured_messages(
    paths: Sequence[Path], notes: FileNotes | None = None
) -> Iterator[Received | Broken]:
    """Iterate over diffs and snapshots of the captures at `paths`, in the order of time.

    Of a market whose diffs were collected at two speeds those of the higher one are taken;
    none of the files may have only the others, which would leave out a time.
    A snapshot that doesn't name its market is that of the market with the nearest update
    ids. What is left out, and where a file is broken, is told to `notes`. Raises
    `UnusableFile`, naming the line.
    """
    notes = FileNotes() if notes is None else notes
    surveys: dict[str, MarketSurvey] = {}
    for path in paths:
        _survey(path, surveys)
    speeds = {market: one.diff_streams[-1] for market, one in surveys.items() if one.diff_streams}
    yield from in_order_of_time(_messages(path, surveys, speeds, notes) for path in paths)


def _survey(path: Path, surveys: dict[str, MarketSurvey]) -> None:
    """Learn from the first lines of a file."""
    for line in islice(_lines(path, FileNotes()), _LINES_SURVEYED):
        if line.market:
            surveys.setdefault(line.market, MarketSurvey(line.market)).take(line)


def _lines(path: Path, notes: FileNotes) -> Iterator[CaptureLine]:
    with closing(read_lines(path, notes)) as lines:
        try:
            yield from lines
        except CaptureUnreadable as error:
            raise UnusableFile(path, error.reason, error.line) from error


def _messages(
    path: Path, surveys: dict[str, MarketSurvey], speeds: dict[str, str], notes: FileNotes
) -> Iterator[tuple[Time, Received | Broken]]:
    """Iterate over one file's messages; what the surveys tell is brought up to date."""
    taken: set[str] = set()
    passed_over: dict[str, int] = {}
    for line in _lines(path, notes):
        if line.broken:
            yield (line.recv_ns,), Broken(line.recv_ns, frozenset(taken), line.broken)
            continue
        survey = surveys.get(line.market)
        if survey is not None and line.update_id:
            survey.update_id = line.update_id
        try:
            received = _received(line, surveys, speeds)
        except MalformedMessage as error:
            reason = f"is not a message of the exchange ({error.reason})"
            raise UnusableFile(path, reason, line.number) from error
        except InexactValue as error:
            raise UnusableFile.inexact(path, error.text, line.number) from error
        if line.diff is not None and received is None:
            passed_over.setdefault(line.market, line.number)
        elif line.diff is not None:
            taken.add(line.market)
        if received is not None:
            yield (line.recv_ns,), received
    for market, number in passed_over.items():
        if market not in taken:
            reason = f"has {market} only at a slower speed than another file; import it by itself"
            raise UnusableFile(path, reason, number)


def _received(
    line: CaptureLine, surveys: dict[str, MarketSurvey], speeds: dict[str, str]
) -> Received | None:
    """Return the message of `line`, or None where it is of no use here."""
    if line.snapshot is not None and surveys:
        message: DepthDiff | DepthSnapshot = decode_snapshot(line.payload, market_of(line, surveys))
    elif line.diff is not None and speeds.setdefault(line.market, line.stream) == line.stream:
        message = decode_diff(line.payload, line.recv_ns)
    else:
        return None
    check_exact(message)
    return Received(line.recv_ns, message)
