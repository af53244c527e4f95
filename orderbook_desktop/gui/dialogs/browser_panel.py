"""The panel of the browser view: its switch, its link and QR code, and the number of viewers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from PySide6.QtCore import QRect, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.desk import (
    BrowserState,
    BrowserStatus,
    BrowserSwitch,
    viewers_text,
)
from orderbook_desktop.gui.parts import Dialog, push_button, text_label

# ISO/IEC 18004, "Quiet zone": four modules on every side.
_QUIET_MODULES: Final = 4
_MODULE_PX: Final = 5

_WIDTH: Final = 460
_COPIED_MS: Final = 1_500
_COPY: Final = "Copy"
_ADMIT: Final = "Let other devices watch"
_KEEP_OUT: Final = "This computer only"
_HEADLINES: Final = {
    BrowserState.OFF: "Browsers can't see this book.",
    BrowserState.STARTING: "Starting…",
    BrowserState.STOPPING: "Stopping…",
    BrowserState.FAILED: "Browsers can't be served.",
}
_LOCAL: Final = "Only this computer can open it. Other devices get an address with a token."
_SHARED: Final = "This link, with the token in it, lets other devices watch, and do nothing else."


class QrCode(QWidget):
    """Shows a text, such as a link, in whole pixels per module.

    The code is dark on light in every theme: many cameras can't read it otherwise.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._rows: Sequence[Sequence[int]] = ()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("QR code")

    def set_text(self, text: str) -> None:
        """Show `text`, at most about 2,300 characters; an empty `text` shows no code."""
        if text == self._text:
            return
        self._text = text
        self._rows = _modules(text) if text else ()
        self.setAccessibleDescription(f"Opens {text}" if text else "")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the size of the code with its quiet zone."""
        side = (len(self._rows) + 2 * _QUIET_MODULES) * _MODULE_PX if self._rows else 0
        return QSize(side, side)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw the modules, and the quiet zone around them."""
        if not self._rows:
            return
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), Qt.GlobalColor.white)
            for y, row in enumerate(self._rows, _QUIET_MODULES):
                for x, dark in enumerate(row, _QUIET_MODULES):
                    if dark:
                        module = QRect(x * _MODULE_PX, y * _MODULE_PX, _MODULE_PX, _MODULE_PX)
                        painter.fillRect(module, Qt.GlobalColor.black)


def _modules(text: str) -> Sequence[Sequence[int]]:
    """Return the rows of modules, 1 where dark."""
    # Imported here because the first picture does without it.
    import segno  # noqa: PLC0415

    return segno.make_qr(text, error="m").matrix


def open_in_browser(link: str) -> bool:
    """Open `link` in the system's browser; return whether that worked."""
    return QDesktopServices.openUrl(QUrl(link))


class BrowserPanel(Dialog):
    """Shows a `BrowserStatus`, and passes the person's commands to the switch.

    The window stays usable while the panel is open. Call `show_status` with every new status.
    Escape hides the panel.

    Signals:
        commanded(): the switch was given a command; look at its status at once.
    """

    commanded = Signal()

    def __init__(
        self,
        browsers: BrowserSwitch,
        parent: QWidget,
        open_link: Callable[[str], bool] = open_in_browser,
    ) -> None:
        super().__init__(parent)
        self._browsers = browsers
        self._open_link = open_link
        self.setObjectName("browserPanel")
        self.setWindowTitle("Browser view")
        self.headline = QLabel(self)
        self.headline.setObjectName("browserHeadline")
        self.switch_button = push_button(self, "Switch on", self._switch)
        self.problem = text_label(self, "browserProblem")
        self.other_port_button = push_button(self, "Use another port", self._use_other_port)
        self.link = QLineEdit(self)
        self.link.setReadOnly(True)
        self.link.setAccessibleName("Link of the browser view")
        self.copy_button = push_button(self, _COPY, self._copy)
        self.copy_button.setAccessibleName("Copy the link")
        # Enter in the link's field copies the link.
        self.copy_button.setDefault(True)
        self.open_button = push_button(self, "Open in browser", self._open)
        self.code = QrCode(self)
        self.others_button = push_button(self, _ADMIT, self._admit_others)
        self.reach = text_label(self, "browserReach")
        self.close_button = push_button(self, "Close", self.reject)
        self._wanted = True
        self._local_only = True
        self._lay_out()
        self.show_status(browsers.status)
        self.switch_button.setFocus()

    def show_status(self, status: BrowserStatus) -> None:
        """Show `status` of the browser view."""
        served = status.state is BrowserState.ON
        watching = f"Browsers can see this book · {viewers_text(status.viewers)}"
        self.headline.setText(watching if served else _HEADLINES[status.state])
        self._wanted = status.state not in (BrowserState.ON, BrowserState.STARTING)
        self.switch_button.setText("Switch on" if self._wanted else "Switch off")
        self._show_problem(status.problem)
        self.other_port_button.setVisible(status.other_port is not None)
        self.other_port_button.setText(
            f"Use port {status.other_port}" if status.other_port else "Use another port"
        )
        if status.link != self.link.text():
            self.link.setText(status.link)
            self.link.setCursorPosition(0)
            self.copy_button.setText(_COPY)
        # The device with the camera could not open a link that works on this computer only.
        self.code.set_text("" if status.local_only else status.link)
        self.reach.setText(_LOCAL if status.local_only else _SHARED)
        self._local_only = status.local_only
        self.others_button.setText(_ADMIT if status.local_only else _KEEP_OUT)
        for part in (self.link, self.copy_button, self.open_button, self.reach):
            part.setVisible(served)
        # It stays, and keeps the focus, while the browser view starts anew by its command.
        self.others_button.setVisible(served or status.state is BrowserState.STARTING)
        self.code.setVisible(served and not status.local_only)
        self._fit()

    def _switch(self) -> None:
        self._browsers.switch(self._wanted)
        self.commanded.emit()

    def _admit_others(self) -> None:
        self._browsers.admit_others(self._local_only)
        self.commanded.emit()

    def _use_other_port(self) -> None:
        # The button is about to be hidden. The next button would switch off what this one starts.
        self.close_button.setFocus()
        self._browsers.use_other_port()
        self.commanded.emit()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.link.text())
        self.copy_button.setText("Copied")
        QTimer.singleShot(_COPIED_MS, self, lambda: self.copy_button.setText(_COPY))

    def _open(self) -> None:
        opened = self._open_link(self.link.text())
        self._show_problem("" if opened else "No browser could be opened; copy the link instead.")
        self._fit()

    def _show_problem(self, sentence: str) -> None:
        self.problem.setText(sentence)
        self.problem.setVisible(bool(sentence))

    def _fit(self) -> None:
        """Resize the panel to the widgets that are shown."""
        # Layouts within layouts remember the size of the widgets that were shown before.
        self._column.activate()
        # Not adjustSize(), which limits the panel to two thirds of a small screen.
        size = self._column.totalSizeHint()
        if self._column.hasHeightForWidth():
            size.setHeight(self._column.totalHeightForWidth(size.width()))
        self.resize(size)

    def _lay_out(self) -> None:
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(10)
        # _fit() fits the height to the widgets that are shown; the width never changes.
        column.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        column.addStrut(_WIDTH)
        self.reach.setFixedWidth(_WIDTH)
        self.problem.setFixedWidth(_WIDTH)
        top, row, bottom = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.headline, 1)
        top.addWidget(self.switch_button)
        row.addWidget(self.copy_button)
        row.addWidget(self.open_button)
        row.addStretch(1)
        bottom.addWidget(self.other_port_button)
        bottom.addWidget(self.others_button)
        bottom.addStretch(1)
        bottom.addWidget(self.close_button)
        column.addLayout(top)
        column.addWidget(self.problem)
        column.addWidget(self.link)
        column.addLayout(row)
        column.addWidget(self.code, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.reach)
        column.addLayout(bottom)
