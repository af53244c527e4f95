"""The transport bar of a replay: its buttons, its speed, its time, and the coverage bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QResizeEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import (
    Bookmark,
    Replay,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.replay_times import UpdateId, parse_moment
from orderbook_desktop.core.time_text import duration_text, moment_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.gui.theme import Theme
from orderbook_desktop.gui.window import replay_control as control_of
from orderbook_desktop.gui.window.coverage_bar import CoverageBar
from orderbook_desktop.gui.window.menus import UTC
from orderbook_desktop.gui.window.moment_field import DayButton, MomentField
from orderbook_desktop.gui.window.replay_control import SPEEDS, ReplayControl, speed_text
from orderbook_desktop.gui.window.status_line import fields_that_fit
from orderbook_desktop.gui.window.transport_glyphs import Glyph, GlyphButton

_LOOK_MS: Final = 250
_BRIEF_MS: Final = 6_000
_SPACING: Final = 6
_WIDEST_SPEED: Final = speed_text(88_888_000)
_PLAY: Final = "Play"
_PAUSE: Final = "Pause"
_NO_BOOK: Final = "No bookmark was added: no book is known at this moment."


class TransportBar(QWidget):
    """Shows the replay of `control`, and takes the person's commands.

    Call `show_status` with every change of the status, and `look()` after a command. Where room is
    short, the parts with the highest ranks are left out; the menu `replay_menu` has all of them.

    Signals:
        left(): the focus should go back to the book.
        live_wanted(): the person wants to see the live book again.
        gaps_wanted(): the person wants to see the list of gaps.
        utc_turned(): the person wants times in UTC, or in local time again.
    """

    left = Signal()
    live_wanted = Signal()
    gaps_wanted = Signal()
    utc_turned = Signal()

    def __init__(
        self,
        control: ReplayControl,
        theme: Theme,
        replay_menu: QMenu,
        parent: QWidget | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(parent)
        self._control = control
        self._now_ns = now_ns
        self._zone: tzinfo | None = None
        self._status: ReplayStatus | None = None
        self._typed_problem = self._announced = ""
        self._skipped: Gap | None = None
        self.setObjectName("transportBar")
        self.setAccessibleName("Replay")
        self.bar = CoverageBar(theme, self)
        self.play_button = self._glyph(Glyph.PLAY, control_of.PLAY, control.toggle)
        self.speed_box = self._new_speed_box()
        self.reached_label = QLabel(self)
        self.day_button = DayButton(self)
        self.moment_field = MomentField(self)
        self.zone_button = QToolButton(self)
        self.zone_button.setToolTip(f"Times in UTC, or in local time ({UTC.keys_text})")
        self.zone_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.zone_button.clicked.connect(lambda _checked: self.utc_turned.emit())
        self.menu_button = QPushButton("Menu", self)
        self.menu_button.setMenu(replay_menu)
        self.menu_button.setToolTip("All commands of the replay, and their keys")
        self.live_button = self._push("Back to live", self.live_wanted.emit)
        self.skip_quiet = self._switch("Skip quiet", control_of.SKIP_QUIET, control.skip_quiet)
        self.skip_gaps = self._switch("Skip gaps", control_of.SKIP_GAPS, control.skip_gaps)
        by_exchange = control_of.ORDERS[ReplayOrder.EXCHANGE]
        self.order_button = self._switch("Exchange time", by_exchange, self._turn_order)
        self.loop_button = self._tool("Loop", control_of.LOOP, control.mark_loop)
        self._parts = self._ranked()
        self._brief = ""
        self._brief_end = QTimer(self, interval=_BRIEF_MS, singleShot=True)
        self._brief_end.timeout.connect(self._end_brief)
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._lay_out()
        self._connect()
        self._timer.start()

    @property
    def message(self) -> str:
        """The sentence that the bar says beside its times."""
        return self.bar.message

    def look(self) -> None:
        """Show the replay as it is now; a switch that it did not obey goes back."""
        replay = self._control.replay
        if replay is not None:
            self._status = None
            self.show_status(replay.status)

    def show_status(self, status: ReplayStatus) -> None:
        """Show `status`, and what is covered."""
        replay = self._control.replay
        if replay is None:
            return
        is_other, self._status = status != self._status, status
        self.bar.show_replay(status, replay.coverage, replay.bookmarks)
        at_ms = status.at_ns // NS_A_MS
        self.moment_field.show_moment(at_ms, self._zone)
        self.day_button.show_recording(at_ms, replay.coverage.timeline, self._zone)
        if is_other:
            self._show_state(status)
        if status.skipped is not self._skipped:
            self._skipped = status.skipped
            if status.skipped is not None:
                self._say_briefly(f"Skipped a {_gap_text(status.skipped)}")
        self._show_message()
        self._announce(status)

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self.bar.set_zone(zone)
        self.look()
        self._arrange()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self.bar.set_theme(theme)

    def type_time(self) -> None:
        """Let the person type a time."""
        self.moment_field.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def describe(self) -> None:
        """Update what assistive technology reads, at a pace at which a person can listen."""
        self.bar.describe()
        status = self._status
        if status is not None:
            said = [moment_text(status.at_ns // NS_A_MS, self._zone), self.message]
            self.bar.setAccessibleDescription(". ".join(filter(None, said)))

    def stop(self) -> None:
        """Stop looking at the replay."""
        self._timer.stop()
        self._brief_end.stop()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a small width: parts disappear rather than limit the window."""
        return QSize(200, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the parts that fit now."""
        super().resizeEvent(event)
        self._arrange()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Measure the parts anew after a change of the font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            # The parts get the font later than this widget.
            QTimer.singleShot(0, self, self._arrange)

    def _ranked(self) -> dict[QWidget, int]:
        """Return the parts from left to right, each with its rank."""
        step, jump, control = self._control.step, self._control.jump, control_of
        return {
            self._glyph(Glyph.GAP_BACK, control.LAST_GAP, lambda: jump(Target.GAP, back=True)): 6,
            self._glyph(
                Glyph.STEP_BACK, control.EVENT_BACK, lambda: step(Step.EVENT, back=True)
            ): 4,
            self.play_button: 0,
            self._glyph(Glyph.STEP_ON, control.EVENT_ON, lambda: step(Step.EVENT, back=False)): 5,
            self._glyph(Glyph.GAP_ON, control.NEXT_GAP, lambda: jump(Target.GAP, back=False)): 7,
            self.speed_box: 2,
            self.reached_label: 8,
            self.day_button: 3,
            self.moment_field: 1,
            self.zone_button: 10,
            self.skip_quiet: 13,
            self.skip_gaps: 14,
            self.order_button: 17,
            self.loop_button: 12,
            self._glyph(Glyph.BOOKMARK, control.MARK, self._control.add_bookmark): 9,
            self._tool("Bookmarks", control.MARKS, self._control.bookmarks_wanted.emit): 15,
            self._push("Gaps", self.gaps_wanted.emit): 16,
            self.menu_button: 2,
            self.live_button: 2,
        }

    def _lay_out(self) -> None:
        self._row = row = QHBoxLayout()
        row.setContentsMargins(10, 5, 10, 2)
        row.setSpacing(_SPACING)
        for part in self._parts:
            if part is self.skip_quiet:
                row.addStretch(1)
            # All have the height of the highest.
            part.setSizePolicy(part.sizePolicy().horizontalPolicy(), QSizePolicy.Policy.Expanding)
            row.addWidget(part)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 2)
        column.setSpacing(1)
        column.addLayout(row)
        column.addWidget(self.bar)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def _connect(self) -> None:
        control = self._control
        control.commanded.connect(self.look)
        control.marked.connect(self._say_marked)
        self.bar.sought.connect(control.seek)
        self.bar.bookmark_sought.connect(self._seek_bookmark)
        self.moment_field.typed.connect(self._seek_typed)
        self.moment_field.left.connect(self._leave_field)
        self.day_button.chosen.connect(self._seek_day)

    def _show_state(self, status: ReplayStatus) -> None:
        playing = status.is_playing
        self.play_button.show_glyph(Glyph.PAUSE if playing else Glyph.PLAY)
        name = _PAUSE if playing else _PLAY
        if self.play_button.accessibleName() != name:
            self.play_button.setAccessibleName(name)
            self.play_button.setToolTip(f"{name} ({control_of.PLAY.keys_text})")
        self._show_speed(status)
        self.skip_quiet.setChecked(status.skips_quiet)
        self.skip_gaps.setChecked(status.skips_gaps)
        self.order_button.setChecked(status.order is ReplayOrder.EXCHANGE)
        self.loop_button.setChecked(status.loop != (None, None))
        zone = moment_text(status.at_ns // NS_A_MS, self._zone).rpartition(" ")[2]
        if zone != self.zone_button.text():
            self.zone_button.setText(zone)
            self.zone_button.setAccessibleName(f"Time zone: {zone}")
            self._arrange()

    def _show_speed(self, status: ReplayStatus) -> None:
        if status.speed in SPEEDS:
            self.speed_box.setCurrentIndex(SPEEDS.index(status.speed))
        else:
            self.speed_box.setCurrentIndex(-1)
            self.speed_box.setPlaceholderText(speed_text(status.speed))
        reached = "" if status.reached is None else f"reaches {_rounded_speed(status.reached)}"
        if reached != self.reached_label.text():
            had_text = bool(self.reached_label.text())
            self.reached_label.setText(reached)
            if had_text is not bool(reached):
                self._arrange()

    def _show_message(self) -> None:
        status, replay = self._status, self._control.replay
        if status is not None and replay is not None:
            self.bar.show_message(self._message_of(status, replay))

    def _message_of(self, status: ReplayStatus, replay: Replay) -> str:
        """Return the sentence that matters most; empty: there is none."""
        return next(filter(None, self._messages(status, replay)), "")

    def _messages(self, status: ReplayStatus, replay: Replay) -> Iterator[str]:
        yield self._typed_problem
        yield status.problem
        yield self._brief
        if status.gap is not None:
            where = "Before" if status.gap.is_before else "After"
            yield f"{where} a {_gap_text(status.gap.gap)}"
        if status.reached is not None and self.reached_label.isHidden():
            yield f"Reaches {_rounded_speed(status.reached)}"
        if status.is_at_end and replay.coverage.is_growing:
            yield "The newest moment; the recording goes on."
        elif status.is_at_end:
            yield "The recording ends here."

    def _say_briefly(self, sentence: str) -> None:
        """Say a sentence for some seconds."""
        self._brief = sentence
        self._brief_end.start()
        self._show_message()

    def _end_brief(self) -> None:
        self._brief = ""
        self._show_message()

    def _say_marked(self) -> None:
        """Say that the moment on screen is marked now, or why it can't be."""
        replay = self._control.replay
        if replay is None:
            return
        status = replay.status  # Of now: that of the last frame may be of the book before.
        # The list of bookmarks has the book's time, which is before that of the clock.
        moment = moment_text(status.event_ms or status.at_ns // NS_A_MS, self._zone)
        said = f"Bookmark at {moment}" if status.update_id else _NO_BOOK
        self._say_briefly(replay.bookmarks_problem or said)

    def _announce(self, status: ReplayStatus) -> None:
        """Have assistive technology read where the clock has come to rest."""
        if status.is_playing or status.seeking_ns is not None:
            return
        said = [moment_text(status.at_ns // NS_A_MS, self._zone), self.message]
        text = ". ".join(filter(None, said))
        if text != self._announced:
            self._announced = text
            self.bar.setAccessibleDescription(text)
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self.bar, text))

    def _arrange(self) -> None:
        """Show the parts for which there is room."""
        widths = [
            self._width_of(part) + _SPACING if self._has_content(part) else 0
            for part in self._parts
        ]
        room = self.width() - 20 + _SPACING
        shown = fields_that_fit(widths, list(self._parts.values()), room)
        for part, visible in zip(self._parts, shown, strict=True):
            part.setVisible(visible)

    def _has_content(self, part: QWidget) -> bool:
        return part is not self.reached_label or bool(self.reached_label.text())

    def _width_of(self, part: QWidget) -> int:
        if part is self.reached_label:
            return self.fontMetrics().horizontalAdvance(f"reaches {_WIDEST_SPEED}") + 4
        return part.sizeHint().width()

    def _seek_typed(self, text: str) -> None:
        status = self._status
        if status is None:
            return
        try:
            moment = parse_moment(
                text,
                now_ms=self._now_ns() // NS_A_MS,
                zone=self._zone,
                near_ms=status.at_ns // NS_A_MS,
            )
        except KnownError as error:
            self._typed_problem = str(error)
            self.moment_field.show_problem(self._typed_problem)
            self._show_message()
            return
        self._leave_field()
        if isinstance(moment, UpdateId):
            self._control.seek_id(moment.number)
        else:
            self._control.seek(moment)

    def _seek_day(self, from_ms: int) -> None:
        self._control.seek(from_ms * NS_A_MS)
        self.left.emit()

    def _seek_bookmark(self, bookmark: Bookmark) -> None:
        self._control.seek_bookmark(bookmark)

    def _leave_field(self) -> None:
        self._typed_problem = ""
        self.moment_field.show_problem("")
        self._show_message()
        self.left.emit()

    def _new_speed_box(self) -> QComboBox:
        box = QComboBox(self)
        box.addItems([speed_text(speed) for speed in SPEEDS])
        keys = ", ".join(
            f"{action.keys_text} {action.title.lower()}"
            for action in (control_of.SLOWER, control_of.FASTER, control_of.AS_LIVE)
        )
        box.setToolTip(f"Speed ({keys}); fastest: as fast as the recording can be read")
        box.setAccessibleName("Speed")
        box.setMaxVisibleItems(len(SPEEDS))
        box.activated.connect(self._choose_speed)
        return box

    def _turn_order(self, by_exchange: bool) -> None:
        order = ReplayOrder.EXCHANGE if by_exchange else ReplayOrder.RECEIVED
        self._control.set_order(order)

    def _choose_speed(self, index: int) -> None:
        self._control.set_speed(SPEEDS[index])
        self.left.emit()

    def _glyph(self, glyph: Glyph, action: Action, run: Callable[[], None]) -> GlyphButton:
        button = GlyphButton(glyph, self)
        self._set_up(button, action, run)
        return button

    def _tool(self, text: str, action: Action, run: Callable[[], None]) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setCheckable(action is control_of.LOOP)
        self._set_up(button, action, run)
        return button

    def _set_up(self, button: QToolButton, action: Action, run: Callable[[], None]) -> None:
        keys = f" ({action.keys_text})" if action.keys else ""
        button.setToolTip(f"{action.title}{keys}")
        button.setAccessibleName(action.title)
        # A press must not take the focus from the pane: the space bar would press it again.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked: run())

    def _switch(self, text: str, action: Action, turn: Callable[[bool], None]) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setCheckable(True)
        button.setToolTip(action.title)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(turn)
        return button

    def _push(self, text: str, run: Callable[[], None]) -> QPushButton:
        button = QPushButton(text, self)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked: run())
        return button


def _gap_text(gap: Gap) -> str:
    return f"gap of {duration_text(gap.to_ms - gap.from_ms)}: {gap.sentence}."


def _rounded_speed(speed: int) -> str:
    """Return a measured speed with about three digits: more change too fast to be read."""
    step = 10 ** max(0, len(str(speed)) - 3)
    return speed_text(speed // step * step)
