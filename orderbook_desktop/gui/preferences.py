"""The choices that the window remembers from one start to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import QByteArray, QSettings

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.disk import Retention
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.theme import TEXT_PERCENTS, USUAL_TEXT_PERCENT, Appearance


class Preferences:
    """Typed access to the window's `QSettings`; a value that cannot be read counts as absent."""

    def __init__(self, settings: QSettings) -> None:
        self._settings = settings
        # The recordings that this window last read or wrote; another window may change them.
        self._recordings = self.recordings
        self._here_too = dict.fromkeys(self.here_too, True)

    @property
    def geometry(self) -> QByteArray:
        """The window's geometry, from `QWidget.saveGeometry`; empty if unknown."""
        return self._bytes("window/geometry")

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._settings.setValue("window/geometry", value)

    @property
    def splitter(self) -> QByteArray:
        """The splitter's state, from `QSplitter.saveState`; empty if unknown."""
        return self._bytes("window/splitter")

    @splitter.setter
    def splitter(self, value: QByteArray) -> None:
        self._settings.setValue("window/splitter", value)

    def shows_pane(self, name: str) -> bool | None:
        """Return whether the person wants to see a pane; None if they never chose."""
        return {"yes": True, "no": False}.get(self._text(f"panes/{name}"))

    def set_shows_pane(self, name: str, shown: bool) -> None:
        """Remember whether the person wants to see a pane."""
        self._settings.setValue(f"panes/{name}", "yes" if shown else "no")

    @property
    def welcomed(self) -> bool:
        """Whether the person has seen the window before, in this version or an older one."""
        return self._text("window/welcomed") == "yes" or bool(self.symbol)

    @welcomed.setter
    def welcomed(self, value: bool) -> None:
        self._settings.setValue("window/welcomed", "yes" if value else "no")

    @property
    def symbol(self) -> str:
        """The symbol shown last, such as `BTC/USDT`; empty if unknown."""
        return self._text("market/symbol")

    @symbol.setter
    def symbol(self, value: str) -> None:
        self._settings.setValue("market/symbol", value)

    @property
    def recents(self) -> tuple[str, ...]:
        """Symbols shown before, the latest first."""
        return tuple(part for part in self._text("market/recents").split(" ") if part)

    @recents.setter
    def recents(self, value: Sequence[str]) -> None:
        self._settings.setValue("market/recents", " ".join(value))

    @property
    def recordings(self) -> dict[str, bool]:
        """The symbols of the kept recordings, each with whether it is switched on."""
        parts = self._text("recording/kept").split(" ")
        return {part.removeprefix("-"): not part.startswith("-") for part in parts if part}

    @recordings.setter
    def recordings(self, value: Mapping[str, bool]) -> None:
        before, self._recordings = self._recordings, dict(value)
        self._change_entries("recording/kept", before, value, lambda: self.recordings)

    @property
    def here_too(self) -> tuple[str, ...]:
        """The symbols that are recorded also while another program records them."""
        return tuple(part for part in self._text("recording/here_too").split(" ") if part)

    @here_too.setter
    def here_too(self, value: Sequence[str]) -> None:
        before, self._here_too = self._here_too, dict.fromkeys(value, True)
        self._change_entries(
            "recording/here_too",
            before,
            self._here_too,
            lambda: dict.fromkeys(self.here_too, True),
        )

    def _change_entries(
        self,
        key: str,
        before: Mapping[str, bool],
        value: Mapping[str, bool],
        read: Callable[[], dict[str, bool]],
    ) -> None:
        """Write the entries of `key` in which `value` differs from `before`.

        Other windows on the same data folder change the list, too. So this window writes only the
        entries that it changed itself, and at once. `read` returns the stored entries.
        """
        changed = {symbol: is_on for symbol, is_on in value.items() if before.get(symbol) != is_on}
        removed = before.keys() - value.keys()
        if not changed and not removed:
            return
        self._settings.sync()
        stored = {symbol: is_on for symbol, is_on in read().items() if symbol not in removed}
        stored |= changed
        texts = (symbol if is_on else f"-{symbol}" for symbol, is_on in stored.items())
        self._settings.setValue(key, " ".join(texts))
        self._settings.sync()

    @property
    def connections(self) -> int:
        """By how many connections each event comes."""
        return self._number("recording/connections", 1, range(1, 3))

    @connections.setter
    def connections(self, value: int) -> None:
        self._settings.setValue("recording/connections", str(value))

    @property
    def source(self) -> SourceKind | None:
        """The source chosen last; None if unknown."""
        try:
            return SourceKind(self._text("market/source"))
        except ValueError:
            return None

    @source.setter
    def source(self, value: SourceKind) -> None:
        self._settings.setValue("market/source", value.value)

    @property
    def retention(self) -> Retention | None:
        """The retention that the person chose; None if the person never chose."""
        days_text, _, size_text = self._text("recording/retention").partition(" ")
        try:
            days, gigabytes = int(days_text), float(size_text)
        except ValueError:
            return None
        return Retention(days, gigabytes) if days >= 0 and 0 <= gigabytes < math.inf else None

    @retention.setter
    def retention(self, value: Retention) -> None:
        self._settings.setValue("recording/retention", f"{value.days} {value.gigabytes!r}")

    @property
    def appearance(self) -> Appearance:
        """The appearance that the person wants."""
        try:
            return Appearance(self._text("window/appearance"))
        except ValueError:
            return Appearance.SYSTEM

    @appearance.setter
    def appearance(self, value: Appearance) -> None:
        self._settings.setValue("window/appearance", value.value)

    @property
    def text_percent(self) -> int:
        """The size of all text, in percent of the system's; one of the sizes on offer."""
        text = self._text("window/text_percent")
        offered = {str(percent): percent for percent in TEXT_PERCENTS}
        return offered.get(text, USUAL_TEXT_PERCENT)

    @text_percent.setter
    def text_percent(self, value: int) -> None:
        self._settings.setValue("window/text_percent", str(value))

    @property
    def highlights_changes(self) -> bool:
        """Whether the ladder marks the sizes that changed."""
        return self._text("ladder/highlights_changes") != "no"

    @highlights_changes.setter
    def highlights_changes(self, value: bool) -> None:
        self._settings.setValue("ladder/highlights_changes", "yes" if value else "no")

    @property
    def ladder_columns(self) -> str:
        """The ladder's columns, as `ColumnChoice.text`; empty if they were never chosen."""
        return self._text("ladder/columns")

    @ladder_columns.setter
    def ladder_columns(self, value: str) -> None:
        self._settings.setValue("ladder/columns", value)

    @property
    def ladder_text(self) -> int:
        """The size of the ladder's text, in percent of the window's."""
        return self._number("ladder/text", 115, range(50, 401))

    @ladder_text.setter
    def ladder_text(self, value: int) -> None:
        self._settings.setValue("ladder/text", str(value))

    @property
    def ladder_stands_still(self) -> bool:
        """Whether each price step has a row in the ladder, which stands still."""
        return self._text("ladder/stands_still") == "yes"

    @ladder_stands_still.setter
    def ladder_stands_still(self, value: bool) -> None:
        self._settings.setValue("ladder/stands_still", "yes" if value else "no")

    @property
    def large_times(self) -> int:
        """From how many times the usual size on the ladder marks a size; 0: it marks none."""
        return self._number("ladder/large_times", 10, range(1_001))

    @large_times.setter
    def large_times(self, value: int) -> None:
        self._settings.setValue("ladder/large_times", str(value))

    @property
    def flow_seconds(self) -> int:
        """Of how many seconds the ladder shows what was added and pulled."""
        return self._number("ladder/flow_seconds", 60, range(3_601))

    @flow_seconds.setter
    def flow_seconds(self, value: int) -> None:
        self._settings.setValue("ladder/flow_seconds", str(value))

    @property
    def volume_period(self) -> str:
        """Of what time the ladder shows the traded volume, as `Period.text`."""
        return self._text("ladder/volume_period")

    @volume_period.setter
    def volume_period(self, value: str) -> None:
        self._settings.setValue("ladder/volume_period", value)

    @property
    def shows_quote(self) -> bool:
        """Whether sizes and totals are shown in the quote asset."""
        return self._text("window/shows_quote") == "yes"

    @shows_quote.setter
    def shows_quote(self, value: bool) -> None:
        self._settings.setValue("window/shows_quote", "yes" if value else "no")

    @property
    def shows_utc(self) -> bool:
        """Whether times are shown in UTC, and not in local time."""
        return self._text("window/shows_utc") == "yes"

    @shows_utc.setter
    def shows_utc(self, value: bool) -> None:
        self._settings.setValue("window/shows_utc", "yes" if value else "no")

    @property
    def builds_tiles(self) -> bool:
        """Whether the heatmap's tiles are built in spare time."""
        return self._text("heatmap/builds_tiles") != "no"

    @builds_tiles.setter
    def builds_tiles(self, value: bool) -> None:
        self._settings.setValue("heatmap/builds_tiles", "yes" if value else "no")

    @property
    def chart_share(self) -> float | None:
        """Half the chart's price range as a share of the mid; None for the automatic one."""
        try:
            share = float(self._text("chart/share"))
        except ValueError:
            return None
        return share if 0 < share <= 1 else None

    @chart_share.setter
    def chart_share(self, value: float | None) -> None:
        self._settings.setValue("chart/share", "" if value is None else repr(value))

    def remember(self, desk: Desk) -> None:
        """Remember the source, the recordings' switches, and the shown symbols that are traded."""
        traded = {info.symbol for info in desk.symbols}
        if desk.live_symbol.symbol in traded:
            self.symbol = desk.live_symbol.symbol
        if traded:
            self.recents = [symbol for symbol in desk.recents if symbol in traded]
        self.source = desk.source_kind
        self.recordings = {
            recording.symbol: recording.wanted for recording in desk.recordings if recording.kept
        }
        self.here_too = desk.here_too
        if not desk.connections.fixed:
            self.connections = desk.connections.count

    def grouping(self, market: str) -> str:
        """Return the grouping step chosen for `market` as decimal text; empty if none was."""
        return self._text(f"grouping/{market}")

    def set_grouping(self, market: str, step: str) -> None:
        """Remember the grouping step of `market`, decimal text."""
        self._settings.setValue(f"grouping/{market}", step)

    def tape_size(self, market: str) -> str:
        """Return the least size of trades that is shown of `market` as text; empty: all are."""
        return self._text(f"tape_size/{market}")

    def set_tape_size(self, market: str, size: str) -> None:
        """Remember the least size of trades that is shown of `market`, decimal text."""
        self._settings.setValue(f"tape_size/{market}", size)

    @property
    def heatmap_trades(self) -> bool:
        """Whether the heatmap shows trades as bubbles."""
        return self._text("heatmap/trades") != "no"

    @heatmap_trades.setter
    def heatmap_trades(self, value: bool) -> None:
        self._settings.setValue("heatmap/trades", "yes" if value else "no")

    @property
    def heatmap_profile(self) -> bool:
        """Whether the heatmap shows what was traded at each price."""
        return self._text("heatmap/profile") != "no"

    @heatmap_profile.setter
    def heatmap_profile(self, value: bool) -> None:
        self._settings.setValue("heatmap/profile", "yes" if value else "no")

    def heatmap_colours(self, market: str) -> str:
        """Return the heatmap's colours of `market`, as `ColourChoice.text`; empty if none were."""
        return self._text(f"heatmap_colours/{market}")

    def set_heatmap_colours(self, market: str, text: str) -> None:
        """Remember the heatmap's colours of `market`."""
        self._settings.setValue(f"heatmap_colours/{market}", text)

    def save(self) -> None:
        """Write the values that are not on the disk yet."""
        self._settings.sync()

    def _text(self, key: str) -> str:
        value = self._settings.value(key)
        return value if isinstance(value, str) else ""

    def _number(self, key: str, default: int, allowed: range) -> int:
        try:
            number = int(self._text(key))
        except ValueError:
            return default
        return number if number in allowed else default

    def _bytes(self, key: str) -> QByteArray:
        value = self._settings.value(key)
        return value if isinstance(value, QByteArray) else QByteArray()
