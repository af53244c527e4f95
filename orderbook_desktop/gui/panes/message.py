"""Paints a title and a sentence in a pane that has no book to draw."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QFont, QPainter

from orderbook_desktop.gui.panes.book_frame import Message
from orderbook_desktop.gui.theme import Theme


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
