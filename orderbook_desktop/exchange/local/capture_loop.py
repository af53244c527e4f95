"""Playing a capture again: ids and times go on rising, and the book starts over in one event."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from orderbook_desktop.exchange.local.source import BookView, TextLevel
from orderbook_desktop.formats.capture_lines import CaptureLine, Diff

_NUMBER: Final = re.compile(rb'"([EUuTt])":\s?(\d+)')
_PAUSE_NS: Final = 100_000_000


@dataclass(slots=True)
class MarketRound:
    """How one market's ids are moved in the round that is playing.

    `start` is the book that every later round begins with: the capture's first snapshot.
    `first_id` and `first_event_ms` are those of the capture's first diff.
    """

    start: BookView
    first_id: int
    first_event_ms: int = 0
    id_shift: int = 0

    @property
    def start_is_empty(self) -> bool:
        """Whether no snapshot was seen yet."""
        return not (self.start.bids or self.start.asks)

    def begin_again(self, final: BookView, time_shift_ns: int) -> Diff:
        """Move on to the next round; return the diff from the `final` book to the start."""
        first = final.last_update_id + 1
        self.id_shift = first - min(self.first_id, self.start.last_update_id)
        final_id = self.start.last_update_id + self.id_shift
        bids = _changes(final.bids, self.start.bids)
        asks = _changes(final.asks, self.start.asks)
        event_ms = self.first_event_ms + time_shift_ns // 1_000_000
        return Diff(first, final_id, event_ms, bids, asks)

    def shifted(self, line: CaptureLine, time_shift_ns: int) -> CaptureLine | None:
        """Return `line` moved to this round; None where the book's start contains it already."""
        if line.update_id and line.update_id <= self.start.last_update_id:
            return None
        return self._moved(line, time_shift_ns)

    def _moved(self, line: CaptureLine, time_shift_ns: int) -> CaptureLine:
        shift_ms = time_shift_ns // 1_000_000
        diff, first_id = line.diff, 0
        if diff:
            # The event that the start lies within begins right after it.
            first_id = max(diff.first_id, self.start.last_update_id + 1) + self.id_shift
            diff = Diff(
                first_id,
                diff.final_id + self.id_shift,
                diff.event_ms + shift_ms,
                diff.bids,
                diff.asks,
            )

        def renumber(match: re.Match[bytes]) -> bytes:
            key, value = match[1], int(match[2])
            moved = {
                b"E": value + shift_ms,
                b"T": value + shift_ms,
                b"U": first_id,
                b"u": value + self.id_shift,
                b"t": value + self.id_shift,
            }[key]
            return b'"%s":%d' % (key, moved)

        return CaptureLine(
            line.number,
            line.recv_ns + time_shift_ns,
            line.stream,
            line.market,
            _NUMBER.sub(renumber, line.payload),
            b"",
            line.update_id + self.id_shift if line.update_id else 0,
            diff,
        )


def round_length_ns(first_ns: int, last_ns: int) -> int:
    """Return by how much the times of a round are later than those of the one before.

    Whole milliseconds, so that both clocks of the capture are moved by the same.
    """
    return (last_ns - first_ns + _PAUSE_NS) // 1_000_000 * 1_000_000


def _changes(old: list[TextLevel], new: list[TextLevel]) -> list[TextLevel]:
    """Return the levels that turn `old` into `new`."""
    wanted = {Decimal(price) for price, _ in new}
    gone = [(price, "0.00000000") for price, _ in old if Decimal(price) not in wanted]
    kept = set(old)
    return gone + [level for level in new if level not in kept]
