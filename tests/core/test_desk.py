"""What a window shows: notices, the state of recordings in one order, the browser view."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.desk import (
    BrowserState,
    BrowserStatus,
    Notice,
    NoticeAction,
    NoticeLevel,
    viewers_text,
    without_told_detail,
    without_told_problem,
)
from orderbook_desktop.core.recording_status import RecordingCounts, RecordingState, RecordingStatus
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind


def test_the_order_of_badness() -> None:
    assert sorted(RecordingState, key=lambda state: state.rank) == [
        RecordingState.FAILED,
        RecordingState.PAUSED,
        RecordingState.TOO_WIDE,
        RecordingState.DELAYED,
        RecordingState.RECONNECTING,
        RecordingState.WAITING,
        RecordingState.ELSEWHERE,
        RecordingState.RECORDING,
        RecordingState.STOPPED,
    ]


def test_what_is_held_up_is_worse_than_what_only_waits() -> None:
    held_up = [state for state in RecordingState if state.is_held_up]
    assert RecordingState.TOO_WIDE in held_up
    ranks = [state.rank for state in RecordingState if state not in held_up]
    assert max(state.rank for state in held_up) < min(ranks)


def _notice(key: str, text: str = "A notice.") -> Notice:
    return Notice(key, NoticeLevel.WARNING, text)


@pytest.mark.parametrize(
    ("notice", "left"),
    [
        (_notice("database"), ""),
        (_notice("disk", "It is away."), ""),
        (_notice("exchange"), "It is away."),
    ],
)
def test_the_detail_of_a_feed_is_told_once(notice: Notice, left: str) -> None:
    status = FeedStatus(FeedState.DATABASE_AWAY, SourceKind.MONGO, detail="It is away.")
    assert without_told_detail(status, [notice]).detail == left
    assert without_told_detail(status, []) is status


@pytest.mark.parametrize(
    ("notice", "left"),
    [
        (_notice("disk"), ""),
        (_notice("other", "It is full."), ""),
        (_notice("symbol"), "It is full."),
    ],
)
def test_the_problem_of_a_recording_is_told_once(notice: Notice, left: str) -> None:
    recording = RecordingStatus("BTC/USDT", RecordingState.PAUSED, kept=True, problem="It is full.")
    assert without_told_problem(recording, [notice]).problem == left
    assert without_told_problem(recording, []) is recording


@pytest.mark.parametrize(
    ("action", "symbol", "text"),
    [
        (NoticeAction.NONE, "", ""),
        (NoticeAction.START_DEMO, "", "Start the demo"),
        (NoticeAction.KEEP_RECORDING, "BTC/USDT", "Keep recording BTC/USDT"),
    ],
)
def test_a_notice_says_what_it_offers(action: NoticeAction, symbol: str, text: str) -> None:
    notice = Notice("key", NoticeLevel.INFORMATION, "It happened.", action, symbol)
    assert notice.action_text == text


def test_a_status_can_be_an_element_of_a_set() -> None:
    statuses = [
        RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=kept, counts=RecordingCounts(7))
        for kept in (False, True, True)
    ]
    assert len(set(statuses)) == 2


def test_viewers_are_told_in_words() -> None:
    assert [viewers_text(count) for count in (0, 1, 12)] == ["0 viewers", "1 viewer", "12 viewers"]


def test_the_address_may_hold_the_token_and_is_in_no_repr() -> None:
    status = BrowserStatus(BrowserState.ON, link="http://127.0.0.1:8000/?token=secret")
    assert "secret" not in repr(status)
