"""All colours of the window, in a dark and a light theme, the choice between the two, text size.

Bids are blue-green and asks orange: people with the common kinds of colour blindness can tell
these two apart. Only what belongs to a replay has the colour `replay`, so that no replay is taken
for the present. No meaning depends on a colour alone: position, a sign or a word carries it, too.
Text colours have a contrast of at least 4.5 to 1 against every background they are used on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from string import Template
from typing import Final

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFontDatabase, QFontMetrics, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from orderbook_desktop.system.bundle import resource_path

# The sizes of text on offer, in percent of the system's. WCAG 2.2, "Resize Text": up to 200 %.
TEXT_PERCENTS: Final = (85, 100, 115, 130, 150, 175, 200)
USUAL_TEXT_PERCENT: Final = 100


class Appearance(Enum):
    """The theme that the person wants; the preferences store the values."""

    SYSTEM = "system"
    DARK = "dark"
    LIGHT = "light"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one theme, as opaque `QColor`s."""

    window: QColor
    panel: QColor
    raised: QColor
    line: QColor
    text: QColor
    muted: QColor
    focus: QColor
    bid: QColor
    ask: QColor
    good: QColor
    caution: QColor
    trouble: QColor
    notice: QColor
    replay: QColor
    on_accent: QColor

    def tint(self, colour: QColor, share: float) -> QColor:
        """Return `colour` laid over `panel`, `share` (0 to 1) opaque, as an opaque colour."""
        return blend(colour, self.panel, share)

    @property
    def is_dark(self) -> bool:
        """Whether text is light on a dark background."""
        return self.text.lightness() > self.window.lightness()


def blend(over: QColor, under: QColor, share: float) -> QColor:
    """Return the opaque colour of `over`, `share` (0 to 1) opaque, on top of `under`."""
    return QColor(
        round(over.red() * share + under.red() * (1 - share)),
        round(over.green() * share + under.green() * (1 - share)),
        round(over.blue() * share + under.blue() * (1 - share)),
    )


def contrast(first: QColor, second: QColor) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: QColor) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(part) for part in (colour.redF(), colour.greenF(), colour.blueF()))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


DARK: Final = Theme(
    window=QColor("#0d1117"),
    panel=QColor("#11161d"),
    raised=QColor("#1a212b"),
    line=QColor("#2b3441"),
    text=QColor("#e3e8ef"),
    muted=QColor("#94a0b1"),
    focus=QColor("#5aa9ff"),
    bid=QColor("#34c6b4"),
    ask=QColor("#ff8f5e"),
    good=QColor("#34c6b4"),
    caution=QColor("#f2b84b"),
    trouble=QColor("#ff8f5e"),
    notice=QColor("#1c2633"),
    replay=QColor("#e58cff"),
    on_accent=QColor("#0d1117"),
)
LIGHT: Final = Theme(
    window=QColor("#eef1f5"),
    panel=QColor("#ffffff"),
    raised=QColor("#f7f9fb"),
    line=QColor("#d5dbe3"),
    text=QColor("#17202b"),
    muted=QColor("#536072"),
    focus=QColor("#0b63c5"),
    bid=QColor("#00695f"),
    ask=QColor("#a83c05"),
    good=QColor("#00695f"),
    caution=QColor("#7a5200"),
    trouble=QColor("#a83c05"),
    notice=QColor("#e3ecf7"),
    replay=QColor("#8a1bb0"),
    on_accent=QColor("#ffffff"),
)


def theme_for(appearance: Appearance, system: Qt.ColorScheme) -> Theme:
    """Return the theme for `appearance`; `system` decides if that leaves it open, else dark."""
    if appearance is Appearance.SYSTEM:
        return LIGHT if system is Qt.ColorScheme.Light else DARK
    return LIGHT if appearance is Appearance.LIGHT else DARK


class ThemeKeeper(QObject):
    """Sets the application's palette, style sheet and font size as wanted, and follows changes.

    Signals:
        changed(Theme): another theme is in use.
    """

    changed = Signal(Theme)

    def __init__(
        self,
        application: QApplication,
        appearance: Appearance,
        parent: QObject | None = None,
        text_percent: int = USUAL_TEXT_PERCENT,
    ) -> None:
        super().__init__(parent)
        self._application = application
        self._appearance = appearance
        self._text_percent = text_percent
        self._sheet = Template(resource_path("styles/window.qss").read_text(encoding="utf-8"))
        application.setStyle("Fusion")
        hints = QGuiApplication.styleHints()
        self.theme = theme_for(appearance, hints.colorScheme())
        self._apply()
        hints.colorSchemeChanged.connect(self._choose)

    @property
    def appearance(self) -> Appearance:
        """The appearance that the person wants."""
        return self._appearance

    def set_appearance(self, appearance: Appearance) -> None:
        """Use `appearance` from now on."""
        self._appearance = appearance
        self._choose()

    def set_text_percent(self, percent: int) -> None:
        """Use text of `percent` of the system's size from now on."""
        self._text_percent = percent
        self._apply()

    def _choose(self) -> None:
        theme = theme_for(self._appearance, QGuiApplication.styleHints().colorScheme())
        if theme is not self.theme:
            self.theme = theme
            self._apply()
            self.changed.emit(theme)

    def _apply(self) -> None:
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
        font.setPointSizeF(font.pointSizeF() * self._text_percent / USUAL_TEXT_PERCENT)
        if font != self._application.font():
            self._application.setFont(font)
        self._application.setPalette(palette_of(self.theme))
        colours = {
            field.name: getattr(self.theme, field.name).name() for field in fields(self.theme)
        }
        kind = "dark" if self.theme.is_dark else "light"
        images = {
            name: resource_path(f"styles/{name}-{kind}.svg").as_posix()
            for name in ("tick", "arrow")
        }
        self._application.setStyleSheet(self._sheet.substitute(colours, **images))


def text_scale(widget: QWidget) -> float:
    """Return how many times larger the text of `widget` is than the system's."""
    usual = QFontMetrics(QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont))
    return widget.fontMetrics().height() / usual.height()


def palette_of(theme: Theme) -> QPalette:
    """Return the palette with which the style draws ordinary widgets in `theme`."""
    role = QPalette.ColorRole
    palette = QPalette(theme.raised, theme.window)
    for part, colour in (
        (role.Window, theme.window),
        (role.WindowText, theme.text),
        (role.Base, theme.panel),
        (role.AlternateBase, theme.raised),
        (role.Text, theme.text),
        (role.Button, theme.raised),
        (role.ButtonText, theme.text),
        (role.ToolTipBase, theme.raised),
        (role.ToolTipText, theme.text),
        (role.PlaceholderText, theme.muted),
        (role.Highlight, theme.focus),
        (role.HighlightedText, theme.on_accent),
        (role.Link, theme.focus),
    ):
        palette.setColor(part, colour)
    disabled = QPalette.ColorGroup.Disabled
    for part in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(disabled, part, theme.muted)
    return palette
