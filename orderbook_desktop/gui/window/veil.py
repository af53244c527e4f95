"""The veil over the panes while their book may be wrong: it dims them and says how old they are."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QObject, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.status import Badge
from orderbook_desktop.gui.theme import Theme

_OPACITY: Final = 0.62
_LARGER: Final = 1.5
_PADDING: Final = 14
_WIDEST: Final = 560


class Veil(QWidget):
    """Lies over `covered`, a sibling, and is shown while a book that is not current is shown there.

    The mouse reaches the panes through it.
    """

    def __init__(self, covered: QWidget, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._covered = covered
        self._theme = theme
        self._badge: Badge | None = None
        self._has_book = self._is_lost = False
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        covered.installEventFilter(self)
        self.hide()

    @property
    def text(self) -> str:
        """The words across the panes; empty while the book is current, or none is shown."""
        return self._badge.text if self._badge is not None and self._is_needed else ""

    @property
    def _is_needed(self) -> bool:
        is_old = self._badge is not None and not self._badge.is_current
        return self._has_book and (self._is_lost or is_old)

    def show_book(self, *, has_book: bool, is_lost: bool) -> None:
        """Take in whether the panes show a book, and whether that is one which was lost."""
        self._has_book, self._is_lost = has_book, is_lost
        self._show()

    def show_badge(self, badge: Badge) -> None:
        """Take in how old the book is."""
        self._badge = badge
        self._show()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self._theme = theme
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay over the covered widget."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move):
            self.setGeometry(self._covered.geometry())
        return super().eventFilter(watched, event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Dim what lies below, and draw the state with its age, and the detail, in the middle."""
        badge = self._badge
        if badge is None:
            return
        with QPainter(self) as painter:  # The painter ends also after an exception.
            veil = QColor(self._theme.panel)
            veil.setAlphaF(_OPACITY)
            painter.fillRect(self.rect(), veil)
            self._draw_words(painter, badge)

    def _draw_words(self, painter: QPainter, badge: Badge) -> None:
        large = QFont(self.font())
        large.setPointSizeF(large.pointSizeF() * _LARGER)
        large.setWeight(QFont.Weight.DemiBold)
        flags = Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap
        room = QRectF(0, 0, max(1, min(_WIDEST, self.width() - 4 * _PADDING)), self.height())
        title = QFontMetricsF(large).boundingRect(room, flags, badge.text)
        detail = QFontMetricsF(self.font()).boundingRect(room, flags, badge.detail)
        gap = _PADDING / 2 if badge.detail else 0
        width = max(title.width(), detail.width()) + 2 * _PADDING
        height = title.height() + gap + (detail.height() if badge.detail else 0) + 2 * _PADDING
        box = QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)
        painter.setPen(QPen(self._theme.caution, 1))
        painter.setBrush(self._theme.raised)
        painter.drawRect(box)
        inside = box.adjusted(_PADDING, _PADDING, -_PADDING, -_PADDING)
        painter.setPen(self._theme.text)
        painter.setFont(large)
        painter.drawText(inside, flags | Qt.AlignmentFlag.AlignTop, badge.text)
        painter.setPen(self._theme.muted)
        painter.setFont(self.font())
        inside.setTop(inside.top() + title.height() + gap)
        painter.drawText(inside, flags | Qt.AlignmentFlag.AlignTop, badge.detail)

    def _show(self) -> None:
        if not self._is_needed:
            self.hide()
            return
        self.setGeometry(self._covered.geometry())
        self.raise_()
        self.show()
        self.update()
