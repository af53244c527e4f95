"""Playing a capture in rounds: ids and times of each round follow those of the round before."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct, field

from orderbook_desktop.exchange.local.source import LocalBook, TextLevel
from orderbook_desktop.formats.capture_messages import CaptureLine, Diff

_MOVED_NUMBER: Final = re.compile(rb'"([EUuTtafl])":\s?(\d+)')
_TRADE_ID: Final = re.compile(rb'"([tafl])":\s?(\d+)')
_PAUSE_BETWEEN_ROUNDS_NS: Final = 100_000_000


class MarketRound(Struct):
    """How one market's ids are shifted in the current round.

    `start` is the book that every later round begins with: the capture's first snapshot.
    `first_id` and `first_event_ms` are those of the capture's first diff.
    """

    start: LocalBook
    first_id: int
    first_event_ms: int = 0
    id_shift: int = 0

    @property
    def start_is_empty(self) -> bool:
        """Whether there was no snapshot yet."""
        return not (self.start.bids or self.start.asks)

    def begin_again(self, final: LocalBook, time_shift_ns: int) -> Diff:
        """Begin the next round; return the diff from the `final` book to the start book."""
        first = final.last_update_id + 1
        self.id_shift = first - min(self.first_id, self.start.last_update_id)
        final_id = self.start.last_update_id + self.id_shift
        bids = _changes(final.bids, self.start.bids)
        asks = _changes(final.asks, self.start.asks)
        event_ms = self.first_event_ms + time_shift_ns // 1_000_000
        return Diff(first, final_id, event_ms, bids, asks)

    def shifted(
        self, line: CaptureLine, trade_ids: TradeIds, time_shift_ns: int
    ) -> CaptureLine | None:
        """Return `line` shifted to this round; None where the start book contains it already."""
        if line.update_id and line.update_id <= self.start.last_update_id:
            return None
        return self._moved(line, trade_ids, time_shift_ns)

    def _moved(self, line: CaptureLine, trade_ids: TradeIds, time_shift_ns: int) -> CaptureLine:
        shift_ms = time_shift_ns // 1_000_000
        diff, first_id = line.diff, 0
        if diff:
            # The event that contains the start book's id begins right after that id.
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
            if key in b"ET":
                moved = value + shift_ms
            elif key == b"U":
                moved = first_id
            else:
                moved = value + (self.id_shift if key == b"u" else trade_ids.shift_of(key))
            return b'"%s":%d' % (key, moved)

        return CaptureLine(
            line.number,
            line.recv_ns + time_shift_ns,
            line.stream,
            line.market,
            _MOVED_NUMBER.sub(renumber, line.payload),
            b"",
            line.update_id + self.id_shift if line.update_id else 0,
            diff,
        )


class TradeIds(Struct):
    """The ids of one market's trades and aggregated trades, and how the current round shifts them.

    A round's ids follow those of the round before it.
    """

    spans: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    round: int = 0

    def note(self, payload: bytes) -> None:
        """Take note of the ids of an event of the first round."""
        if self.round:
            return
        for key, text in _TRADE_ID.findall(payload):
            first, last = self.spans.get(_space_of(key), (int(text), int(text)))
            self.spans[_space_of(key)] = min(first, int(text)), max(last, int(text))

    def begin_again(self) -> None:
        """Begin the next round."""
        self.round += 1

    def shift_of(self, key: bytes) -> int:
        """Return by how much the id with the name `key` is shifted in this round."""
        first, last = self.spans.get(_space_of(key), (1, 0))
        return self.round * (last - first + 1)


def _space_of(key: bytes) -> bytes:
    """Return whose ids the field `key` has: of aggregated trades (`a`), or of trades (`t`)."""
    return b"a" if key == b"a" else b"t"


def round_length_ns(first_ns: int, last_ns: int) -> int:
    """Return by how much the times of a round are later than those of the round before.

    It is in whole milliseconds, so that both clocks of the capture are shifted by the same amount.
    """
    return (last_ns - first_ns + _PAUSE_BETWEEN_ROUNDS_NS) // 1_000_000 * 1_000_000


def _changes(old: list[TextLevel], new: list[TextLevel]) -> list[TextLevel]:
    """Return the levels that turn `old` into `new`."""
    wanted = {Decimal(price) for price, _ in new}
    gone = [(price, "0.00000000") for price, _ in old if Decimal(price) not in wanted]
    kept = set(old)
    return gone + [level for level in new if level not in kept]
