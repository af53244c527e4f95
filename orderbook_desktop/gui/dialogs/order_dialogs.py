"""The dialogs in which a person says what is to be exported, packed or removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QStandardPaths, Qt, QTimer
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.library_jobs import RecordingLibrary, RemovalPreview, Span
from orderbook_desktop.core.replay_times import UpdateId, parse_moment
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.gui.dialogs.question import Answer, Question
from orderbook_desktop.gui.parts import Dialog, push_button, text_label
from orderbook_desktop.gui.theme import text_scale

PACKED_SUFFIX: Final = ".obd"
# Time enough to type the next character.
_LOOK_AFTER_MS: Final = 250
_WIDTH: Final = 420


class _Format(Struct, frozen=True):
    """A format on offer: its name for a person, and the usual ending of its files."""

    form: ExportFormat
    name: str
    suffix: str


_FORMATS: Final = (
    _Format(ExportFormat.TARDIS, "Book as Tardis CSV (incremental_book_L2)", ".csv.gz"),
    _Format(ExportFormat.TARDIS_TRADES, "Trades as Tardis CSV (trades)", ".csv.gz"),
    _Format(ExportFormat.PARQUET, "Book as Parquet", ".parquet"),
    _Format(ExportFormat.PARQUET_TRADES, "Trades as Parquet", ".parquet"),
    _Format(ExportFormat.HFTBACKTEST, "Book and trades for hftbacktest (.npz)", ".npz"),
)


class BadSpan(KnownError):
    """What was typed as a stretch of time is none; `reason` is the sentence."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class SpanFields(QWidget):
    """Two fields for a stretch of time within `span_ms`; an empty one has no limit.

    Times are written and read in `zone` (None: local).
    """

    def __init__(
        self,
        span_ms: tuple[int, int] | None,
        parent: QWidget,
        zone: tzinfo | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(parent)
        self._now_ns, self._zone = now_ns, zone
        self._near_ms = None if span_ms is None else span_ms[1]
        self.begin, self.end = QLineEdit(self), QLineEdit(self)
        ends = ("", "") if span_ms is None else tuple(time_text(ms, zone) for ms in span_ms)
        for field, name, end in zip(
            (self.begin, self.end), ("From", "To, not included"), ends, strict=True
        ):
            field.setAccessibleName(name)
            field.setPlaceholderText(end)
            field.setMinimumWidth(round(_WIDTH * text_scale(self)))
            field.setToolTip(
                "A time such as 14:05:30.250, yesterday 9:00 or 2026-11-29 09:00; empty: no limit"
            )

    def span(self) -> Span:
        """Return what was typed. Raises `KnownError` with what is wrong with it."""
        span = Span(self._moment(self.begin), self._moment(self.end))
        if span.from_ms is not None and span.to_ms is not None and span.to_ms <= span.from_ms:
            raise BadSpan("The end has to come after the beginning.")
        return span

    def _moment(self, field: QLineEdit) -> int | None:
        typed = field.text().strip()
        if not typed:
            return None
        now_ms = self._now_ns() // NS_A_MS
        moment = parse_moment(typed, now_ms=now_ms, zone=self._zone, near_ms=self._near_ms)
        if isinstance(moment, UpdateId):
            raise BadSpan("An update id is no time; type a time such as 14:05:30.")
        return moment // NS_A_MS


# Called with the format, the file, the stretch of time, and whether a file is replaced.
Export = Callable[[ExportFormat, Path, Span, bool], None]


class TargetDialog(Dialog):
    """Asks for a file to write, its format and a stretch of time; `open()` it.

    Without `formats` a packed file is written. `chosen` is called once with what was chosen. A file
    that is there already is replaced only after a question. `folder` is where files go at first.
    """

    def __init__(
        self,
        title: str,
        name: str,
        span_ms: tuple[int, int] | None,
        chosen: Export,
        folder: Path | None,
        parent: QWidget,
        *,
        formats: bool,
        zone: tzinfo | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("orderDialog")
        self.setWindowTitle(title)
        self._chosen = chosen
        self._name = name
        self._folder = folder or _usual_folder()
        self.formats = QComboBox(self)
        self.formats.setAccessibleName("Format")
        for one in _FORMATS:
            self.formats.addItem(one.name, one.form)
        self.formats.setVisible(formats)
        self.formats.currentIndexChanged.connect(self._suggest)
        self.span = SpanFields(span_ms, self, zone)
        self.target = QLineEdit(self)
        self.target.setAccessibleName("File")
        self._suggested = ""
        self.problem = text_label(self, "orderProblem")
        self.browse_button = push_button(self, "&Browse…", self._browse)
        self.write_button = push_button(self, title, self._take)
        self.write_button.setDefault(True)
        self.cancel_button = push_button(self, "Cancel", self.reject)
        self._has_formats = formats
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._lay_out()
        self._suggest()

    @property
    def _suffix(self) -> str:
        place = self.formats.currentIndex()
        return _FORMATS[place].suffix if self._has_formats else PACKED_SUFFIX

    def _suggest(self) -> None:
        """Suggest a file, unless the person has chosen one."""
        if self.target.text() == self._suggested:
            kind = ""
            if self._has_formats and not self.formats.currentData().has_levels:
                kind = "-trades"
            self._suggested = str(self._folder / f"{self._name}{kind}{self._suffix}")
            self.target.setText(self._suggested)

    def _browse(self) -> None:
        dialog = QFileDialog(self, self.windowTitle(), self.target.text())
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # This dialog asks itself, so that a typed name is asked for, too.
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.fileSelected.connect(self.target.setText)
        dialog.open()

    def _take(self) -> None:
        try:
            span = self.span.span()
        except KnownError as error:
            self._tell(str(error))
            return
        if not self.target.text().strip():
            self._tell("Name a file.")
            return
        path = Path(self.target.text().strip()).expanduser()
        if not path.is_absolute():
            path = self._folder / path
        if path.is_dir():
            self._tell(f"{path} is a folder; name a file in it.")
        elif path.exists():
            text = f"{path} is there already. Replace it?"
            answer = Answer("Replace", lambda: self._choose(path, span, replace=True))
            Question("Replace the file", text, [answer], self).open()
        else:
            self._choose(path, span, replace=False)

    def _tell(self, problem: str) -> None:
        self.problem.setText(problem)
        self.problem.setAccessibleName(problem)
        _fit(self)

    def _choose(self, path: Path, span: Span, *, replace: bool) -> None:
        self.accept()
        self._chosen(self.formats.currentData(), path, span, replace)

    def _lay_out(self) -> None:
        form = QFormLayout()
        if self._has_formats:
            form.addRow("F&ormat", self.formats)
        form.addRow("F&rom", self.span.begin)
        form.addRow("&To", self.span.end)
        file = QHBoxLayout()
        file.addWidget(self.target, 1)
        file.addWidget(self.browse_button)
        label = QLabel("F&ile", self)
        label.setBuddy(self.target)
        form.addRow(label, file)
        _lay_out(self, form, [self.problem], [self.write_button, self.cancel_button])


class RemovalDialog(Dialog):
    """Asks what is to be removed of the recording of `market`, and says what that is; `open()` it.

    `chosen` is called once with the stretch of time. Nothing can be removed before the dialog has
    said how much goes. Return and Escape remove nothing.
    """

    def __init__(
        self,
        library: RecordingLibrary,
        market: str,
        symbol: str,
        span_ms: tuple[int, int] | None,
        chosen: Callable[[Span], None],
        parent: QWidget,
        zone: tzinfo | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("orderDialog")
        self.setWindowTitle(f"Remove what was recorded of {symbol}")
        self._library = library
        self._market = market
        self._chosen = chosen
        self._asked = 0
        self._span: Span | None = None
        self.note = text_label(self)
        self.note.setText(
            f"Without times all that was recorded of {symbol} is removed; with times, the whole "
            "archived minutes between them."
        )
        self.span = SpanFields(span_ms, self, zone)
        self.preview = text_label(self, "orderPreview")
        self.remove_button = push_button(self, "Remove for &ever", self._take)
        self.remove_button.setAutoDefault(False)
        self.cancel_button = push_button(self, "Cancel", self.reject)
        self.cancel_button.setDefault(True)
        self._timer = QTimer(self, interval=_LOOK_AFTER_MS, singleShot=True)
        self._timer.timeout.connect(self._ask)
        for field in (self.span.begin, self.span.end):
            field.textChanged.connect(self._edited)
        form = QFormLayout()
        form.addRow("F&rom", self.span.begin)
        form.addRow("&To", self.span.end)
        _lay_out(self, form, [self.note, self.preview], [self.remove_button, self.cancel_button])
        self._edited()
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask at once what would be removed."""
        super().showEvent(event)
        _fit(self)
        self._ask()

    def done(self, result: int) -> None:
        """Close; an answer that comes later is of no use."""
        self._asked += 1
        super().done(result)

    def _edited(self) -> None:
        self._span = None
        self._asked += 1
        self._tell("Looking what that is…")
        self._timer.start()

    def _ask(self) -> None:
        self._timer.stop()
        try:
            span = self.span.span()
        except KnownError as error:
            self._tell(str(error))
            return
        asked = self._asked

        def answered(preview: RemovalPreview) -> None:
            # The answer to what was typed before is of no use.
            if asked == self._asked:
                self._answered(span, preview)

        self._library.preview_removal(self._market, span, answered)

    def _answered(self, span: Span, preview: RemovalPreview) -> None:
        if preview.problem:
            self._tell(preview.problem)
            return
        self._span = span
        self._tell(f"This removes {preview.what}. It can't be undone.")

    def _tell(self, text: str) -> None:
        self.preview.setText(text)
        self.preview.setAccessibleName(text)
        _fit(self)
        self.remove_button.setEnabled(self._span is not None)

    def _take(self) -> None:
        span = self._span
        if span is not None:
            self.accept()
            self._chosen(span)


def _lay_out(
    dialog: Dialog, form: QFormLayout, texts: Sequence[QLabel], run_and_cancel: Sequence[QWidget]
) -> None:
    """Put a form above texts and two buttons."""
    buttons = QHBoxLayout()
    buttons.addStretch(1)
    for button in run_and_cancel:
        buttons.addWidget(button)
    column = QVBoxLayout(dialog)
    column.setContentsMargins(18, 16, 18, 14)
    column.setSpacing(12)
    column.addLayout(form)
    for text in texts:
        column.addWidget(text)
    column.addStretch(1)
    column.addLayout(buttons)


def _fit(dialog: Dialog) -> None:
    """Make a dialog as high as its texts need at its width."""
    layout = dialog.layout()
    needed = 0 if layout is None else layout.heightForWidth(dialog.width())
    if needed > dialog.height():
        dialog.resize(dialog.width(), needed)


def _usual_folder() -> Path:
    found = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    return Path(found) if found and Path(found).is_dir() else Path.home()
