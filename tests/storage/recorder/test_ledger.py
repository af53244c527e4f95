"""Which segments a ledger stores, and when. What it stores is tested with the recorder."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.recorder.ledger import LEDGER_TIMES, due_segments
from orderbook_desktop.storage.recorder.pending import OpenSegment

ROUNDS = 60


def segments_of(count: int, *, changed: bool) -> list[OpenSegment]:
    found = []
    for number in range(count):
        segment = OpenSegment(Stream(f"M{number}USDT", DEPTH), 1, 0, Scale())
        segment.stored, segment.changed = True, changed
        found.append(segment)
    return found


def stored_at(segments: list[OpenSegment]) -> dict[str, list[int]]:
    """Return in which rounds, a second each, each segment is stored."""
    stored = defaultdict[str, list[int]](list)
    for now in range(ROUNDS):
        for segment in due_segments(segments, now, LEDGER_TIMES):
            stored[segment.id].append(now)
            segment.kept_at = now
    return stored


@pytest.mark.parametrize("count", [1, 20, 21, 100, 181, 1_024])
def test_many_segments_are_stored_in_turn_each_within_a_heartbeat(count: int) -> None:
    stored = stored_at(segments_of(count, changed=True))
    assert len(stored) == count
    for rounds in stored.values():
        pauses = [after - before for before, after in pairwise(rounds)]
        assert max(pauses) <= LEDGER_TIMES.heartbeat_every_s
        assert rounds[0] <= LEDGER_TIMES.heartbeat_every_s
        assert count > 20 or set(pauses) == {1}
    most = max(Counter(now for rounds in stored.values() for now in rounds).values())
    assert most == max(min(count, 20), -(-count // 9))


def test_a_segment_without_news_is_stored_with_each_heartbeat_only() -> None:
    (rounds,) = stored_at(segments_of(1, changed=False)).values()
    assert rounds == [0, 10, 20, 30, 40, 50]


def test_a_segment_that_is_not_stored_yet_is_not_due() -> None:
    (segment,) = segments_of(1, changed=True)
    segment.stored = False
    assert due_segments([segment], 0, LEDGER_TIMES) == []
