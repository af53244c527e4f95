"""The commands of a replay: each is declared once, and gives the person's wish to the replay."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QEvent, QKeyCombination, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QTextEdit,
    QWidget,
)

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.replay import (
    FASTEST,
    REAL_TIME,
    SLOWEST,
    UNLIMITED,
    Bookmark,
    LargeTrades,
    Replay,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.gui.actions import Action, Choice, Command, Switch

PLAY: Final = Action("&Play or pause", "in a replay: play, or pause", ("Space",))
FORWARD: Final = Action("5 seconds &on", "in a replay: 5 seconds on", ("Right",))
BACK: Final = Action("5 seconds &back", "in a replay: 5 seconds back", ("Left",))
MINUTE_ON: Final = Action("A &minute on", "in a replay: a minute on", ("Up",))
MINUTE_BACK: Final = Action("A m&inute back", "in a replay: a minute back", ("Down",))
SECOND_ON: Final = Action("A &second on", "in a replay: stop, a second on", ("Shift+Right",))
SECOND_BACK: Final = Action("A s&econd back", "in a replay: stop, a second back", ("Shift+Left",))
EVENT_ON: Final = Action("An e&vent on", "in a replay: stop, to the next event", (".",))
EVENT_BACK: Final = Action("An eve&nt back", "in a replay: stop, to the event before", (",",))
TRADE_ON: Final = Action("A &trade on", "in a replay: stop, to the next trade", (">",))
TRADE_BACK: Final = Action("A t&rade back", "in a replay: stop, to the trade before", ("<",))
TYPE_TIME: Final = Action(
    "&Time…", "in a replay: type a time (14:05:30.250, yesterday 9:00, -5m) or an update id", ("G",)
)
FIRST: Final = Action("The &first moment", "in a replay: to the first moment", ("Home",))
NEWEST: Final = Action("The &newest moment", "in a replay: to the newest moment", ("End",))
NEXT_GAP: Final = Action("Next &gap", "in a replay: to the next gap", ("N",))
LAST_GAP: Final = Action("G&ap before", "in a replay: to the gap before", ("P",))
NEXT_LARGE: Final = Action("Next &large trade", "in a replay: to the next large trade", ("T",))
LAST_LARGE: Final = Action(
    "La&rge trade before", "in a replay: to the large trade before", ("Shift+T",)
)
NEXT_MARK: Final = Action("Next &bookmark", "in a replay: to the next bookmark", ("M",))
LAST_MARK: Final = Action("Boo&kmark before", "in a replay: to the bookmark before", ("Shift+M",))
SLOWER: Final = Action("&Slower", "in a replay: slower", ("{",))
FASTER: Final = Action("&Faster", "in a replay: faster, at last as fast as it goes", ("}",))
AS_LIVE: Final = Action("&Real time", "in a replay: at the speed of the time", ("Backspace",))
LOOP: Final = Action(
    "&Loop: begin, end, none", "in a replay: set the loop's begin, its end, then no loop", ("L",)
)
MARK: Final = Action("Add a &bookmark", "in a replay: mark this moment", ("B",))
MARKS: Final = Action(
    "Boo&kmarks…", "in a replay: the bookmarks, with their notes", ("Ctrl+Shift+B",)
)
LARGE: Final = Action("&Large trades…", "in a replay: which trades count as large")
SKIP_QUIET: Final = Action("Skip &quiet stretches", "in a replay: skip where nothing happened")
SKIP_GAPS: Final = Action("Skip &gaps", "in a replay: skip gaps, and leave a mark")
ORDERS: Final = {
    ReplayOrder.RECEIVED: Action("As &received", "in a replay: the order of receipt"),
    ReplayOrder.EXCHANGE: Action("By the &exchange's time", "in a replay: the exchange's order"),
}


class Group(Struct, frozen=True):
    """Actions below a title of the menu; of a `choice` one is on."""

    title: str
    actions: tuple[Action, ...]
    is_choice: bool = False


# The menu's entries; None is a line.
MENU: Final[tuple[Action | Group | None, ...]] = (
    PLAY,
    Group(
        "&Step",
        (
            *(FORWARD, BACK, MINUTE_ON, MINUTE_BACK, SECOND_ON, SECOND_BACK),
            *(EVENT_ON, EVENT_BACK, TRADE_ON, TRADE_BACK),
        ),
    ),
    Group(
        "&Go to",
        (
            *(TYPE_TIME, FIRST, NEWEST, NEXT_GAP, LAST_GAP),
            *(NEXT_LARGE, LAST_LARGE, NEXT_MARK, LAST_MARK),
        ),
    ),
    Group("S&peed", (SLOWER, FASTER, AS_LIVE)),
    Group("&Order", tuple(ORDERS.values()), is_choice=True),
    None,
    LOOP,
    SKIP_QUIET,
    SKIP_GAPS,
    LARGE,
    None,
    MARK,
    MARKS,
)
ACTIONS: Final = tuple(
    action
    for entry in MENU
    if entry is not None
    for action in (entry.actions if isinstance(entry, Group) else (entry,))
)
"""All of them, in the menu's order."""

SPEEDS: Final = (
    *(SLOWEST, 250, 500, REAL_TIME, 2_000, 5_000, 10_000, 30_000, 60_000, 100_000, 300_000),
    *(FASTEST, UNLIMITED),
)
"""The speeds on offer, the slowest first."""
_LIMITED: Final = SPEEDS[:-1]
_NS: Final = 1_000_000_000
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


def speed_text(speed: int) -> str:
    """Return a speed in thousandths in times of real time; `fastest`: as fast as it goes."""
    if speed == UNLIMITED:
        return "fastest"
    whole, rest = divmod(speed, 1_000)
    fraction = f"{rest:03}".rstrip("0")
    return f"{whole:,}.{fraction}{_TIMES}" if fraction else f"{whole:,}{_TIMES}"


class ReplayControl(QObject):
    """Gives the person's commands to the replay of `desk`; without a replay they do nothing.

    As an event filter of the window it leaves a key to a field in which the person types, and to
    a button or a list that has a use for it.

    Signals:
        commanded(): a command was given; look at the replay at once.
        marked(): the person wants a bookmark of the book on screen.
        time_wanted(): the person wants to type a time.
        bookmarks_wanted(): the person wants to see the bookmarks.
        large_wanted(): the person wants to choose which trades are large.
    """

    commanded = Signal()
    marked = Signal()
    time_wanted = Signal()
    bookmarks_wanted = Signal()
    large_wanted = Signal()

    def __init__(self, desk: Desk, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._large_of: Replay | None = None
        self._large = LargeTrades()

    @property
    def replay(self) -> Replay | None:
        """The recording that is played."""
        return self._desk.replay

    @property
    def large(self) -> LargeTrades:
        """Which trades count as large in this replay."""
        return self._large if self._large_of is self._desk.replay else LargeTrades()

    def commands(self) -> Iterator[Command | Switch | Choice]:
        """Iterate over all actions, with their callables."""
        yield Command(PLAY, self.toggle)
        for action, seconds in ((FORWARD, 5), (BACK, -5), (MINUTE_ON, 60), (MINUTE_BACK, -60)):
            yield Command(action, partial(self.move, seconds * _NS))
        for step, on, back in (
            (Step.SECOND, SECOND_ON, SECOND_BACK),
            (Step.EVENT, EVENT_ON, EVENT_BACK),
            (Step.TRADE, TRADE_ON, TRADE_BACK),
        ):
            yield Command(on, partial(self.step, step, back=False))
            yield Command(back, partial(self.step, step, back=True))
        for target, after, before in (
            (Target.GAP, NEXT_GAP, LAST_GAP),
            (Target.LARGE_TRADE, NEXT_LARGE, LAST_LARGE),
            (Target.BOOKMARK, NEXT_MARK, LAST_MARK),
        ):
            yield Command(after, partial(self.jump, target, back=False))
            yield Command(before, partial(self.jump, target, back=True))
        yield Command(TYPE_TIME, self.time_wanted.emit)
        yield Command(FIRST, partial(self.seek, 0))
        yield Command(NEWEST, self.seek_end)
        yield Command(SLOWER, self.slower)
        yield Command(FASTER, self.faster)
        yield Command(AS_LIVE, partial(self.set_speed, REAL_TIME))
        for order, action in ORDERS.items():
            yield Choice(action, partial(self.set_order, order), order is ReplayOrder.RECEIVED)
        yield Command(LOOP, self.mark_loop)
        yield Switch(SKIP_QUIET, self.skip_quiet)
        yield Switch(SKIP_GAPS, self.skip_gaps)
        yield Command(LARGE, self.large_wanted.emit)
        yield Command(MARK, self.add_bookmark)
        yield Command(MARKS, self.bookmarks_wanted.emit)

    def toggle(self) -> None:
        """Play, or pause."""
        self._command(lambda replay: replay.pause() if _plays(replay) else replay.play())

    def move(self, by_ns: int) -> None:
        """Seek so much later than now, or than the time that is being sought."""
        self._command(lambda replay: replay.seek(target_ns(replay.status) + by_ns))

    def seek(self, at_ns: int) -> None:
        """Seek a time."""
        self._command(lambda replay: replay.seek(at_ns))

    def seek_id(self, update_id: int) -> None:
        """Seek an update id."""
        self._command(lambda replay: replay.seek_id(update_id))

    def seek_bookmark(self, bookmark: Bookmark) -> None:
        """Seek the book that was on screen when it was marked, or its time in a gap."""
        if bookmark.update_id:
            self.seek_id(bookmark.update_id)
        else:
            self.seek(bookmark.event_ms * 1_000_000)

    def go_to_gap(self, symbol: str, file: Path | None, gap: Gap | TradeGap) -> None:
        """Seek the last event before a gap in the recording of `symbol`.

        `file` is the packed file with it, None: the database. Where another recording is played, or
        none, play that one.
        """
        replay = self._desk.replay
        name = "" if file is None else file.name
        if replay is None or (replay.status.symbol, replay.status.file) != (symbol, name):
            self._desk.start_replay(symbol, at=gap.from_ms * 1_000_000, file=file)
            self.commanded.emit()
        elif isinstance(gap, TradeGap):
            self.seek(gap.from_ms * 1_000_000)
        else:
            self.seek_id(gap.first_missing - 1)

    def seek_end(self) -> None:
        """Seek the newest moment."""
        self._command(lambda replay: replay.seek_end())

    def step(self, step: Step, *, back: bool) -> None:
        """Go one step on, or back."""
        self._command(lambda replay: replay.step(step, back=back))

    def jump(self, target: Target, *, back: bool) -> None:
        """Go to the next gap, large trade or bookmark, or to the one before."""
        self._command(lambda replay: replay.jump(target, back=back))

    def slower(self) -> None:
        """Take the next lower of the speeds on offer."""
        self._command(lambda replay: replay.set_speed(_slower(replay.status.speed)))

    def faster(self) -> None:
        """Take the next higher of the speeds on offer."""
        self._command(lambda replay: replay.set_speed(_faster(replay.status.speed)))

    def set_speed(self, speed: int) -> None:
        """Play at a speed in thousandths, or UNLIMITED."""
        self._command(lambda replay: replay.set_speed(speed))

    def set_order(self, order: ReplayOrder) -> None:
        """Play in another order."""
        self._command(lambda replay: replay.set_order(order))

    def skip_quiet(self, wanted: bool) -> None:
        """Skip quiet stretches, or not."""
        self._command(lambda replay: replay.set_skips(quiet=wanted))

    def skip_gaps(self, wanted: bool) -> None:
        """Skip gaps, or not."""
        self._command(lambda replay: replay.set_skips(gaps=wanted))

    def mark_loop(self) -> None:
        """Set the loop's begin; if it is set, its end; if both are, no loop."""
        self._command(_mark_loop)

    def set_large(self, large: LargeTrades) -> None:
        """Jump to these trades from now on."""
        self._large_of, self._large = self._desk.replay, large
        self._command(lambda replay: replay.set_large(large))

    def add_bookmark(self) -> None:
        """Mark the book on screen."""
        self._command(lambda replay: replay.add_bookmark())
        self.marked.emit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Leave a key to the focused widget where that has a use for it.

        Qt asks the window last, after all widgets around the focus.
        """
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and self.replay is not None
        ):
            focused = QApplication.focusWidget()
            if focused is not None and _has_use_for(focused, event):
                event.accept()
                return True
        return super().eventFilter(watched, event)

    def _command(self, give: Callable[[Replay], None]) -> None:
        replay = self._desk.replay
        if replay is not None:
            give(replay)
            self.commanded.emit()


def target_ns(status: ReplayStatus) -> int:
    """Return the time that is being sought, else the clock's."""
    return status.at_ns if status.seeking_ns is None else status.seeking_ns


def _plays(replay: Replay) -> bool:
    return replay.status.is_playing


def _slower(speed: int) -> int:
    if speed == UNLIMITED:
        return FASTEST
    return _LIMITED[max(0, bisect_left(_LIMITED, speed) - 1)]


def _faster(speed: int) -> int:
    return UNLIMITED if speed == UNLIMITED else SPEEDS[bisect_right(_LIMITED, speed)]


def _mark_loop(replay: Replay) -> None:
    begin_ns, end_ns = replay.status.loop
    now_ns = target_ns(replay.status)
    if begin_ns is None:
        replay.set_loop(now_ns, None)
    elif end_ns is None and now_ns != begin_ns:
        replay.set_loop(min(begin_ns, now_ns), max(begin_ns, now_ns))
    else:
        replay.set_loop(None, None)


_KEYS: Final = frozenset(sequence.toString() for action in ACTIONS for sequence in action.sequences)
_OF_LISTS: Final = (
    *(Qt.Key.Key_Space, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End),
)
_OF_SLIDERS: Final = (
    *(Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down),
    *(Qt.Key.Key_Home, Qt.Key.Key_End),
)


def _has_use_for(focused: QWidget, event: QKeyEvent) -> bool:
    """Whether `focused` does something with the pressed key that the person expects of it."""
    modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    key = Qt.Key(event.key())
    pressed = QKeySequence(QKeyCombination(modifiers, key)), QKeySequence(key)
    is_ours = any(keys.toString() in _KEYS for keys in pressed)
    if not is_ours or modifiers & ~Qt.KeyboardModifier.ShiftModifier:
        return False
    match focused:
        case QLineEdit() | QTextEdit() | QAbstractSpinBox():
            return True
        case QComboBox():
            return focused.isEditable() or key in _OF_LISTS
        case QAbstractItemView():
            return key in _OF_LISTS
        case QAbstractSlider():
            return key in _OF_SLIDERS
        case _:
            return isinstance(focused, QAbstractButton) and key == Qt.Key.Key_Space
