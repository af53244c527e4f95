"""What the window shows of a replay: strips, the time, the gap, what is live, and the way back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.core.replay import GapStop
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.theme import DARK, LIGHT, Appearance
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.core.trades_made import made_tape, made_trade
from tests.gui.fake_desk import BTC, EVENT_MS, NOW_NS, FakeDesk, MovingMarket
from tests.gui.fake_replay import FakeReplay
from tests.gui.pane_of import ladder_of, trades_of
from tests.gui.pixels import colours_of

CONTROL = Qt.KeyboardModifier.ControlModifier
GAP = Gap(EVENT_MS, EVENT_MS + 192_250, 1_001, 1_999, GapCause.DISCONNECT, "reset by peer")


@pytest.fixture
def replay(window: MainWindow, desk: FakeDesk) -> FakeReplay:
    """A replay two hours before now, which `window` shows."""
    return _played(window, desk, FakeReplay(at_ns=NOW_NS - 7_200_000_000_000))


def _played(window: MainWindow, desk: FakeDesk, replay: FakeReplay) -> FakeReplay:
    MovingMarket(BTC, desk.source)
    MovingMarket(BTC, replay.source, seed=8)
    desk.play(replay, replay.source)
    window.bridge.look()
    return replay


def _strips(window: MainWindow) -> list[QLabel]:
    return [one for one in window.findChildren(QLabel) if one.objectName() == "replayStrip"]


def _stand_at_gap(window: MainWindow, replay: FakeReplay, stop: GapStop) -> None:
    replay.status = replace(replay.status, gap=stop)
    replay.source.status = replace(replay.source.status, detail="A gap.")
    window.bridge.look()


def test_each_pane_says_replay_in_a_colour_of_its_own(
    window: MainWindow, desk: FakeDesk, replay: FakeReplay
) -> None:
    strips = sorted(_strips(window), key=lambda strip: strip.mapTo(window, QPoint()).x())
    assert len(strips) == len(window.panes) == 4
    for strip, pane in zip(strips, window.panes, strict=True):
        assert strip.isVisible()
        assert strip.text() == "REPLAY"
        # It lies right above its pane.
        assert strip.mapTo(window, QPoint(0, strip.height())) == pane.mapTo(window, QPoint())
    for appearance, theme in ((Appearance.LIGHT, LIGHT), (Appearance.DARK, DARK)):
        window.themes.set_appearance(appearance)
        assert theme.replay.rgb() in colours_of(window.grab().toImage())
    desk.leave_replay()
    window.bridge.look()
    assert not any(strip.isVisible() for strip in strips)
    assert DARK.replay.rgb() not in colours_of(window.grab().toImage())


def test_the_time_of_the_replay_is_told_with_zone_and_how_long_ago(
    window: MainWindow, replay: FakeReplay
) -> None:
    window._show_utc(True)
    assert window.top_bar.badge.text == "REPLAY · 04:53:20.250 UTC"
    assert window.status_line.text("replay") == "REPLAY 8 Aug 2024 04:53:20.250 UTC, 2 h ago"
    assert window.status_line.text("source") == "Source: recording"
    assert window.windowTitle() == "REPLAY · BTC/USDT · Orderbook Desktop"


def test_all_that_shows_the_time_of_a_running_clock_shows_the_same(
    window: MainWindow, replay: FakeReplay
) -> None:
    for passed_ms in range(0, 50, 10):
        at_ns = NOW_NS - 7_200_000_000_000 + passed_ms * 1_000_000
        replay.status = replace(replay.status, at_ns=at_ns, is_playing=True)
        window.bridge.look()
        bar = window.transport.bar
        assert bar is not None
        time = bar.moment_field.text()
        assert time in window.top_bar.badge.text
        assert time in window.status_line.text("replay")


def test_the_zone_is_that_of_the_switch(
    window: MainWindow, replay: FakeReplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    QTest.keyClick(window, Qt.Key.Key_U, CONTROL)
    before = window.status_line.text("replay"), window.top_bar.badge.text
    QTest.keyClick(window, Qt.Key.Key_U, CONTROL)
    QTest.keyClick(window, Qt.Key.Key_U, CONTROL)
    assert (window.status_line.text("replay"), window.top_bar.badge.text) == before


def test_a_packed_file_is_named_as_the_source(window: MainWindow, desk: FakeDesk) -> None:
    replay = FakeReplay()
    replay.status = replace(replay.status, file="day.obd")
    _played(window, desk, replay)
    assert window.status_line.text("source") == "Source: day.obd"


def test_the_recording_that_goes_on_says_live(
    window: MainWindow, desk: FakeDesk, replay: FakeReplay
) -> None:
    desk.recording = replace(desk.recording, state=RecordingState.RECORDING, wanted=True)
    desk.revision += 1
    window.bridge.look()
    button = window.top_bar.record_button
    assert button.text() == "LIVE ● Record: on"
    assert button.accessibleName() == "LIVE Recording on"
    assert window.status_line.text("recorded").startswith("LIVE BTC/USDT: Recorded 0 events")
    desk.leave_replay()
    window.bridge.look()
    assert button.text() == "● Record: on"
    assert window.status_line.text("recorded").startswith("Recorded 0 events")
    assert window.status_line.text("replay") == ""
    assert window.windowTitle() == "BTC/USDT · Orderbook Desktop"


def test_after_the_replay_the_window_is_as_it_was(
    window: MainWindow, desk: FakeDesk, replay: FakeReplay
) -> None:
    ids = set()
    for leave in (False, True):
        if leave:
            desk.leave_replay()
        window.bridge.look()
        frame = ladder_of(window).model.frame
        assert frame is not None
        ids.add(frame.update_id)
        assert window.top_bar.badge.text.startswith("synced" if leave else "REPLAY")
    assert ids == {1_000}


def test_at_a_gap_nothing_of_the_old_book_is_shown_and_the_gap_is_told(
    window: MainWindow, replay: FakeReplay
) -> None:
    window._show_utc(True)
    _stand_at_gap(window, replay, GapStop(GAP, True, 1_000, 2_000))
    assert ladder_of(window).scene is None
    card = window.gap_card
    assert card.isVisible()
    assert card.text.splitlines() == [
        "A gap of 0:03:12.250 in the recording",
        "The connection to the exchange was lost (reset by peer).",
        "Before: 8 Aug 2024 06:53:20.000 UTC, update id 1000",
        "After: 8 Aug 2024 06:56:32.250 UTC, update id 2000",
        "Missing: update ids 1001 to 1999",
    ]
    assert DARK.replay.rgb() in colours_of(card.grab().toImage())
    # The panes leave the reason to the card.
    assert not ladder_of(window).summary().endswith("A gap.")


def test_its_button_goes_on_after_the_gap(window: MainWindow, replay: FakeReplay) -> None:
    _stand_at_gap(window, replay, GapStop(GAP, True, 1_000, 2_000))
    window.gap_card.button.setFocus()
    QTest.keyClick(window.gap_card.button, Qt.Key.Key_Space)
    assert replay.commands == [("play",)]
    replay.status = replace(replay.status, gap=None)
    window.bridge.look()
    assert not window.gap_card.isVisible()
    assert ladder_of(window).scene is not None


def test_a_gap_without_an_end_can_not_be_passed(window: MainWindow, replay: FakeReplay) -> None:
    _stand_at_gap(window, replay, GapStop(GAP, True, 1_000, None))
    assert "After: not recorded yet" in window.gap_card.text
    assert not window.gap_card.button.isEnabled()


@pytest.mark.parametrize("size", [(640, 480), (1_600, 900)])
def test_the_card_stays_in_the_window(
    window: MainWindow, replay: FakeReplay, size: tuple[int, int]
) -> None:
    _stand_at_gap(window, replay, GapStop(GAP, True, 1_000, 2_000))
    window.resize(*size)
    card = window.gap_card
    corner = card.mapTo(window, QPoint())
    assert window.rect().contains(corner)
    assert window.rect().contains(corner + QPoint(card.width() - 1, card.height() - 1))


def test_the_symbol_that_is_live_is_remembered_not_that_of_the_replay(
    window: MainWindow, desk: FakeDesk
) -> None:
    _played(window, desk, FakeReplay("ETH/USDT"))
    window.finish_close()
    assert window._preferences.symbol == "BTC/USDT"


def test_trades_of_after_the_clock_leave_the_tape(
    window: MainWindow, desk: FakeDesk, replay: FakeReplay
) -> None:
    trades = trades_of(window)
    replay.source.tape = made_tape(made_trade(number) for number in range(50))
    window.bridge.look()
    trades.scroll_rows(5)
    model = trades.model
    assert not model.is_home
    replay.source.tape = made_tape(made_trade(number) for number in range(10))
    window.bridge.look()
    assert model.is_home
    assert max(row.last_id for row in model.rows) == 9


def test_the_source_switch_is_of_the_live_book(
    window: MainWindow, desk: FakeDesk, replay: FakeReplay
) -> None:
    desk.select_source(SourceKind.DIRECT)
    window.bridge.look()
    buttons = window.top_bar.source_switch.buttons
    assert buttons[SourceKind.DIRECT].isChecked()
    assert buttons[SourceKind.DIRECT].text() == "Direct"
