"""Saves what the heatmap shows: as a picture, or its exact cells; and copies the picture."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from msgspec import Struct
from PySide6.QtCore import QObject, QSize, QTimer
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QGuiApplication,
    QImage,
)
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.core.units import format_units
from orderbook_desktop.core.version import __version__
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.system.atomic_file import atomic_file

if TYPE_CHECKING:
    from orderbook_desktop.gui.panes.heatmap.image import Labels, Overlay, Shown

SAVE: Final = Action(
    "&Save the heatmap…",
    "save the heatmap in sight: a picture, or its exact cells",
    ("Ctrl+S",),
)
COPY: Final = Action(
    "&Copy the heatmap", "copy the heatmap in sight as a picture", ("Ctrl+Shift+C",)
)
_KINDS: Final = {
    ".png": "Picture (*.png)",
    ".csv": "Exact cells (*.csv)",
    ".npz": "Exact cells for Python (*.npz)",
}
_NOTHING: Final = "Nothing was saved, as the heatmap shows nothing yet."
_PENDING: Final = (
    "The cells were not saved, as some in sight have not been read yet. Save them again when the "
    "heatmap is complete."
)
_LEAST: Final = QSize(640, 320)
_POLL_MS: Final = 30
_MARGIN: Final = 8
_ABOVE_AXIS: Final = 72
_BUFFER: Final = 1 << 20


class Snapshot(Struct, frozen=True, eq=False):
    """What the pane shows at a moment: `shown` of `symbol`, on a plot of `size`.

    `overlay` draws what lies over the cells. Times are in `zone`; None: local.
    """

    shown: Shown
    symbol: SymbolInfo
    size: QSize
    zone: tzinfo | None
    overlay: Overlay

    def image(self) -> QImage:
        """Return it as a picture with axes, legend and source."""
        from orderbook_desktop.gui.panes.heatmap.image import HeatmapImage, image_size  # noqa: PLC0415

        plot = self.size.expandedTo(_LEAST)
        size = image_size(plot.width(), plot.height())
        return HeatmapImage(self.shown, size, self.overlay).draw(self._labels)

    @property
    def is_pending(self) -> bool:
        """Whether cells in sight have not been read yet, of those that can be saved together."""
        from orderbook_desktop.core.heatmap.in_sight import alike_sources  # noqa: PLC0415
        from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid  # noqa: PLC0415
        from orderbook_desktop.core.heatmap.plot import Kind, Plot  # noqa: PLC0415

        shown, width = self.shown, max(1, self.size.width())
        grid = PixelGrid.of(shown.view, width, 1)
        left = grid.column(shown.view.from_ms)
        plot = Plot(alike_sources(shown.sources), shown.known, shown.quantiser)
        kinds, _ = plot.kinds(grid, left, left + width)
        return bool((kinds == Kind.PENDING).any())

    @property
    def name(self) -> str:
        """A name for its file, without what it ends in."""
        begin = moment_text(self.shown.view.from_ms, self.zone)
        plain = "".join(one if one.isalnum() else "-" for one in begin.split(".")[0])
        return f"{self.symbol.symbol.replace('/', '')}-heatmap-{plain}"

    @property
    def _labels(self) -> Labels:
        from orderbook_desktop.gui.panes.heatmap.image import Labels  # noqa: PLC0415

        view, symbol, heatmap = self.shown.view, self.symbol, self.shown.sources[-1].heatmap
        begin, end = (moment_text(ms, self.zone) for ms in (view.from_ms, view.to_ms))
        step = format_units(heatmap.step, heatmap.scale.price, 0)
        return Labels(
            f"{symbol.symbol}, {begin} to {end}",
            f"Orderbook Desktop {__version__}. {symbol.symbol} as received here; cells of "
            f"{heatmap.bin_ms:,} ms by {step} {symbol.quote}. Hatched: not recorded.",
            symbol.base,
            symbol.quote,
            self.zone,
        )


class HeatmapSaver(QObject):
    """Saves and copies what `snapshot` returns; None: there is nothing to see. `parent` asks."""

    def __init__(self, parent: QWidget, snapshot: Callable[[], Snapshot | None]) -> None:
        super().__init__(parent)
        self._window = parent
        self._snapshot = snapshot
        self._poll = QTimer(self, interval=_POLL_MS)
        self._poll.timeout.connect(self._look)
        self._job: Future[None] | None = None
        self._stop = threading.Event()
        self.strip = _Strip(parent, self.cancel)
        self._path = Path()

    def copy(self) -> None:
        """Copy the picture."""
        snapshot = self._snapshot()
        if snapshot is not None:
            QGuiApplication.clipboard().setImage(snapshot.image())

    def ask(self) -> None:
        """Ask for a file, and save what was in sight when the person wanted to save it."""
        snapshot = self._snapshot()
        if snapshot is None:
            self._say(_NOTHING)
            return
        dialog = QFileDialog(self._window, SAVE.title, f"{snapshot.name}.png")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters(list(_KINDS.values()))
        suffixes = {kind: suffix for suffix, kind in _KINDS.items()}
        dialog.setDefaultSuffix("png")
        dialog.filterSelected.connect(lambda kind: dialog.setDefaultSuffix(suffixes[kind][1:]))
        dialog.fileSelected.connect(lambda name: self.save(snapshot, Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def save(self, snapshot: Snapshot, path: Path) -> None:
        """Save `snapshot` in the background; the end of the name of `path` says as what."""
        suffix = path.suffix.lower()
        if suffix not in _KINDS:
            *most, last = _KINDS
            self._say(
                f"{path.name} was not saved: its name must end in {', '.join(most)} or {last}."
            )
        elif self._job is not None:
            self._say(f"{path.name} was not saved, as {self._path.name} is still being written.")
        elif suffix != ".png" and snapshot.is_pending:
            self._say(_PENDING)
        else:
            self._begin(path, _writer(snapshot, suffix))

    def cancel(self) -> None:
        """Stop writing; the file stays as it was."""
        self._stop.set()

    @property
    def is_busy(self) -> bool:
        """Whether a file is being written."""
        return self._job is not None

    def _begin(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        self._path, self._stop = path, threading.Event()
        threads = ThreadPoolExecutor(1, "heatmap-file")
        self._job = threads.submit(_write, path, write, self._stop)
        # The thread ends with its job.
        threads.shutdown(wait=False)
        self.strip.show_text(f"Writing {path.name} …", "Cancel")
        application = QGuiApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.cancel)
        self._poll.start()

    def _look(self) -> None:
        """Tell how the job has ended, if it has."""
        job = self._job
        if job is None or not job.done():
            return
        self._poll.stop()
        self._job = None
        name, error = self._path.name, job.exception()
        if error is None:
            self._say(f"{name} was saved in {self._path.parent}.")
        elif isinstance(error, _Stopped):
            self._say(f"{name} was not saved, as you cancelled it.")
        elif isinstance(error, _NoCells):
            self._say(f"{name} was not saved: there are no cells in sight.")
        elif isinstance(error, OSError):
            self._say(f"{self._path} was not saved: {error.strerror or error}.")
        else:
            raise error

    def _say(self, text: str) -> None:
        self.strip.show_text(text, "Close")


class _Strip(QFrame):
    """A sentence over the pane with a button, which closes it; `cancel` is called then."""

    def __init__(self, parent: QWidget, cancel: Callable[[], None]) -> None:
        super().__init__(parent)
        self._pane = parent
        self.setObjectName("heatmapSaving")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.label = QLabel(self)
        self.button = QPushButton(self)
        row = QHBoxLayout(self)
        row.addWidget(self.label)
        row.addWidget(self.button)
        self.button.clicked.connect(cancel)
        self.button.clicked.connect(self.hide)
        self.hide()

    def show_text(self, text: str, button: str) -> None:
        """Show a sentence, and read it out."""
        self.label.setText(text)
        self.button.setText(button)
        self.adjustSize()
        self.move(_MARGIN, max(0, self._pane.height() - self.height() - _ABOVE_AXIS))
        self.show()
        self.raise_()
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, text))


class _Stopped(Exception):
    """The person has stopped the writing."""


class _NoCells(Exception):
    """There are no cells in sight."""


class _Stoppable(io.RawIOBase):
    """Writes to `file` until `stop` is set; then raises `_Stopped`, once."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        super().__init__()
        self._file, self._stop = file, stop
        self._has_told = False

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: object) -> int:
        """Write `data`, bytes."""
        view = memoryview(data)  # type: ignore[arg-type]  # the base class names no narrower type
        if self._has_told:
            # Buffers are emptied as they are closed.
            return view.nbytes
        if self._stop.is_set():
            self._has_told = True
            raise _Stopped
        self._file.write(view)
        return view.nbytes


def _write(path: Path, write: Callable[[BinaryIO], None], stop: threading.Event) -> None:
    with atomic_file(path, replace=True) as file:
        buffer = io.BufferedWriter(_Stoppable(file, stop), _BUFFER)
        write(buffer)
        buffer.flush()


def _writer(snapshot: Snapshot, suffix: str) -> Callable[[BinaryIO], None]:
    """Return what writes `snapshot` into a file, in another thread."""
    if suffix == ".png":
        from orderbook_desktop.gui.panes.heatmap.image import png_of  # noqa: PLC0415

        # Qt draws text in the main thread only.
        image = snapshot.image()

        def write_picture(file: BinaryIO) -> None:
            file.write(png_of(image))

        return write_picture

    def write_cells(file: BinaryIO) -> None:
        from orderbook_desktop.core.heatmap.in_sight import cells_in_sight  # noqa: PLC0415
        from orderbook_desktop.formats.heatmap_files import write_csv, write_npz  # noqa: PLC0415

        shown = snapshot.shown
        over_ms = shown.known.to_ms if shown.known.is_clock else None
        cells = cells_in_sight(shown.sources, shown.view, over_ms)
        if cells is None:
            raise _NoCells
        (write_csv if suffix == ".csv" else write_npz)(cells, file)

    return write_cells
