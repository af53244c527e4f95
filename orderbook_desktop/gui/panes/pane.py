"""The base class of the window's panes, and the message that a pane shows without a book."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo

from PySide6.QtCore import QEvent, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QFont, QKeyEvent, QPainter
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.desk import TradePages
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.gui.actions import Action, Command, FocusKeys, Switch
from orderbook_desktop.gui.panes.book_frame import BookFrame, Message
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme


class Pane(QWidget):
    """A view of the book of the symbol on screen. The window uses its panes only through this.

    The window passes every new frame, the price step to group by, and the theme to each pane. It
    asks for the summary about once a second. A pane stores its own choices in the window's
    preferences. `name` is the pane's name for assistive technology.

    A subclass overrides `set_frame`, and the other methods that it needs. It may set `stretch`,
    its share of the width beyond the panes' usual widths, and `focus_keys`, the keys that it
    handles while it has the focus. A pane with `shown_by`, an action, can be hidden by it; without
    a choice of the person, the window shows it where it is wide enough for it, too.

    Signals:
        price_pointed(object): the person points at this price here, an int in price units of the
            book's scale, or at none (None). The window tells the other panes, which mark it.
        time_pointed(object): the same for a time, in ms since the epoch by the exchange's clock.
        moment_wanted(object): the person wants to see the recording at this time, ns since the
            epoch.
    """

    stretch = 1
    shown_by: Action | None = None
    price_pointed = Signal(object)  # A price may exceed the 32 bits of Qt's int.
    time_pointed = Signal(object)
    moment_wanted = Signal(object)

    def __init__(self, theme: Theme, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.focus_keys = FocusKeys({})
        self._theme = theme
        self.setAccessibleName(name)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size, with the pane's usual width."""
        return QSize(430, 700)

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`. If its market is another than before, start afresh."""
        raise NotImplementedError

    def set_step(self, step: int) -> None:
        """Group by `step` price units of the book's scale. A pane without groups ignores it."""

    def set_quote_units(self, wanted: bool) -> None:
        """Show sizes and totals in the quote asset, or in the base asset.

        A pane begins with `Preferences.shows_quote`. A pane without sizes ignores it.
        """

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local. A pane without times ignores it."""

    def mark_price(self, price: int | None) -> None:
        """Mark the price that is pointed at in another pane, or (None) none any more."""

    def mark_time(self, time_ms: int | None) -> None:
        """Mark the time that is pointed at in another pane, or (None) none any more."""

    def set_heatmaps(self, heatmaps: HeatmapPages | None) -> None:
        """Read recorded heatmaps from `heatmaps`, if there are any; others ignore it.

        What was read from others is forgotten.
        """

    def set_pages(self, pages: TradePages | None) -> None:
        """Read recorded trades from `pages`, if there are any. A pane without trades ignores it.

        What was read from others is forgotten.
        """

    def set_replay(self, status: ReplayStatus | None) -> None:
        """Follow the clock of a replay; None: the window is live."""

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self._theme = theme
        self._take_fonts()
        self.update()

    def summary(self) -> str:
        """Return a description of the pane's content, for assistive technology."""
        return ""

    def commands(self) -> Sequence[Command | Switch]:
        """Return the pane's entries for the window's view menu."""
        return ()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._take_fonts()
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Handle the keys in `focus_keys`."""
        if not self.focus_keys.handle(event):
            super().keyPressEvent(event)

    def _take_fonts(self) -> None:
        """Build painters and font metrics anew, after the font or the theme has changed."""

    def _read_out(self, text: str) -> None:
        """Have assistive technology read `text`, which describes the pane from now on."""
        self.setAccessibleDescription(text)
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, text))

    def _paint_focus(self, painter: QPainter) -> None:
        """Draw a frame around the pane that has the focus."""
        if self.hasFocus():
            painter.setPen(self._theme.focus)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))


# Makes a pane from the theme, the window's preferences and the parent widget.
PaneMaker = Callable[[Theme, Preferences, QWidget], Pane]


def paint_message(
    painter: QPainter, area: QRect, message: Message, font: QFont, theme: Theme
) -> None:
    """Draw title and sentence of `message` in the middle of `area`."""
    room = QRectF(area).adjusted(24, 0, -24, 0)
    large = QFont(font)
    large.setPointSizeF(font.pointSizeF() * 1.35)
    large.setWeight(QFont.Weight.DemiBold)
    title = QRectF(room.left(), room.center().y() - 44, room.width(), 40)
    painter.setFont(large)
    painter.setPen(theme.text)
    flags = Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap
    painter.drawText(title, Qt.AlignmentFlag.AlignBottom | flags, message.title)
    painter.setFont(font)
    painter.setPen(theme.muted)
    detail = QRectF(room.left(), title.bottom() + 8, room.width(), room.height() / 2 - 8)
    painter.drawText(detail, Qt.AlignmentFlag.AlignTop | flags, message.detail)
