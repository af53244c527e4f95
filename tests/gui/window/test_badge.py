from __future__ import annotations

import pytest
from msgspec.structs import replace
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.status import Badge, FeedState, FeedStatus, SourceKind, badge_for
from orderbook_desktop.gui.theme import DARK
from orderbook_desktop.gui.window.badge import StateBadge
from tests.gui.fake_desk import NOW_NS
from tests.gui.pixels import colours_of

GREY = QImage.Format.Format_Grayscale8


@pytest.fixture
def badge(qtbot: QtBot) -> StateBadge:
    widget = StateBadge(DARK)
    qtbot.addWidget(widget)
    return widget


def shown(badge: StateBadge, state: FeedState) -> QImage:
    badge.set_badge(Badge(state, None, "", ""))
    badge.resize(140, 26)
    return badge.grab().toImage()


def test_each_state_has_a_shape_of_its_own(badge: StateBadge) -> None:
    shapes = []
    for state in FeedState:
        image = shown(badge, state).copy(8, 5, 18, 16)
        ground = image.pixel(0, 0)
        shapes.append(tuple(image.pixel(x, y) != ground for x in range(18) for y in range(16)))
    assert len(set(shapes)) == len(FeedState)


@pytest.mark.parametrize("state", list(FeedState))
def test_says_state_age_and_reason(badge: StateBadge, state: FeedState) -> None:
    status = FeedStatus(state, SourceKind.DIRECT, NOW_NS, "The reason why.")
    badge.set_badge(badge_for(status, NOW_NS + 300_000_000))
    said = "REPLAY" if state is FeedState.REPLAY else f"{state.value} · 0.3 s"
    assert badge.text == said
    assert badge.toolTip() == "The reason why."
    assert badge.accessibleName() == f"Feed state: {said.partition(' · ')[0]}"


def test_a_replay_says_its_time_in_a_colour_of_its_own(badge: StateBadge) -> None:
    badge.set_moment("14:05:30.250 UTC")
    badge.set_badge(badge_for(FeedStatus(FeedState.SYNCED, SourceKind.MONGO), NOW_NS))
    assert badge.text == "synced"
    assert DARK.replay.rgb() not in colours_of(badge.grab().toImage())
    badge.set_badge(badge_for(FeedStatus(FeedState.REPLAY, SourceKind.MONGO), NOW_NS))
    assert badge.text == "REPLAY · 14:05:30.250 UTC"
    assert DARK.replay.rgb() in colours_of(badge.grab().toImage())
    width = badge.sizeHint().width()
    badge.set_moment("23:59:59.999 UTC")
    assert badge.sizeHint().width() == width
    badge.set_moment("")
    assert badge.text == "REPLAY"


def test_until_the_first_book_the_state_is_connecting(badge: StateBadge) -> None:
    status = FeedStatus(FeedState.RECONNECTING, SourceKind.DIRECT, detail="No network.")
    badge.set_badge(badge_for(status, NOW_NS))
    assert badge.text == "connecting"
    assert badge.accessibleName() == "Feed state: connecting"
    badge.set_badge(badge_for(replace(status, as_of_ns=NOW_NS), NOW_NS + 300_000_000))
    assert badge.text == "reconnecting · 0.3 s"
    assert badge.accessibleName() == "Feed state: reconnecting"


def test_the_age_does_not_move_things(badge: StateBadge) -> None:
    status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, NOW_NS)
    widths = set()
    for age_ms in (0, 100, 4_900):
        badge.set_badge(badge_for(status, NOW_NS + age_ms * 1_000_000))
        widths.add(badge.sizeHint().width())
    assert len(widths) == 1
