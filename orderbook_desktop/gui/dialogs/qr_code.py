"""A text as a QR code, for the camera of a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

# ISO/IEC 18004, "Quiet zone": four modules on every side.
_QUIET: Final = 4
_MODULE: Final = 5


class QrCode(QWidget):
    """Shows a text, such as a link, in whole pixels per module.

    Dark on light in every theme: many cameras read it no other way.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._rows: Sequence[Sequence[int]] = ()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("QR code")

    def set_text(self, text: str) -> None:
        """Show `text`, at most some 2,300 characters; an empty one shows nothing."""
        if text == self._text:
            return
        self._text = text
        self._rows = _modules(text) if text else ()
        self.setAccessibleDescription(f"Opens {text}" if text else "")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the room that the code takes with its quiet zone."""
        side = (len(self._rows) + 2 * _QUIET) * _MODULE if self._rows else 0
        return QSize(side, side)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw the modules, and the quiet zone around them."""
        if not self._rows:
            return
        with QPainter(self) as painter:  # Ended also where something here raises.
            painter.fillRect(self.rect(), Qt.GlobalColor.white)
            for y, row in enumerate(self._rows, _QUIET):
                for x, dark in enumerate(row, _QUIET):
                    if dark:
                        module = QRect(x * _MODULE, y * _MODULE, _MODULE, _MODULE)
                        painter.fillRect(module, Qt.GlobalColor.black)


def _modules(text: str) -> Sequence[Sequence[int]]:
    """Return the rows of modules, 1 where dark."""
    # Imported here because nobody needs it for the first picture.
    import segno  # noqa: PLC0415

    return segno.make_qr(text, error="m").matrix
