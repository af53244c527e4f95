from __future__ import annotations

import pytest

from orderbook_desktop.core.status import (
    STALE_AFTER_MS,
    Badge,
    FeedState,
    FeedStatus,
    SourceKind,
    badge_for,
)
from orderbook_desktop.core.time_text import age_text

NOW_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def badge(state: FeedState, age_ns: int) -> Badge:
    return badge_for(FeedStatus(state, SourceKind.MONGO, NOW_NS - age_ns, "why"), NOW_NS)


@pytest.mark.parametrize(
    ("age_ns", "state", "age_ms"),
    [
        (0, FeedState.SYNCED, 0),
        (-5 * MS, FeedState.SYNCED, 0),
        (STALE_AFTER_MS * MS, FeedState.SYNCED, STALE_AFTER_MS),
        (STALE_AFTER_MS * MS + MS - 1, FeedState.SYNCED, STALE_AFTER_MS),
        (STALE_AFTER_MS * MS + MS, FeedState.STALE, STALE_AFTER_MS + 1),
    ],
)
def test_a_silent_synced_feed_is_stale(age_ns: int, state: FeedState, age_ms: int) -> None:
    shown = badge(FeedState.SYNCED, age_ns)
    assert (shown.state, shown.age_ms, shown.detail) == (state, age_ms, "why")
    assert shown.text == f"{state.value} · {age_text(age_ms)}"


@pytest.mark.parametrize("state", [one for one in FeedState if one is not FeedState.SYNCED])
def test_what_is_worse_than_stale_is_said_instead(state: FeedState) -> None:
    assert badge(state, 3_600_000 * MS).state is state


@pytest.mark.parametrize(
    ("age_ms", "state"),
    [(0, FeedState.SYNCING), (4_900, FeedState.SYNCING), (5_100, FeedState.STALE)],
)
def test_a_book_whose_age_is_not_known_is_not_synced(age_ms: int, state: FeedState) -> None:
    as_of_ns = NOW_NS - age_ms * MS
    status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, 1, "", as_of_ns, is_timed=False)
    shown = badge_for(status, NOW_NS)
    assert (shown.state, shown.is_current) == (state, False)
    assert ("to know how old" in shown.detail) == (state is FeedState.SYNCING)


def test_without_an_event_there_is_no_age() -> None:
    status = FeedStatus(FeedState.SYNCING, SourceKind.DIRECT)
    assert badge_for(status, NOW_NS) == Badge(
        FeedState.SYNCING, None, "syncing", "", is_current=False
    )


def test_the_age_counts_by_our_own_clock() -> None:
    """Who recorded the event may live an hour in the future, or in the past."""
    for received_ns in (0, NOW_NS - 3_600_000 * MS, NOW_NS + 3_600_000 * MS):
        as_of_ns = NOW_NS - STALE_AFTER_MS * MS - MS
        status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, received_ns, "", as_of_ns)
        shown = badge_for(status, NOW_NS)
        assert (shown.state, shown.age_ms) == (FeedState.STALE, STALE_AFTER_MS + 1)


@pytest.mark.parametrize(
    ("state", "stands_in", "is_active", "age_ms", "is_current"),
    [
        (FeedState.SYNCED, False, False, 5_000, True),
        (FeedState.SYNCED, False, False, 5_001, False),
        (FeedState.SYNCED, False, True, 3_000, True),
        (FeedState.SYNCED, False, True, 3_001, False),
        (FeedState.RECONNECTING, False, True, 0, False),
        (FeedState.SYNCING, False, True, 0, False),
        (FeedState.NOT_TRADED, False, False, 0, False),
        # The exchange's own book, in place of the recorded one.
        (FeedState.SYNCING, True, True, 0, True),
        (FeedState.DATABASE_AWAY, True, True, 3_000, True),
        (FeedState.DATABASE_LATE, True, True, 3_001, False),
        (FeedState.REPLAY, False, True, 10**9, True),
    ],
)
def test_a_book_that_may_be_wrong_is_not_current(
    state: FeedState, stands_in: bool, is_active: bool, age_ms: int, is_current: bool
) -> None:
    as_of_ns = NOW_NS - age_ms * MS
    status = FeedStatus(state, SourceKind.DIRECT, 0, "", as_of_ns, is_active, stands_in)
    assert badge_for(status, NOW_NS).is_current == is_current


def test_a_replay_has_no_age_by_the_clock_of_the_present() -> None:
    status = FeedStatus(FeedState.REPLAY, SourceKind.MONGO, NOW_NS - 7_200_000 * MS, "Why")
    shown = badge_for(status, NOW_NS)
    assert (shown.text, shown.detail, shown.age_ms) == ("REPLAY", "Why", None)
