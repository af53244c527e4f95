from __future__ import annotations

from dataclasses import fields

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from orderbook_desktop.gui.theme import (
    DARK,
    LIGHT,
    Appearance,
    Theme,
    ThemeKeeper,
    contrast,
    theme_for,
)

THEMES = pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])


def test_contrast_of_black_and_white() -> None:
    assert contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert contrast(QColor("white"), QColor("white")) == 1


@THEMES
def test_text_is_readable_on_every_ground(theme: Theme) -> None:
    # A selected row of the recordings has the background `line`.
    grounds = (theme.window, theme.panel, theme.raised, theme.notice, theme.line)
    states = (theme.good, theme.caution, theme.trouble, theme.replay)
    for text in (theme.text, theme.muted, theme.bid, theme.ask, *states):
        assert all(contrast(text, ground) >= 4.5 for ground in grounds)
    for accent in (theme.focus, theme.caution, theme.replay):
        assert contrast(theme.on_accent, accent) >= 4.5


@THEMES
def test_no_other_colour_is_like_that_of_a_replay(theme: Theme) -> None:
    others = (field.name for field in fields(theme) if field.name != "replay")
    hue = theme.replay.hslHue()
    for other in (getattr(theme, name) for name in others):
        # The grounds and greys are hardly coloured at all.
        distance = abs(other.hslHue() - hue)
        is_grey = other.hsvSaturation() < 130
        assert is_grey or min(distance, 360 - distance) >= 50, other.name()


@THEMES
def test_sizes_are_readable_on_their_bars(theme: Theme) -> None:
    for side in (theme.bid, theme.ask):
        for share in (0.13, 0.32, 0.45):
            assert contrast(theme.text, theme.tint(side, share)) >= 4.5
        assert contrast(theme.muted, theme.tint(side, 0.13)) >= 4.5


@pytest.mark.parametrize(
    ("appearance", "system", "expected"),
    [
        (Appearance.SYSTEM, Qt.ColorScheme.Unknown, DARK),
        (Appearance.SYSTEM, Qt.ColorScheme.Dark, DARK),
        (Appearance.SYSTEM, Qt.ColorScheme.Light, LIGHT),
        (Appearance.DARK, Qt.ColorScheme.Light, DARK),
        (Appearance.LIGHT, Qt.ColorScheme.Dark, LIGHT),
    ],
)
def test_choice_of_theme(appearance: Appearance, system: Qt.ColorScheme, expected: Theme) -> None:
    assert theme_for(appearance, system) is expected


def test_the_keeper_changes_the_application(qapp: QApplication) -> None:
    keeper = ThemeKeeper(qapp, Appearance.DARK)
    themes: list[Theme] = []
    keeper.changed.connect(themes.append)
    assert qapp.palette().color(QPalette.ColorRole.Window) == DARK.window
    keeper.set_appearance(Appearance.LIGHT)
    assert themes == [LIGHT]
    assert qapp.palette().color(QPalette.ColorRole.Window) == LIGHT.window
    assert LIGHT.line.name() in qapp.styleSheet()
    assert "$" not in qapp.styleSheet()
    keeper.set_appearance(Appearance.LIGHT)
    assert themes == [LIGHT]
