"""The toolbar's switch of the browser view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from orderbook_desktop.core.desk import (
    BrowserState,
    BrowserStatus,
    BrowserSwitch,
    viewers_text,
)
from orderbook_desktop.gui.window.menus import SHOW_BROWSERS

if TYPE_CHECKING:
    from orderbook_desktop.gui.dialogs.browser_panel import BrowserPanel

_LOOK_MS: Final = 500
_SIGNS: Final = {
    BrowserState.OFF: "○",
    BrowserState.STARTING: "◌",
    BrowserState.ON: "●",
    BrowserState.STOPPING: "◌",
    BrowserState.FAILED: "▲",
}


class BrowserControl(QWidget):
    """Two buttons: the first starts and stops the browser view, the second shows its panel.

    Switching on shows the panel, too, since the person needs the address next.

    Signals:
        status_changed(BrowserStatus): the status of the browser view changed.
    """

    status_changed = Signal(BrowserStatus)

    def __init__(self, browsers: BrowserSwitch, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._browsers = browsers
        self._status: BrowserStatus | None = None
        self._compact = False
        self.panel: BrowserPanel | None = None
        self.button = QToolButton(self)
        self.button.setObjectName("browserSwitch")
        self.button.setCheckable(True)
        self.button.clicked.connect(self._switch)
        self.details = QToolButton(self)
        self.details.setObjectName("browserDetails")
        self.details.setText("▾")
        keys = SHOW_BROWSERS.keys_text
        self.details.setToolTip(f"Address and QR code of the browser view ({keys})")
        self.details.setAccessibleName("Browser view: address, QR code, viewers")
        self.details.clicked.connect(self.open_panel)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for button in (self.button, self.details):
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            row.addWidget(button)
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._timer.timeout.connect(self.look)
        self.look()

    def look(self) -> None:
        """Show the present status of the browser view."""
        status = self._browsers.status
        # A click toggles the button's check by itself; the check has to follow the status.
        self.button.setChecked(status.state in (BrowserState.ON, BrowserState.STARTING))
        if status != self._status:
            self._status = status
            self._show(status)
            self.status_changed.emit(status)

    def open_panel(self) -> None:
        """Show the panel of the browser view, below the button."""
        if self.panel is None:
            # Imported here because the first picture does without it.
            from orderbook_desktop.gui.dialogs.browser_panel import BrowserPanel  # noqa: PLC0415

            self.panel = BrowserPanel(self._browsers, self.window())
            self.panel.commanded.connect(self.look)
            self.status_changed.connect(self.panel.show_status)
        self.panel.show_status(self._browsers.status)
        if not self.panel.isVisible():
            self.panel.move(self._place_for(self.panel))
        self.panel.show()
        self.panel.activateWindow()

    def show_compact(self, *, compact: bool) -> None:
        """Leave out the second button and most words if `compact`, for a narrow window."""
        if compact == self._compact:
            return
        self._compact = compact
        # The menu shows the panel, too.
        self.details.setHidden(compact)
        self.button.setProperty("compact", compact)
        self.button.style().polish(self.button)
        self._show(self._browsers.status)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Look at the status at once, and twice a second from then on."""
        super().showEvent(event)
        self.look()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop looking while the buttons are hidden."""
        super().hideEvent(event)
        self._timer.stop()

    def _place_for(self, panel: QWidget) -> QPoint:
        """Return the place below the button, moved left if the panel would leave the screen."""
        below = self.mapToGlobal(QPoint(0, self.height() + 4))
        screen = self.screen().availableGeometry()
        rightmost = screen.right() - panel.width()
        return QPoint(max(screen.left(), min(below.x(), rightmost)), below.y())

    def _switch(self, wanted: bool) -> None:
        self._browsers.switch(wanted)
        self.look()
        if wanted:
            self.open_panel()

    def _show(self, status: BrowserStatus) -> None:
        words = status.state.value
        if status.state is BrowserState.ON:
            words = f"on · {viewers_text(status.viewers)}"
        shown = "Web" if self._compact else f"Browser: {words}"
        self.button.setText(f"{_SIGNS[status.state]} {shown}")
        self.button.setAccessibleName(f"Browser view {words}")
        self.button.setToolTip(status.problem or f"Browser view {words}. {_tip(status.state)}")


def _tip(state: BrowserState) -> str:
    if state in (BrowserState.ON, BrowserState.STARTING):
        return "Click to stop it"
    return "Click to show this book in browsers, too"
