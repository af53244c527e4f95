"""The bar of controls: symbol, source, recording, grouping, browsers, and the state badge."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QLabel, QToolButton, QWidget

from orderbook_desktop.core.desk import BrowserSwitch, Desk
from orderbook_desktop.core.ladder import default_step
from orderbook_desktop.core.number_format import book_steps, step_text
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.symbol_box import SymbolBox
from orderbook_desktop.gui.theme import Theme, text_scale
from orderbook_desktop.gui.window.badge import StateBadge
from orderbook_desktop.gui.window.browser_control import BrowserControl
from orderbook_desktop.gui.window.menus import COARSER, FIND_SYMBOL, FINER, HERE_TOO, RECORD

# Below these widths, in pixels for text of the usual size, the bar leaves out captions, then words,
# then the source switch, which the menu has, too. So there is always room for the badge.
_COMPACT_BELOW: Final = 1_000
_NARROW_BELOW: Final = 860
_TIGHT_BELOW: Final = 800
_SYMBOL_WIDTH: Final = 110
_NARROW_SYMBOL_WIDTH: Final = 96
_WIDEST_SYMBOL: Final = 240

SOURCE_NAMES = {SourceKind.MONGO: "Recorded", SourceKind.DIRECT: "Direct"}
_WAITING: Final = "▲"
# Nothing is recorded in the other states.
_RECORDING_WORDS: Final = {
    RecordingState.RECORDING: "on",
    RecordingState.ELSEWHERE: "on",
    RecordingState.FAILED: "failed",
    RecordingState.PAUSED: "paused",
    RecordingState.TOO_WIDE: "paused",
}
_SOURCE_TIPS = {
    SourceKind.MONGO: "Show the book as the database has recorded it",
    SourceKind.DIRECT: "Show the exchange's stream as it comes, with the least delay",
}


class SourceSwitch(QWidget):
    """Two buttons for the source of the book; that of the source in use is down.

    While that is not the chosen source, the button of the choice has a sign, and its tool tip says
    why.

    Signals:
        chosen(SourceKind): the person wants this source.
    """

    chosen = Signal(SourceKind)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Source of the book")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        group = QButtonGroup(self)
        self.buttons: dict[SourceKind, QToolButton] = {}
        for kind, name in SOURCE_NAMES.items():
            button = QToolButton(self)
            button.setObjectName(f"source{name}")
            button.setText(name)
            button.setCheckable(True)
            button.setToolTip(_SOURCE_TIPS[kind])
            button.setAccessibleName(f"Source: {name}")
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.clicked.connect(lambda _checked, kind=kind: self.chosen.emit(kind))
            group.addButton(button)
            row.addWidget(button)
            self.buttons[kind] = button

    def show_source(self, chosen: SourceKind, used: SourceKind, why: str) -> None:
        """Show the source in use and the chosen one; `why` says why they differ."""
        self.buttons[used].setChecked(True)
        for kind, button in self.buttons.items():
            name, tip, spoken = SOURCE_NAMES[kind], _SOURCE_TIPS[kind], ""
            if kind is chosen is not used:
                in_use = SOURCE_NAMES[used].lower()
                spoken = f", chosen, but {in_use} is shown"
                tip = f"{name} is chosen, but {in_use} is shown. {why}".strip()
                name = f"{_WAITING} {name}"
            elif kind is used:
                spoken = ", shown"
            if button.text() != name:
                button.setText(name)
            button.setToolTip(tip)
            button.setAccessibleName(f"Source: {SOURCE_NAMES[kind]}{spoken}")


class RecordButton(QToolButton):
    """Switches the recording; says whether it is on, in words if there is room for them.

    Signals:
        wanted(bool): the person wants the recording on or off.
    """

    wanted = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.clicked.connect(self.wanted)
        self._compact = self._is_live = self._is_tight = False
        self.set_recording(RecordingStatus("", RecordingState.STOPPED, kept=False, wanted=False))

    def set_recording(self, recording: RecordingStatus) -> None:
        """Show the state of the recording."""
        self._recording = recording
        self.setChecked(recording.wanted)
        word = _RECORDING_WORDS.get(recording.state, "waiting")
        if not recording.wanted:
            sign, word = "○", "off"
            tip = f"Not recording. Click to record this symbol ({RECORD.keys_text})"
        elif recording.recorded_by:
            sign, word = "◇", "elsewhere"
            tip = (
                f"Recorded by {recording.recorded_by}. This window follows that recording, and "
                f"takes over when it ends. Click not to take over ({RECORD.keys_text}); Record "
                f"here, too ({HERE_TOO.keys_text}) records it in this window as well"
            )
        elif recording.problem or word != "on":
            sign, word = _WAITING, word if word != "on" else "waiting"
            tip = recording.problem or f"Nothing is recorded now: {recording.state.value}."
        else:
            sign = "●"
            tip = f"Recording this symbol. Click to stop ({RECORD.keys_text})"
        live = "LIVE " if self._is_live else ""
        is_short = self._compact or (self._is_live and self._is_tight)
        text = f"{live}{sign} Record" if is_short else f"{live}{sign} Record: {word}"
        if text != self.text():
            self.setText(text)
        if self.accessibleName() != f"{live}Recording {word}":
            self.setAccessibleName(f"{live}Recording {word}")
        self.setToolTip(tip)

    def show_compact(self, *, compact: bool, tight: bool = False) -> None:
        """Leave out the words; the sign stays. If it is `tight`, leave them out beside LIVE."""
        self._compact, self._is_tight = compact, tight
        self.set_recording(self._recording)

    def show_live(self, is_live: bool) -> None:
        """Say that the recording is live, beside a replay."""
        self._is_live = is_live
        self.set_recording(self._recording)


class TopBar(QWidget):
    """Shows the desk's switches, and passes the person's commands to the desk.

    With `browsers` it also has the switch of the browser view.

    Signals:
        commanded(): a command was given; look at the desk at once.
        left(): the focus should go back to the book.
    """

    commanded = Signal()
    left = Signal()

    def __init__(
        self,
        desk: Desk,
        preferences: Preferences,
        theme: Theme,
        parent: QWidget | None = None,
        browsers: BrowserSwitch | None = None,
    ) -> None:
        super().__init__(parent)
        self._desk = desk
        self._status: FeedStatus | None = None
        self.setObjectName("topBar")
        self.symbol_box = SymbolBox(self)
        keys = " or ".join(FIND_SYMBOL.key_names)
        self.symbol_box.setToolTip(f"Search the traded symbols ({keys})")
        self.source_switch = SourceSwitch(self)
        self.record_button = RecordButton(self)
        self.grouping_box = GroupingBox(preferences, self)
        self.browser_control = BrowserControl(browsers, self) if browsers is not None else None
        self.badge = StateBadge(theme, self)
        self._group_label = QLabel("Group")
        self._group_label.setBuddy(self.grouping_box)
        self._row = row = QHBoxLayout(self)
        row.setContentsMargins(8, 6, 8, 6)
        row.setSpacing(8)
        # A long symbol needs the room more than the empty space before the badge.
        row.addWidget(self.symbol_box, 20)
        row.addWidget(self.source_switch)
        row.addWidget(self.record_button)
        row.addWidget(self._group_label)
        row.addWidget(self.grouping_box)
        if self.browser_control is not None:
            row.addWidget(self.browser_control)
        row.addStretch(1)
        row.addWidget(self.badge)
        self.symbol_box.chosen.connect(self._select_symbol)
        self.symbol_box.left.connect(self.left)
        self.source_switch.chosen.connect(self.select_source)
        self.record_button.wanted.connect(self.set_recording)

    def show_desk(self) -> None:
        """Show the desk's symbols and its source."""
        self.symbol_box.set_symbols(self._desk.symbols, self._desk.recents)
        self._show_source()

    def show_status(self, status: FeedStatus) -> None:
        """Show which source serves the book, and why it is not the chosen one.

        In a replay the switch is of the live book.
        """
        self._status = None if status.state is FeedState.REPLAY else status
        self._show_source()

    def _show_source(self) -> None:
        chosen, status = self._desk.source_kind, self._status
        used = chosen if status is None else status.source
        self.source_switch.show_source(chosen, used, "" if status is None else status.detail)

    def fit(self, width: int) -> None:
        """Leave out captions, words and switches that don't fit in a window `width` pixels wide."""
        scale = text_scale(self)
        compact, narrow = width < _COMPACT_BELOW * scale, width < _NARROW_BELOW * scale
        self.source_switch.setVisible(width >= _TIGHT_BELOW * scale)
        self.record_button.show_compact(compact=narrow, tight=compact)
        least = _NARROW_SYMBOL_WIDTH if narrow else _SYMBOL_WIDTH
        self.symbol_box.setMinimumWidth(round(least * scale))
        self.symbol_box.setMaximumWidth(round(_WIDEST_SYMBOL * scale))
        self._group_label.setVisible(not compact)
        self._row.setSpacing(6 if compact else 8)
        if self.browser_control is not None:
            self.browser_control.show_compact(compact=compact)

    def select_source(self, kind: SourceKind) -> None:
        """Switch the desk to another source."""
        self._desk.select_source(kind)
        self.commanded.emit()

    def set_recording(self, wanted: bool) -> None:
        """Switch the recording on or off."""
        self._desk.set_recording(wanted)
        self.commanded.emit()

    def keep_recording(self, wanted: bool) -> None:
        """Keep recording the symbol on screen, also while another is shown, or stop keeping it."""
        symbol = self._desk.live_symbol.symbol
        if wanted:
            self._desk.start_recording(symbol)
        else:
            self._desk.remove_recording(symbol)
        self.commanded.emit()

    def record_here(self, wanted: bool) -> None:
        """Record the symbol on screen also while another program records it, or not."""
        self._desk.record_here(self._desk.live_symbol.symbol, wanted)
        self.commanded.emit()

    def _select_symbol(self, symbol: str) -> None:
        self._desk.select_symbol(symbol)
        # The desk refuses an unknown symbol; the box then shows the desk's symbol again.
        self.symbol_box.set_current(self._desk.symbol.symbol)
        self.commanded.emit()
        self.left.emit()


def steps_for(frame: BookFrame) -> list[int]:
    """Return the grouping steps of the book in `frame`, in its own price units.

    Without levels there is no price to choose steps by, so the list is empty.
    """
    return book_steps(frame.format, frame.bids, frame.asks) if frame.has_levels else []


class GroupingBox(QComboBox):
    """Offers the grouping steps of the market on screen, and remembers the choice.

    Call `set_frame` with every new frame. The box chooses steps for the first frame of a market
    with a book, and again when the book's scale or the tick size changes.

    Signals:
        step_changed(object): the step in use, an int in price units of the book's scale.
    """

    step_changed = Signal(object)  # A step may exceed the 32 bits of Qt's int.

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preferences = preferences
        self._steps: list[int] = []
        self._market = ""
        self._scale: tuple[int, int] | None = None
        self.setAccessibleName("Grouping of price levels")
        keys = f"{FINER.key_names[0]} finer, {COARSER.key_names[0]} coarser"
        self.setToolTip(f"Group the ladder's levels by this price step ({keys})")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.setMinimumContentsLength(6)
        self.setEnabled(False)
        self.activated.connect(self._chosen)

    @property
    def step(self) -> int:
        """The step in use, in price units; 1 (no grouping) until a book is known."""
        return self._steps[self.currentIndex()] if self._steps else 1

    def set_frame(self, frame: BookFrame) -> None:
        """Offer the steps of the market in `frame`."""
        is_new = frame.symbol.market != self._market
        scale = frame.format.scale.price, frame.format.tick
        # Without levels, a tick size that is not listed is unknown; the choice must survive that.
        if not is_new and self._steps and (scale == self._scale or not frame.has_levels):
            return
        self._market, self._scale = frame.symbol.market, scale
        steps = steps_for(frame)
        if is_new or steps != self._steps:
            self._offer(steps, frame, "" if is_new else self.currentText())
        self.step_changed.emit(self.step)

    def finer(self) -> None:
        """Use the next smaller step."""
        self._choose(self.currentIndex() - 1)

    def coarser(self) -> None:
        """Use the next larger step."""
        self._choose(self.currentIndex() + 1)

    def _offer(self, steps: list[int], frame: BookFrame, before: str) -> None:
        """Offer `steps`; use the step that was chosen for the market, or `before`, or the usual."""
        self._steps = steps
        texts = [step_text(step, frame.format.scale.price) for step in steps]
        self.clear()
        self.addItems(texts)
        self.setEnabled(bool(steps))
        chosen = self._preferences.grouping(self._market), before
        wanted = [text for text in chosen if text in texts]
        if wanted:
            self.setCurrentIndex(texts.index(wanted[0]))
        elif steps:
            self.setCurrentIndex(steps.index(default_step(steps, frame.bids, frame.asks)))

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._steps):
            self.setCurrentIndex(index)
            self._chosen()

    def _chosen(self) -> None:
        self._preferences.set_grouping(self._market, self.currentText())
        self.step_changed.emit(self.step)
