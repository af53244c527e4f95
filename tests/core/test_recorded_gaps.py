"""The gaps of a recording: in which order, which of them are of this session, and in words."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.recorded_gaps import NOT_READ, HealedGap, RecordedGaps, gaps_text
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap


def _gaps(*missing: int) -> list[Gap]:
    return [Gap(at * 10, at * 10 + 5, at, at + 3, GapCause.USER, "") for at in missing]


def test_the_newest_gap_comes_first() -> None:
    found = RecordedGaps.of(_gaps(100, 200, 300), 0)
    assert [gap.first_missing for gap in found.gaps] == [300, 200, 100]


@pytest.mark.parametrize(
    ("session_id", "in_session"),
    # The gap before the session's first book ends with it, and is no gap of the session.
    [(0, 0), (50, 3), (100, 2), (103, 2), (299, 1), (300, 0), (10**12, 0)],
)
def test_a_gap_is_of_the_session_if_it_begins_after_its_first_book(
    session_id: int, in_session: int
) -> None:
    assert RecordedGaps.of(_gaps(100, 200, 300), session_id).in_session == in_session


def test_they_are_told_in_words() -> None:
    assert gaps_text(None) == NOT_READ
    assert (gaps_text(RecordedGaps()), RecordedGaps().sentence) == ("0", "No gaps")
    one = RecordedGaps.of(_gaps(100), 100)
    assert (one.text, one.sentence) == (
        "1 · 0 this session",
        "1 gap, 0 of them in this session",
    )
    many = RecordedGaps.of(_gaps(*range(100, 100_000, 10)), 50_005)
    assert many.text == "9,990 · 4,999 this session"
    assert many.sentence == "9,990 gaps, 4,999 of them in this session"


def test_healed_gaps_are_beside_the_others() -> None:
    healed = [
        HealedGap(at, at + 5, at, at + 3, GapCause.DISCONNECT, "", by=by)
        for at, by in ((50, "an import"), (150, "one"), (250, "two"), (350, "an import"))
    ]
    found = RecordedGaps.of(_gaps(100, 300), 200, healed)
    first = [gap.first_missing for gap in found.rows if isinstance(gap, Gap)]
    assert first == [350, 300, 250, 150, 100, 50]
    assert [found.is_of_session(gap) for gap in found.rows] == [True] * 3 + [False] * 3
    assert found.text == "2 · 1 this session"
    assert found.healed_text == "4 healed (by an import, two, one)"
    more = RecordedGaps.of([], 0, [*healed, HealedGap(1, 2, 3, 4, GapCause.USER, "", by="three")])
    assert more.healed_text == "5 healed (by three, an import, two and 1 more)"
    assert RecordedGaps().healed_text == ""
    assert not more.is_of_session(more.rows[0])


def test_gaps_of_trades_are_told_apart() -> None:
    lost = [TradeGap(at, at + 3, at * 10, at * 10 + 5, GapCause.DISCONNECT) for at in (150, 250)]
    found = RecordedGaps.of(_gaps(100, 300), 200, (), lost, session_ms=2_500)
    assert [gap.from_ms for gap in found.rows] == [3_000, 2_500, 1_500, 1_000]
    assert [found.is_of_session(gap) for gap in found.rows] == [True, True, False, False]
    assert found.text == "2 · 1 this session · 2 of trades"
    assert found.sentence == "2 gaps, 1 of them in this session"
    assert (found.others_text, RecordedGaps().others_text) == ("2 gaps of trades", "")
    only = RecordedGaps.of([], 0, [HealedGap(1, 2, 3, 4, GapCause.USER, "", by="one")], lost[:1])
    assert (only.text, only.others_text) == (
        "0 · 1 of trades",
        "1 healed (by one), 1 gap of trades",
    )
    assert not any(map(only.is_of_session, only.rows))
