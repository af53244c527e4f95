"""The badge of the feed's state: always visible, it tells the state by shape, word and colour."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.status import Badge, FeedState
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.theme import Theme

_LONGEST_AGE: Final = " · 88.8 s"
_GLYPH: Final = 10
# Until the first book, the stream is not reconnecting: this connection is its first.
_FIRST_CONNECTION: Final = "connecting"
_FIRST_EXPLANATION: Final = "The stream is being opened."
_EXPLANATIONS: Final = {
    FeedState.SYNCING: "The book is being fetched.",
    FeedState.SYNCED: "The book is complete and up to date.",
    FeedState.STALE: "No event has come for a while, or events come late; the book is out of date.",
    FeedState.RECONNECTING: "The stream was lost and is being opened again.",
    FeedState.DATABASE_AWAY: "The database cannot be reached; the direct source stands in.",
    FeedState.DATABASE_LATE: "The database is behind the exchange; the direct source stands in.",
    FeedState.REPLAY: "This is recorded history.",
    FeedState.NOT_TRADED: "The exchange has no book of this symbol.",
}


class StateBadge(QWidget):
    """Shows a `Badge`. Each state has a shape of its own, so that no state needs its colour."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._badge = Badge(FeedState.SYNCING, None, FeedState.SYNCING.value, "")
        self._moment = ""
        self._numbers = NumberMetrics(number_font(self.font()))
        self.setAccessibleName(self._badge.state.value)

    @property
    def text(self) -> str:
        """The words on the badge."""
        if self._badge.state is FeedState.REPLAY and self._moment:
            return f"{self._badge.text} · {self._moment}"
        return _FIRST_CONNECTION if _is_first(self._badge) else self._badge.text

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self._theme = theme
        self.update()

    def set_badge(self, badge: Badge) -> None:
        """Show `badge`."""
        words, is_first = _words(badge), _is_first(badge)
        if words != _words(self._badge) or badge.detail != self._badge.detail:
            self.setAccessibleName(f"Feed state: {words}")
            explanation = _FIRST_EXPLANATION if is_first else _EXPLANATIONS[badge.state]
            self.setToolTip(badge.detail or explanation)
        before, self._badge = self.sizeHint(), badge
        if self.sizeHint() != before:
            self.updateGeometry()
        self.update()

    def set_moment(self, moment: str) -> None:
        """Show the time of a replay; empty: there is none."""
        if moment != self._moment:
            before, self._moment = self.sizeHint(), moment
            if self.sizeHint() != before:
                self.updateGeometry()
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return room for the state with any usual age: a longer age must not move the badge."""
        widest = max(
            self._numbers.width(_words(self._badge) + _LONGEST_AGE),
            self._numbers.width(self.text),
        )
        return QSize(round(widest) + _GLYPH + 28, round(self._numbers.height) + 10)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the size hint: the badge is never squeezed."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw pill, shape and text."""
        colour = self._colour()
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(colour, 1))
            painter.setBrush(self._theme.tint(colour, 0.14))
            pill = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
            painter.drawRoundedRect(pill, pill.height() / 2, pill.height() / 2)
            glyph = QRectF(11, (self.height() - _GLYPH) / 2, _GLYPH, _GLYPH)
            _draw_glyph(painter, self._badge.state, glyph, colour)
            painter.setFont(self._numbers.font)
            painter.setPen(self._theme.text)
            baseline = self._numbers.baseline(0, self.height())
            painter.drawText(QPointF(glyph.right() + 7, baseline), self.text)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._numbers = NumberMetrics(number_font(self.font()))
            self.updateGeometry()
            self.update()

    def _colour(self) -> QColor:
        theme = self._theme
        return {
            FeedState.SYNCED: theme.good,
            FeedState.SYNCING: theme.focus,
            FeedState.REPLAY: theme.replay,
            FeedState.STALE: theme.caution,
            FeedState.RECONNECTING: theme.trouble,
            FeedState.DATABASE_AWAY: theme.trouble,
            FeedState.DATABASE_LATE: theme.caution,
            FeedState.NOT_TRADED: theme.trouble,
        }[self._badge.state]


def _is_first(badge: Badge) -> bool:
    """Whether the stream is being opened for the first time: no event and no book came yet."""
    return badge.state is FeedState.RECONNECTING and badge.age_ms is None


def _words(badge: Badge) -> str:
    """Return the state in the badge's words."""
    if badge.state is FeedState.REPLAY:
        return badge.text
    return _FIRST_CONNECTION if _is_first(badge) else badge.state.value


def _draw_glyph(painter: QPainter, state: FeedState, box: QRectF, colour: QColor) -> None:
    """Draw the shape of `state`; without a font, it looks the same on every system."""
    painter.setPen(QPen(colour, 1.8))
    painter.setBrush(colour)
    inner = box.adjusted(1, 1, -1, -1)
    match state:
        case FeedState.SYNCED:
            painter.drawEllipse(inner)
        case FeedState.SYNCING:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawArc(inner, 90 * 16, 270 * 16)
        case FeedState.STALE:
            painter.drawPie(inner, 90 * 16, 180 * 16)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(inner)
        case FeedState.RECONNECTING:
            painter.drawPolygon(QPolygonF([box.bottomLeft(), box.bottomRight(), _top(box)]))
        case FeedState.DATABASE_AWAY:
            painter.drawRect(inner)
        case FeedState.DATABASE_LATE:
            left = QRectF(inner.left(), inner.top(), inner.width() / 2, inner.height())
            painter.fillRect(left, colour)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(inner)
        case FeedState.REPLAY:
            right = QPointF(box.right(), box.center().y())
            painter.drawPolygon(QPolygonF([box.topLeft(), right, box.bottomLeft()]))
        case FeedState.NOT_TRADED:
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.bottomLeft(), inner.topRight())


def _top(box: QRectF) -> QPointF:
    return QPointF(box.center().x(), box.top())
