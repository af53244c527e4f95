"""What the window shows of a replay beside its book: strips on the panes, the time, and gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QVBoxLayout, QWidget

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import GapStop, ReplayStatus
from orderbook_desktop.core.status import REPLAY
from orderbook_desktop.core.time_text import age_text, duration_text, moment_text, time_of_day_text
from orderbook_desktop.gui.panes.pane import Pane
from orderbook_desktop.gui.parts import push_button, text_label

_PAUSE_MS: Final = 100
_NOT_YET: Final = "not recorded yet"


class StripedPane(QWidget):
    """A pane with a strip above it that says REPLAY while it shows a recording."""

    def __init__(self, pane: Pane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pane = pane
        self.strip = QLabel(REPLAY, self)
        self.strip.setObjectName("replayStrip")
        self.strip.setAccessibleName(f"{pane.accessibleName()}: {REPLAY}")
        self.strip.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.strip)
        column.addWidget(pane, 1)


class GapCard(QFrame):
    """Tells about the gap at which a replay stands, over `covered`, a sibling.

    Signals:
        passed(): the person wants to go on after the gap.
    """

    passed = Signal()

    def __init__(self, covered: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("gapCard")
        self._covered = covered
        self._shown: tuple[GapStop, tzinfo | None] | None = None
        self._title = text_label(self, "gapTitle")
        self._cause = text_label(self, "gapCause")
        self._texts = {name: text_label(self) for name in ("Before", "After", "Missing")}
        self.button = push_button(self, "Go on after it", self.passed.emit)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 14, 18, 14)
        column.setSpacing(8)
        column.addWidget(self._title)
        column.addWidget(self._cause)
        edges = QGridLayout()
        edges.setHorizontalSpacing(12)
        for row, (name, label) in enumerate(self._texts.items()):
            edges.addWidget(QLabel(name, self), row, 0, Qt.AlignmentFlag.AlignTop)
            edges.addWidget(label, row, 1)
        edges.setColumnStretch(1, 1)
        column.addLayout(edges)
        column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        covered.installEventFilter(self)
        self.hide()

    @property
    def text(self) -> str:
        """All that the card says, in lines; empty while no gap is shown."""
        if self._shown is None:
            return ""
        edges = (f"{name}: {label.text()}" for name, label in self._texts.items())
        return "\n".join([self._title.text(), self._cause.text(), *edges])

    def show_gap(self, stop: GapStop | None, zone: tzinfo | None) -> None:
        """Tell about the gap, with times in `zone` (None: local); without one, hide."""
        shown = None if stop is None else (stop, zone)
        if shown == self._shown:
            return
        self._shown = shown
        if stop is None:
            self.hide()
            return
        gap = stop.gap
        self._title.setText(f"A gap of {duration_text(gap.to_ms - gap.from_ms)} in the recording")
        sentence = gap.sentence.removesuffix(".")
        self._cause.setText(f"{sentence[:1].upper()}{sentence[1:]}.")
        before, after = moment_text(gap.from_ms, zone), moment_text(gap.to_ms, zone)
        self._texts["Before"].setText(f"{before}, update id {stop.before_id}")
        has_end = stop.after_id is not None
        self._texts["After"].setText(f"{after}, update id {stop.after_id}" if has_end else _NOT_YET)
        missing = f"update ids {gap.first_missing} to {gap.last_missing}"
        self._texts["Missing"].setText(missing)
        self.button.setEnabled(has_end)
        self.setAccessibleName(self._title.text())
        self.setAccessibleDescription(self.text)
        self.raise_()
        self.show()
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay over the covered widget."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move):
            self._place()
        return super().eventFilter(watched, event)

    def _place(self) -> None:
        room = self._covered.geometry()
        width = min(self.fontMetrics().averageCharWidth() * 84, room.width() - 16)
        height = max(self.heightForWidth(width), self.minimumSizeHint().height())
        self.resize(width, min(height, room.height()))
        # The panes say in their middle that they show nothing.
        above = room.center().y() - self.height() - self.fontMetrics().height() * 4
        self.move(room.center().x() - self.width() // 2, max(room.top() + 8, above))


class ReplayView(QObject):
    """Shows that the window plays a recording, and of what moment: by strips, texts and a card.

    The texts change at most ten times a second: they can't be read more often. `now_ns` is a clock
    near the time of day. Call `lay_over` before the first status.

    Signals:
        turned(bool): a replay begins, or ends.
        told(str, str): the time of day with its zone, and the whole moment with how far it is in
            the past; both are empty without a replay.
        paced(ReplayStatus): the status of which that was told, so that all that shows the time
            shows the same one; None without a replay.
        passed(): the person wants to go on after the gap at which the replay stands.
    """

    turned = Signal(bool)
    told = Signal(str, str)
    paced = Signal(object)
    passed = Signal()

    def __init__(
        self, panes: Iterable[Pane], now_ns: Callable[[], int], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.striped = [StripedPane(pane, parent) for pane in panes]
        self.status: ReplayStatus | None = None
        self._now_ns = now_ns
        self._zone: tzinfo | None = None
        self._card: GapCard | None = None
        self._pause = QTimer(self, interval=_PAUSE_MS, singleShot=True)
        self._pause.timeout.connect(self._tell_rest)
        self._is_told = True

    @property
    def word(self) -> str:
        """REPLAY in a replay, else empty."""
        return "" if self.status is None else REPLAY

    @property
    def at_gap(self) -> bool:
        """Whether the replay stands at a gap, about which the card tells."""
        return self.status is not None and self.status.gap is not None

    @property
    def file(self) -> str:
        """The name of the file that is played; empty: it is the database, or the window is live."""
        return "" if self.status is None else self.status.file

    def lay_over(self, covered: QWidget, parent: QWidget) -> GapCard:
        """Tell about gaps over `covered`, a child of `parent`; return the card."""
        self._card = card = GapCard(covered, parent)
        card.passed.connect(self.passed)
        return card

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self._show_gap()
        if self.status is not None:
            self._tell()

    def show_status(self, status: ReplayStatus | None) -> None:
        """Show a moment of a replay; None: the window is live."""
        before, self.status = self.status, status
        is_on = status is not None
        self._show_gap()
        if is_on is not (before is not None):
            for striped in self.striped:
                striped.strip.setVisible(is_on)
            self.turned.emit(is_on)
            self._tell()
        elif self._pause.isActive():
            self._is_told = False
        else:
            self._tell()

    def tick(self) -> None:
        """Tell again how long ago it is: a replay that pauses gets farther into the past, too."""
        if self.status is not None and not self._pause.isActive():
            self._tell()

    def _show_gap(self) -> None:
        if self._card is not None:
            self._card.show_gap(None if self.status is None else self.status.gap, self._zone)

    def _tell_rest(self) -> None:
        if not self._is_told:
            self._tell()

    def _tell(self) -> None:
        status, self._is_told = self.status, True
        self.paced.emit(status)
        if status is None:
            self._pause.stop()
            self.told.emit("", "")
            return
        self._pause.start()
        ms = status.at_ns // NS_A_MS
        past = age_text(max(0, self._now_ns() - status.at_ns) // NS_A_MS)
        moment = f"{moment_text(ms, self._zone)}, {past} ago"
        self.told.emit(time_of_day_text(ms, self._zone), moment)
