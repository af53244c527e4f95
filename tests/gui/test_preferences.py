from __future__ import annotations

import pytest
from PySide6.QtCore import QByteArray, QSettings

from orderbook_desktop.core.disk import Retention
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Appearance


def test_nothing_saved_yet(preferences: Preferences) -> None:
    assert preferences.geometry.isEmpty()
    assert preferences.splitter.isEmpty()
    assert (preferences.symbol, preferences.recents, preferences.source) == ("", (), None)
    assert preferences.appearance is Appearance.SYSTEM
    assert preferences.highlights_changes
    assert preferences.chart_share is None
    assert preferences.retention is None
    assert preferences.connections == 1
    assert preferences.grouping("BTCUSDT") == ""


def test_everything_comes_back_from_the_file(settings: QSettings) -> None:
    saved = Preferences(settings)
    saved.geometry = QByteArray(b"\x01\x02")
    saved.splitter = QByteArray(b"\x03")
    saved.symbol = "ETH/USDT"
    saved.recents = ("ETH/USDT", "BTC/USDT")
    saved.source = SourceKind.DIRECT
    saved.appearance = Appearance.LIGHT
    saved.highlights_changes = False
    saved.shows_utc = True
    saved.chart_share = 0.0125
    saved.retention = Retention(30, 2.5)
    saved.connections = 2
    saved.set_grouping("ETHUSDT", "0.05")
    saved.save()
    read = Preferences(QSettings(settings.fileName(), QSettings.Format.IniFormat))
    assert (read.geometry, read.splitter) == (QByteArray(b"\x01\x02"), QByteArray(b"\x03"))
    assert (read.symbol, read.recents) == ("ETH/USDT", ("ETH/USDT", "BTC/USDT"))
    assert (read.source, read.appearance) == (SourceKind.DIRECT, Appearance.LIGHT)
    assert not read.highlights_changes
    assert read.shows_utc
    assert read.chart_share == 0.0125
    assert read.retention == Retention(30, 2.5)
    assert read.grouping("ETHUSDT") == "0.05"
    assert read.connections == 2


def test_nonsense_counts_as_nothing(settings: QSettings) -> None:
    for key in ("market/source", "window/appearance", "chart/share", "window/geometry"):
        settings.setValue(key, "nonsense")
    read = Preferences(settings)
    assert read.source is None
    assert read.appearance is Appearance.SYSTEM
    assert read.chart_share is None
    assert read.geometry.isEmpty()
    settings.setValue("chart/share", "-3")
    assert read.chart_share is None


@pytest.mark.parametrize("text", ["30", "-1 0", "1 -1", "1 nan", "1 inf", "a b", "1.5 2"])
def test_no_nonsense_removes_recordings(settings: QSettings, text: str) -> None:
    settings.setValue("recording/retention", text)
    assert Preferences(settings).retention is None


def _window(settings: QSettings) -> Preferences:
    """Return the preferences of another window on the same data folder."""
    return Preferences(QSettings(settings.fileName(), QSettings.Format.IniFormat))


def test_two_windows_keep_one_list_of_recordings(settings: QSettings) -> None:
    Preferences(settings).recordings = {"BTC/USDT": True, "SOL/USDT": False}
    one, other = _window(settings), _window(settings)
    one.recordings = {**one.recordings, "ETH/USDT": True}
    # The other window first changes nothing, and then an entry of its own.
    other.recordings = {"BTC/USDT": True, "SOL/USDT": False}
    other.recordings = {"BTC/USDT": False}
    one.recordings = {"BTC/USDT": True, "SOL/USDT": False, "ETH/USDT": True}
    one.save()
    other.save()
    assert _window(settings).recordings == {"BTC/USDT": False, "ETH/USDT": True}
    one.recordings = {"SOL/USDT": False, "ETH/USDT": True}
    assert _window(settings).recordings == {"ETH/USDT": True}


def test_two_windows_keep_one_list_of_symbols_recorded_here_too(settings: QSettings) -> None:
    Preferences(settings).here_too = ("BTC/USDT",)
    one, other = _window(settings), _window(settings)
    one.here_too = (*one.here_too, "ETH/USDT")
    other.here_too = ()
    assert _window(settings).here_too == ("ETH/USDT",)
