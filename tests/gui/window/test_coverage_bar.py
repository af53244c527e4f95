"""The coverage bar: what it paints, how it seeks, and what it says."""

from __future__ import annotations

from datetime import UTC

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible, QHelpEvent, QWheelEvent
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QApplication, QToolTip, QWidget

from orderbook_desktop.core.replay import Bookmark, Coverage, Quiet, ReplayStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.gui.panes.coverage_painter import MARGIN, CoveragePainter
from orderbook_desktop.gui.theme import DARK, LIGHT, Theme, blend, contrast
from orderbook_desktop.gui.window.coverage_bar import CoverageBar
from tests.gui.pixels import colours_of

_T0_MS = 1_723_100_000_000
_MS = 1_000_000
_WIDTH = 1_000 + 2 * MARGIN
_LENGTH_MS = 1_000_000


def recorded(*gaps: tuple[int, int]) -> Timeline:
    """Return a timeline of 1,000 s, with gaps from and to these ms after its begin."""
    begins = [0, *(end for _, end in gaps)]
    ends = [*(begin for begin, _ in gaps), _LENGTH_MS]
    covers = tuple(
        Cover(str(place), place * 10, place * 10 + 5, _T0_MS + begin, _T0_MS + end)
        for place, (begin, end) in enumerate(zip(begins, ends, strict=True))
    )
    missing = tuple(
        Gap(_T0_MS + begin, _T0_MS + end, place * 10 + 6, place * 10 + 10, GapCause.SILENCE, "")
        for place, (begin, end) in enumerate(gaps)
    )
    return Timeline(covers, missing)


def status(at_ms: int, **changes: object) -> ReplayStatus:
    now = ReplayStatus(symbol="BTC/USDT", market="BTCUSDT", at_ns=(_T0_MS + at_ms) * _MS)
    return replace(now, **changes)


_COVERAGE = Coverage(
    recorded((200_000, 260_000), (500_000, 500_003)),
    (TradeGap(5, 9, _T0_MS + 700_000, _T0_MS + 750_000, GapCause.USER),),
    (Quiet(_T0_MS + 300_000, _T0_MS + 400_000),),
)
_MARK = Bookmark("a", "BTCUSDT", _T0_MS + 600_000, 77, "the sweep")


@pytest.fixture
def bar(host: QWidget) -> CoverageBar:
    made = CoverageBar(DARK, host)
    made.set_zone(UTC)
    made.resize(_WIDTH, made.sizeHint().height())
    made.show()
    made.show_replay(status(100_000), _COVERAGE, [_MARK])
    return made


def column(bar: CoverageBar, x: int) -> list[str]:
    """Return the colours in the bar below the marks at an x coordinate, from the top."""
    image = bar.grab().toImage()
    rows = CoveragePainter(DARK, bar.font()).rows
    found = [image.pixelColor(x, y).name() for y in range(rows.band, rows.axis - 3)]
    return list(dict.fromkeys(found))


def seconds(bar: CoverageBar, at: int) -> QPoint:
    return QPoint(MARGIN + at, bar.height() // 2)


def test_covered_quiet_and_missing_differ_in_shape(bar: CoverageBar) -> None:
    covered = blend(DARK.focus, DARK.panel, 0.5).name()
    above = DARK.tint(DARK.focus, 0.12).name()
    assert column(bar, MARGIN + 50)[0] == covered
    assert column(bar, MARGIN + 350)[:2] == [above, covered]
    missing = {colour for x in range(205, 255) for colour in column(bar, MARGIN + x)}
    assert covered not in missing
    # Hatched: the lines differ from their ground.
    assert len(missing) > 2


def test_a_gap_of_three_ms_is_seen(bar: CoverageBar) -> None:
    covered = blend(DARK.focus, DARK.panel, 0.5).name()
    assert column(bar, MARGIN + 480)[0] == covered
    for x in (500, 501):
        assert column(bar, MARGIN + x)[0] != covered
        assert covered in column(bar, MARGIN + x)


def test_a_second_in_a_gap_of_days_is_seen(bar: CoverageBar) -> None:
    covered = blend(DARK.focus, DARK.panel, 0.5).name()
    gaps = (10, 499_400), (499_500, 999_000)
    bar.show_replay(status(700_000), Coverage(recorded(*gaps)), [])
    assert column(bar, MARGIN + 499)[0] != covered
    assert covered in column(bar, MARGIN + 499)
    assert covered in column(bar, MARGIN)
    assert covered not in column(bar, MARGIN + 300)


def test_the_clock_is_seen_at_the_end(bar: CoverageBar) -> None:
    replay_colour = DARK.replay.name()
    x = _WIDTH - MARGIN - 1
    bar.show_replay(status(_LENGTH_MS // 2), _COVERAGE, [])
    assert replay_colour not in column(bar, x)
    # The last event was received after its own time.
    bar.show_replay(status(_LENGTH_MS + 120), _COVERAGE, [])
    assert replay_colour in column(bar, x)


def test_ten_thousand_gaps_are_not_one(bar: CoverageBar) -> None:
    gaps = [(place * 100, place * 100 + 20) for place in range(1, 9_999)]
    bar.show_replay(status(0), Coverage(recorded(*gaps)), [])
    covered = blend(DARK.focus, DARK.panel, 0.5).name()
    found = column(bar, MARGIN + 500)
    assert found[0] != covered
    assert covered in found


def test_the_clock_stands_where_it_is(bar: CoverageBar) -> None:
    image = bar.grab().toImage()
    rows = CoveragePainter(DARK, bar.font()).rows
    assert image.pixelColor(MARGIN + 100, rows.axis - 5) == DARK.replay
    bar.show_replay(status(150_000), _COVERAGE, [_MARK])
    assert bar.grab().toImage().pixelColor(MARGIN + 100, rows.axis - 5) != DARK.replay
    assert bar.x_of((_T0_MS + 150_000) * _MS) == MARGIN + 150


def test_what_is_sought_and_the_loop_are_drawn(bar: CoverageBar) -> None:
    before = bar.grab().toImage()
    begin, end = (_T0_MS + 800_000) * _MS, (_T0_MS + 900_000) * _MS
    bar.show_replay(status(100_000, loop=(begin, end)), _COVERAGE, [_MARK])
    looped = bar.grab().toImage()
    assert looped != before
    bar.show_replay(status(100_000, loop=(begin, end), seeking_ns=begin), _COVERAGE, [_MARK])
    assert bar.grab().toImage() != looped


def test_a_press_and_a_drag_seek(bar: CoverageBar) -> None:
    sought = QSignalSpy(bar.sought)
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=seconds(bar, 250))
    QTest.mouseMove(bar, seconds(bar, 300))
    QTest.mouseMove(bar, QPoint(5_000, 5))
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(5_000, 5))
    QTest.mouseMove(bar, seconds(bar, 400))
    times = [sought.at(place)[0] // _MS - _T0_MS for place in range(sought.count())]
    assert times == [250_000, 300_000, _LENGTH_MS]


def test_a_press_on_a_flag_seeks_the_bookmark(bar: CoverageBar) -> None:
    sought, marked = QSignalSpy(bar.sought), QSignalSpy(bar.bookmark_sought)
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(MARGIN + 603, 5))
    assert marked.count() == 1
    assert marked.at(0) == [_MARK]
    assert sought.count() == 0


def wheel(bar: CoverageBar, x: int, notches: int, modifiers: Qt.KeyboardModifier) -> None:
    at = QPointF(x, 20)
    QApplication.sendEvent(
        bar,
        QWheelEvent(
            *(at, bar.mapToGlobal(at), QPoint(), QPoint(0, 120 * notches)),
            *(Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False),
        ),
    )


def test_the_wheel_zooms_around_the_pointer_and_moves(bar: CoverageBar) -> None:
    around = bar.time_at(MARGIN + 250)
    assert around is not None
    wheel(bar, MARGIN + 250, 3, Qt.KeyboardModifier.NoModifier)
    near = bar.span
    assert near is not None
    assert near.length_ns == pytest.approx(_LENGTH_MS * _MS * 0.7**3)
    assert bar.x_of(around) == pytest.approx(MARGIN + 250, abs=0.01)
    wheel(bar, MARGIN + 250, -1, Qt.KeyboardModifier.ShiftModifier)
    assert bar.span is not None
    assert bar.span.from_ns > near.from_ns
    wheel(bar, MARGIN + 250, -9, Qt.KeyboardModifier.NoModifier)
    assert bar.span == bar._map.whole


def test_the_middle_button_moves_a_part(bar: CoverageBar) -> None:
    bar.zoom(0.5, (_T0_MS + 500_000) * _MS)
    before = bar.span
    assert before is not None
    QTest.mousePress(bar, Qt.MouseButton.MiddleButton, pos=seconds(bar, 500))
    QTest.mouseMove(bar, seconds(bar, 400))
    QTest.mouseRelease(bar, Qt.MouseButton.MiddleButton, pos=seconds(bar, 400))
    assert bar.span is not None
    assert bar.span.from_ns - before.from_ns == 50_000 * _MS


def test_keys_zoom_and_turn_pages_of_the_focused_bar(bar: CoverageBar) -> None:
    bar.setFocus()
    QTest.keyClick(bar, Qt.Key.Key_Plus)
    near = bar.span
    assert near is not None
    assert near.length_ns == _LENGTH_MS * _MS * 7 // 10
    QTest.keyClick(bar, Qt.Key.Key_PageDown)
    assert bar.span is not None
    assert bar.span.from_ns > near.from_ns
    QTest.keyClick(bar, Qt.Key.Key_PageUp)
    QTest.keyClick(bar, Qt.Key.Key_Equal)
    QTest.keyClick(bar, Qt.Key.Key_Minus)
    assert bar.span.length_ns == pytest.approx(near.length_ns, rel=1e-6)
    QTest.keyClick(bar, Qt.Key.Key_0)
    assert bar.span.length_ns == _LENGTH_MS * _MS


def test_a_part_follows_the_clock(bar: CoverageBar) -> None:
    bar.zoom(0.1, (_T0_MS + 100_000) * _MS)
    for at_ms in (195_000, 900_000, 20_000):
        bar.show_replay(status(at_ms), _COVERAGE, [_MARK])
        assert bar.x_of((_T0_MS + at_ms) * _MS) is not None
        assert bar.span is not None
        assert bar.span.length_ns == 100_000 * _MS


def test_another_recording_is_shown_whole(bar: CoverageBar) -> None:
    bar.zoom(0.1, (_T0_MS + 100_000) * _MS)
    bar.show_replay(status(0, file="a.obd"), _COVERAGE, [])
    assert bar.span == bar._map.whole


def test_a_recording_that_grows_stays_whole_and_a_part_stays(bar: CoverageBar) -> None:
    cover = Cover("a", 1, 2, _T0_MS, _T0_MS + 2 * _LENGTH_MS)
    bar.show_replay(status(100_000), Coverage(Timeline((cover,), ())), [])
    assert bar.span is not None
    assert bar.span.length_ns == 2 * _LENGTH_MS * _MS
    bar.zoom(0.5, (_T0_MS + 100_000) * _MS)
    part = bar.span
    longer = replace(cover, to_ms=_T0_MS + 3 * _LENGTH_MS)
    bar.show_replay(status(100_000), Coverage(Timeline((longer,), ())), [])
    assert bar.span == part


def test_the_tip_says_when_and_why(bar: CoverageBar) -> None:
    assert bar.tip_at(MARGIN + 100) == "8 Aug 2024 06:55:00.000 UTC\nRecorded."
    tip = bar.tip_at(MARGIN + 230)
    assert "Gap of 0:01:00.000: " in tip
    assert "From 8 Aug 2024 06:56:40.000 UTC" in tip
    assert GapCause.SILENCE.sentence in tip
    assert "update ids 6 to 10" in tip
    assert "Gap of 0:00:00.003" in bar.tip_at(MARGIN + 500)
    assert "Quiet for 0:01:40.000" in bar.tip_at(MARGIN + 350)
    assert "3 trades are missing, 6 to 8" in bar.tip_at(MARGIN + 720)
    assert bar.tip_at(MARGIN + 604).endswith("UTC: the sweep")
    long = replace(_MARK, note="word " * 100)
    bar.show_replay(status(0), _COVERAGE, [long])
    assert max(map(len, bar.tip_at(MARGIN + 600).splitlines())) <= 80


def test_without_a_recording_it_is_empty(host: QWidget) -> None:
    bar = CoverageBar(DARK, host)
    bar.resize(_WIDTH, bar.sizeHint().height())
    sought = QSignalSpy(bar.sought)
    bar.show()
    bar.zoom(0.5, 0)
    bar.show_replay(status(0), Coverage(), [])
    bar.describe()
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(300, 20))
    assert sought.count() == 0
    assert (bar.tip_at(300), bar.x_of(_T0_MS * _MS), bar.span) == ("", None, None)
    assert not bar.grab().isNull()


def test_assistive_technology_reads_and_sets_the_position(bar: CoverageBar) -> None:
    sought = QSignalSpy(bar.sought)
    bar.describe()
    assert (bar.minimum(), bar.maximum(), bar.value()) == (0, 1_000, 100)
    assert sought.count() == 0
    bar.setValue(160)
    assert sought.at(0)[0] == (_T0_MS + 160_000) * _MS


def test_the_time_under_the_pointer_is_drawn(bar: CoverageBar) -> None:
    before = bar.grab().toImage()
    QTest.mouseMove(bar, seconds(bar, 700))
    pointed = bar.grab().toImage()
    assert pointed != before
    assert bar._hover_text((_T0_MS + 700_123) * _MS) == "8 Aug 2024 07:05:00"
    bar.zoom(0.01, (_T0_MS + 700_000) * _MS)
    assert bar._hover_text((_T0_MS + 700_123) * _MS) == "8 Aug 2024 07:05:00.123"


def test_a_message_gives_way_to_the_time_under_the_pointer(bar: CoverageBar) -> None:
    def has_message(x: int) -> bool:
        axis = CoveragePainter(DARK, bar.font()).rows.axis
        return bar.grab().toImage().pixelColor(x, axis + 1) == DARK.raised

    bar.show_message("A sentence.")
    left, right = MARGIN + 1, _WIDTH - MARGIN - 2
    assert (has_message(left), has_message(right)) == (False, True)
    QTest.mouseMove(bar, seconds(bar, 900))
    assert (has_message(left), has_message(right)) == (True, False)
    QTest.mouseMove(bar, seconds(bar, 100))
    assert (has_message(left), has_message(right)) == (False, True)


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_a_message_is_drawn_beside_the_times(bar: CoverageBar) -> None:
    before = bar.grab().toImage()
    bar.show_message("A sentence.")
    assert bar.message == "A sentence."
    assert bar.grab().toImage() != before
    for y, told in ((bar.height() - 4, "A sentence."), (20, "8 Aug 2024 07:06:40.000 UTC")):
        at = QPoint(MARGIN + 800, y)
        QApplication.sendEvent(bar, QHelpEvent(QEvent.Type.ToolTip, at, bar.mapToGlobal(at)))
        assert QToolTip.text().startswith(told)
    QToolTip.hideText()


def test_a_recording_that_grows_has_dots_after_its_end(bar: CoverageBar) -> None:
    def is_marked() -> bool:
        rows = CoveragePainter(DARK, bar.font()).rows
        image = bar.grab().toImage()
        end = image.copy(_WIDTH - MARGIN + 1, rows.band, MARGIN - 1, rows.trades - rows.band)
        return DARK.muted.rgb() in colours_of(end)

    assert not is_marked()
    bar.show_replay(status(100_000), replace(_COVERAGE, is_growing=True), [])
    assert is_marked()
    bar.zoom(0.5, (_T0_MS + 100_000) * _MS)
    assert not is_marked()


def test_assistive_technology_finds_a_slider(bar: CoverageBar) -> None:
    bar.describe()
    found = QAccessible.queryAccessibleInterface(bar)
    assert found.role() == QAccessible.Role.Slider
    assert found.valueInterface().currentValue() == 100
    assert found.text(QAccessible.Text.Name) == "Position in the recording"


def test_theme_and_font_are_followed(bar: CoverageBar) -> None:
    height = bar.sizeHint().height()
    font = bar.font()
    font.setPointSizeF(font.pointSizeF() * 2)
    bar.setFont(font)
    assert bar.sizeHint().height() > height * 1.5
    bar.set_theme(LIGHT)
    assert bar.grab().toImage().pixelColor(1, 1) == LIGHT.window


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_the_clock_is_clear_of_what_it_stands_on(theme: Theme) -> None:
    assert contrast(theme.replay, blend(theme.focus, theme.panel, 0.5)) > 1.5
    assert contrast(theme.text, blend(theme.focus, theme.panel, 0.5)) > 3
