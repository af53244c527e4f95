"""The commands of a replay, and its keys, which hold in every pane."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QPushButton, QToolButton, QWidget

from orderbook_desktop.core.replay import (
    FASTEST,
    REAL_TIME,
    UNLIMITED,
    LargeTrades,
    ReplayOrder,
    Step,
    Target,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.replay_control import (
    ACTIONS,
    SPEEDS,
    ReplayControl,
    speed_text,
)
from tests.gui.fake_desk import BTC, FakeDesk, MovingMarket
from tests.gui.fake_replay import FakeReplay
from tests.gui.pane_of import chart_of, ladder_of

Key = Qt.Key
NONE = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
ALT = Qt.KeyboardModifier.AltModifier
_AT = 1_723_100_000_000_000_000
_S = 1_000_000_000
_KEYS: list[tuple[Qt.Key, Qt.KeyboardModifier, tuple[object, ...]]] = [
    (Key.Key_Space, NONE, ("play",)),
    (Key.Key_Right, NONE, ("seek", _AT + 5 * _S)),
    (Key.Key_Left, NONE, ("seek", _AT - 5 * _S)),
    (Key.Key_Up, NONE, ("seek", _AT + 60 * _S)),
    (Key.Key_Down, NONE, ("seek", _AT - 60 * _S)),
    (Key.Key_Right, SHIFT, ("step", Step.SECOND, False)),
    (Key.Key_Left, SHIFT, ("step", Step.SECOND, True)),
    (Key.Key_Period, NONE, ("step", Step.EVENT, False)),
    (Key.Key_Comma, NONE, ("step", Step.EVENT, True)),
    (Key.Key_Greater, NONE, ("step", Step.TRADE, False)),
    (Key.Key_Less, NONE, ("step", Step.TRADE, True)),
    (Key.Key_Home, NONE, ("seek", 0)),
    (Key.Key_End, NONE, ("seek_end",)),
    (Key.Key_N, NONE, ("jump", Target.GAP, False)),
    (Key.Key_P, NONE, ("jump", Target.GAP, True)),
    (Key.Key_T, NONE, ("jump", Target.LARGE_TRADE, False)),
    (Key.Key_T, SHIFT, ("jump", Target.LARGE_TRADE, True)),
    (Key.Key_M, NONE, ("jump", Target.BOOKMARK, False)),
    (Key.Key_M, SHIFT, ("jump", Target.BOOKMARK, True)),
    (Key.Key_BraceLeft, NONE, ("set_speed", 500)),
    (Key.Key_BraceRight, NONE, ("set_speed", 2_000)),
    (Key.Key_Backspace, NONE, ("set_speed", REAL_TIME)),
    (Key.Key_L, NONE, ("set_loop", _AT, None)),
    (Key.Key_B, NONE, ("add_bookmark", "")),
]


@pytest.fixture
def replay(desk: FakeDesk) -> FakeReplay:
    played = FakeReplay(at_ns=_AT)
    desk.play(played, played.source)
    return played


@pytest.fixture
def control(desk: FakeDesk) -> ReplayControl:
    return ReplayControl(desk)


@pytest.mark.parametrize(("key", "modifiers", "command"), _KEYS)
def test_a_key_commands_the_replay(
    replay: FakeReplay,
    window: MainWindow,
    key: Qt.Key,
    modifiers: Qt.KeyboardModifier,
    command: tuple[object, ...],
) -> None:
    for pane in window.panes:
        replay.commands.clear()
        pane.setFocus()
        QTest.keyClick(pane, key, modifiers)
        assert replay.commands == [command]


def test_every_action_with_a_key_is_tried() -> None:
    assert sum(len(action.keys) for action in ACTIONS) == len(_KEYS) + len({"G", "Ctrl+Shift+B"})


def test_panes_have_their_keys_with_alt(
    replay: FakeReplay, window: MainWindow, desk: FakeDesk
) -> None:
    MovingMarket(BTC, replay.source)
    window.bridge.look()
    ladder, chart = ladder_of(window), chart_of(window)
    for key in (Key.Key_Down, Key.Key_Down, Key.Key_Up):
        QTest.keyClick(ladder, key, ALT)
    picked = ladder.accessibleDescription()
    assert picked
    chart.setFocus()
    QTest.keyClick(chart, Key.Key_Right, ALT)
    near = chart.crosshair_reading
    QTest.keyClick(chart, Key.Key_Right, ALT | SHIFT)
    assert near is not None
    assert chart.crosshair_reading not in (None, near)
    assert replay.commands == []
    # What the replay has no use for is the pane's also without Alt.
    QTest.keyClick(chart, Key.Key_Escape)
    assert chart.crosshair_reading is None


def test_without_a_replay_the_keys_are_the_panes_own(window: MainWindow, desk: FakeDesk) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    ladder = ladder_of(window)
    QTest.keyClick(ladder, Key.Key_Down)
    assert ladder.accessibleDescription()
    assert not any(made.isEnabled() for made in window.menus.actions if made.text() == "&Time…")


@pytest.mark.parametrize(
    "key", [Key.Key_Left, Key.Key_Up, Key.Key_Home, Key.Key_Space, Key.Key_T, Key.Key_Backspace]
)
def test_a_field_that_is_typed_into_keeps_its_keys(
    replay: FakeReplay, window: MainWindow, key: Qt.Key
) -> None:
    window.top_bar.symbol_box.search_now()
    QTest.keyClick(window.top_bar.symbol_box, key)
    assert replay.commands == []
    QTest.keyClick(window.top_bar.symbol_box, Key.Key_Escape)
    QTest.keyClick(ladder_of(window), key)
    assert len(replay.commands) == 1


def test_buttons_and_lists_keep_the_keys_that_work_them(
    replay: FakeReplay, window: MainWindow
) -> None:
    pressed: list[str] = []
    button, tool, box = QPushButton("", window), QToolButton(window), QComboBox(window)
    button.clicked.connect(lambda: pressed.append("button"))
    tool.clicked.connect(lambda: pressed.append("tool"))
    box.addItems(["one", "two", "three"])
    parts: list[QWidget] = [button, tool, box]
    for part in parts:
        part.show()
    for part in (button, tool):
        part.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        part.setFocus()
        QTest.keyClick(part, Key.Key_Space)
        QTest.keyClick(part, Key.Key_N)
    box.setFocus()
    QTest.keyClick(box, Key.Key_End)
    assert pressed == ["button", "tool"]
    assert box.currentText() == "three"
    assert replay.commands == [("jump", Target.GAP, False)] * 2
    QTest.keyClick(box, Key.Key_Left)
    assert replay.commands[-1] == ("seek", _AT - 5 * _S)


def test_the_second_press_pauses(replay: FakeReplay, control: ReplayControl) -> None:
    replay.status = replace(replay.status, is_playing=True)
    control.toggle()
    assert replay.commands == [("pause",)]


def test_a_move_begins_where_the_replay_is_going(
    replay: FakeReplay, control: ReplayControl
) -> None:
    replay.status = replace(replay.status, seeking_ns=_AT + 60 * _S)
    control.move(5 * _S)
    assert replay.commands == [("seek", _AT + 65 * _S)]


def test_speeds_go_from_slowest_to_unlimited_and_back(
    replay: FakeReplay, control: ReplayControl
) -> None:
    tried = []
    for speed in (100, 700, REAL_TIME, FASTEST, UNLIMITED):
        replay.status = replace(replay.status, speed=speed)
        control.slower()
        control.faster()
        tried.append(tuple(command[1] for command in replay.commands[-2:]))
    assert tried == [
        *((100, 250), (500, 1_000), (500, 2_000), (300_000, UNLIMITED)),
        (FASTEST, UNLIMITED),
    ]


def test_a_speed_is_read_as_times() -> None:
    assert [speed_text(speed) for speed in SPEEDS[:4]] == [
        f"{number}\N{MULTIPLICATION SIGN}" for number in ("0.1", "0.25", "0.5", "1")
    ]
    assert [speed_text(speed) for speed in SPEEDS[-2:]] == [
        "1,000\N{MULTIPLICATION SIGN}",
        "fastest",
    ]


def test_the_loop_is_begun_ended_and_removed_by_one_key(
    replay: FakeReplay, control: ReplayControl
) -> None:
    for loop, seeking in (
        ((None, None), None),
        ((_AT, None), _AT),
        ((_AT, None), _AT - _S),
        ((_AT, None), _AT + _S),
        ((_AT, _AT + _S), None),
    ):
        replay.status = replace(replay.status, loop=loop, seeking_ns=seeking)
        control.mark_loop()
    assert [command[1:] for command in replay.commands] == [
        *((_AT, None), (None, None), (_AT - _S, _AT), (_AT, _AT + _S), (None, None)),
    ]


def test_what_counts_as_large_holds_for_this_replay(
    replay: FakeReplay, control: ReplayControl, desk: FakeDesk
) -> None:
    control.set_large(LargeTrades("2.5"))
    assert replay.commands == [("set_large", LargeTrades("2.5"))]
    assert control.large.quantity == "2.5"
    other = FakeReplay()
    desk.play(other, other.source)
    assert control.large == LargeTrades()


def test_the_menu_shows_what_is_on(replay: FakeReplay, window: MainWindow, desk: FakeDesk) -> None:
    made = {one.text(): one for one in window.menus.actions}
    for text in ("By the &exchange's time", "Skip &quiet stretches", "Skip &gaps"):
        made[text].trigger()
    assert replay.commands == [
        ("set_order", ReplayOrder.EXCHANGE),
        ("set_skips", True, None),
        ("set_skips", None, True),
    ]
    # The replay has not obeyed, so nothing else is on.
    assert made["As &received"].isChecked()
    assert not made["Skip &gaps"].isChecked()
    replay.status = replace(replay.status, order=ReplayOrder.EXCHANGE, skips_quiet=True)
    desk.revision += 1
    window.bridge.look()
    assert made["By the &exchange's time"].isChecked()
    assert made["Skip &quiet stretches"].isChecked()
    desk.leave_replay()
    window.bridge.look()
    assert not made["Skip &quiet stretches"].isEnabled()


def test_a_gap_is_gone_to_by_the_event_before_it(
    replay: FakeReplay, control: ReplayControl, desk: FakeDesk
) -> None:
    gap = Gap(5, 9, 78, 90, GapCause.USER, "")
    control.go_to_gap("BTC/USDT", None, gap)
    control.go_to_gap("BTC/USDT", None, TradeGap(1, 4, 5, 9, GapCause.USER))
    assert replay.commands == [("seek_id", 77), ("seek", 5_000_000)]
    file = Path("a/b.obd")
    control.go_to_gap("ETH/USDT", None, gap)
    control.go_to_gap("BTC/USDT", file, gap)
    assert desk.commands == [
        ("start_replay", ("ETH/USDT", 5_000_000, None)),
        ("start_replay", ("BTC/USDT", 5_000_000, file)),
    ]
    replay.status = replace(replay.status, file="b.obd")
    control.go_to_gap("BTC/USDT", file, gap)
    assert len(replay.commands) == 3


def test_without_a_replay_a_command_does_nothing(desk: FakeDesk, control: ReplayControl) -> None:
    heard: list[str] = []
    control.commanded.connect(lambda: heard.append("commanded"))
    control.toggle()
    control.add_bookmark()
    assert heard == []
