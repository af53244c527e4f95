"""What every pane of the window is: a view of the book beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import QWidget

from orderbook_desktop.gui.actions import Command, FocusKeys, Switch
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme


class Pane(QWidget):
    """A view of the book of the symbol on screen. The window knows of its panes only this.

    The window hands over every new frame, the price step to group by, and the theme; it asks
    for the summary about once a second. What a pane remembers from one run to the next it keeps
    in the window's preferences itself. `name` is what assistive technology calls it.

    A pane overrides `set_frame`, and of the others what concerns it. It may set `stretch`, its
    share of what room the window has left beside the panes' usual widths, and `focus_keys`, the
    keys that it takes while it has the focus.
    """

    stretch = 1

    def __init__(self, theme: Theme, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.focus_keys = FocusKeys({})
        self._theme = theme
        self.setAccessibleName(name)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size; the width is the pane's usual one."""
        return QSize(430, 700)

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`. Another market than before begins anew."""
        raise NotImplementedError

    def set_step(self, step: int) -> None:
        """Group by `step` price units of the book's scale; for a pane that has groups."""

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self._theme = theme
        self._take_fonts()
        self.update()

    def summary(self) -> str:
        """Return what is on screen in words, for assistive technology."""
        return ""

    def commands(self) -> Sequence[Command | Switch]:
        """Return what the window's menu offers about this pane."""
        return ()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Follow the person's font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._take_fonts()
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Do what `focus_keys` say."""
        if not self.focus_keys.handle(event):
            super().keyPressEvent(event)

    def _take_fonts(self) -> None:
        """Make what is painted with, after the font or the theme has changed."""

    def _paint_focus(self, painter: QPainter) -> None:
        """Draw a frame around the pane that has the focus."""
        if self.hasFocus():
            painter.setPen(self._theme.focus)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))


# Makes a pane: from the theme, the window's preferences, and the widget that it is put into.
PaneMaker = Callable[[Theme, Preferences, QWidget], Pane]
