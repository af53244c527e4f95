"""A notice is shown once for each reason, until it is dismissed or its reason is gone."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.desk import Notice, NoticeLevel
from orderbook_desktop.desk.notice_board import NoticeBoard

_FIRST = Notice("a", NoticeLevel.WARNING, "The first.")
_NOTE = Notice("n", NoticeLevel.INFORMATION, "A note.")


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def board(changes: list[bool]) -> NoticeBoard:
    return NoticeBoard(lambda: changes.append(True))


def test_the_same_notice_changes_nothing(board: NoticeBoard, changes: list[bool]) -> None:
    board.put(_FIRST)
    board.put(_FIRST)
    assert board.notices == [_FIRST]
    assert len(changes) == 1


def test_a_new_text_takes_the_place_of_the_old(board: NoticeBoard) -> None:
    board.put(_FIRST)
    other = Notice("a", NoticeLevel.WARNING, "The second.")
    board.put(other)
    assert board.notices == [other]


def test_warnings_come_first(board: NoticeBoard) -> None:
    board.put(_NOTE)
    board.put(_FIRST)
    assert board.notices == [_FIRST, _NOTE]


def test_a_dismissed_notice_returns_only_after_its_reason_was_gone(board: NoticeBoard) -> None:
    board.put(_FIRST)
    board.dismiss("a")
    board.put(_FIRST)
    assert board.notices == []
    board.withdraw("a")
    board.put(_FIRST)
    assert board.notices == [_FIRST]


def test_another_notice_of_a_dismissed_one_s_key_is_shown(board: NoticeBoard) -> None:
    other = Notice("a", NoticeLevel.WARNING, "The second.")
    board.put(_FIRST)
    board.dismiss("a")
    board.put(other)
    assert board.notices == [other]
    board.dismiss("a")
    board.put(_FIRST)
    board.put(other)
    assert board.notices == []


def test_what_just_happened_is_told_again(board: NoticeBoard) -> None:
    board.tell(_FIRST)
    board.dismiss("a")
    board.tell(_FIRST)
    assert board.notices == [_FIRST]


def test_clear_forgets_also_what_was_dismissed(board: NoticeBoard) -> None:
    board.put(_FIRST)
    board.put(_NOTE)
    board.dismiss("a")
    board.clear()
    assert board.notices == []
    board.put(_FIRST)
    assert board.notices == [_FIRST]
