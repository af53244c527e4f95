"""What the heatmap shows: its view, what is read for it, and how it is painted."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from PySide6.QtCore import QEvent, QRect, QSize, QTimer
from PySide6.QtGui import QFont, QHideEvent, QPainter, QPaintEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.cut_offs import ColourChoice, CutOffScale, Shades
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.navigator import Navigator
from orderbook_desktop.core.heatmap.pages import HeatmapPages, HeatmapPart, RecordedMarket
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.time_text import duration_text, moment_text
from orderbook_desktop.core.timeline import Gap, Timeline
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.panes.book_frame import BookFrame, Message, message_of
from orderbook_desktop.gui.panes.heatmap.layers import Layer
from orderbook_desktop.gui.panes.heatmap.legend import CutOffLegend
from orderbook_desktop.gui.panes.heatmap.painter import HeatmapPainter, Places
from orderbook_desktop.gui.panes.heatmap.reading import CellReader, Choice, LiveEdge, wish_for
from orderbook_desktop.gui.panes.pane import Pane, paint_message
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme

if TYPE_CHECKING:
    from orderbook_desktop.gui.panes.heatmap.overview import OverviewBar
    from orderbook_desktop.gui.panes.heatmap.scene import Scene

ZOOM: Final = 1.25
"""A step of zooming."""
# The pages are asked so long after a pan or zoom.
_SETTLE_MS: Final = 60
_LOOK_AGAIN_MS: Final = 5_000
_COLOURS_MS: Final = 1_000


class HeatmapCanvas(Pane):
    """Price by time: what is recorded, and what comes live, in one picture.

    At its right end is the newest moment, or the clock of a replay. `layers` are drawn over the
    cells, in their order.
    """

    stretch = 8

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "Heatmap", parent)
        self._preferences = preferences
        self.navigator = Navigator()
        self.reader = CellReader(self._take_part, self._take_recorded)
        self.edge = LiveEdge()
        self.layers: list[Layer] = []
        self.choice = Choice()
        self.legend = CutOffLegend(theme, self)
        self.legend.shades_changed.connect(self._take_shades)
        self.legend.chosen.connect(self._remember_colours)
        self.legend.statistic_chosen.connect(self._choose_statistic)
        self.legend.hide()
        self._scene: Scene | None = None
        self._overview: OverviewBar | None = None
        self._frame: BookFrame | None = None
        self._replay: ReplayStatus | None = None
        self._zone: tzinfo | None = None
        self._problem = ""
        self._settle = QTimer(self, interval=_SETTLE_MS, singleShot=True)
        self._settle.timeout.connect(self.ask)
        self._coloured = QTimer(self, interval=_COLOURS_MS, singleShot=True)
        self._again = QTimer(self, interval=_LOOK_AGAIN_MS)
        self._again.timeout.connect(self._look_again)
        self.setMinimumSize(260, 160)
        self._take_fonts()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the least comfortable size; it takes the room that the others leave."""
        return QSize(565, 700)

    @property
    def scene(self) -> Scene:
        """The cells on screen. Made when it is needed, which the first picture does without."""
        if self._scene is None:
            from orderbook_desktop.gui.panes.heatmap.scene import Scene  # noqa: PLC0415

            self._scene = Scene(self._theme)
        return self._scene

    @property
    def view(self) -> View | None:
        """What is shown; None: no market is known yet."""
        return self.navigator.view

    @property
    def places(self) -> Places:
        """Where the parts are."""
        right = self._painter.price_axis_width(self.view, self.navigator.tick)
        below = self._painter.time_axis_height
        bar = 0 if self._overview is None else self._overview.height()
        top = self.legend.sizeHint().height()
        width, height = self.width() - right, self.height() - below - bar - top
        width, height = max(1, width), max(1, height)
        return Places(
            QRect(0, top, width, height),
            QRect(0, top + height, width, below),
            QRect(width, top, right, height),
        )

    def set_frame(self, frame: BookFrame) -> None:
        """Follow the book of `frame`; another market begins at its newest moment."""
        before = self._frame
        if before is None or frame.symbol.market != before.symbol.market:
            self._begin(frame.symbol)
        self._frame = frame
        for layer in self.layers:
            layer.follow(frame)
        self._follow()

    def set_replay(self, status: ReplayStatus | None) -> None:
        """Follow the clock of a replay; None: the window is live."""
        turned = (status is None) is not (self._replay is None)
        self._replay = status
        if turned and self.view is not None:
            self.navigator.is_at_edge = True
            self.edge = LiveEdge()
            if self._scene is not None:
                self._scene.reset()
            self.reader.set_pages(self.reader.pages)
            if self._frame is not None:
                self.reader.begin(self._frame.symbol.market)
        self._follow()

    def set_heatmaps(self, heatmaps: HeatmapPages | None) -> None:
        """Read what is recorded from `heatmaps`, or (None) from nowhere."""
        self.reader.set_pages(heatmaps)
        # The scene forgets its columns, too, and is given all of them anew.
        self.edge = LiveEdge()
        if self._scene is not None:
            self._scene.reset()
        for layer in self.layers:
            layer.set_pages(heatmaps)
        if self._frame is not None:
            self.reader.begin(self._frame.symbol.market)
        self._changed()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        if self._overview is not None:
            self._overview.set_zone(zone)
        for layer in self.layers:
            layer.set_zone(zone)
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme`; the cells stay on their dark ground."""
        if self._scene is not None:
            self._scene.set_theme(theme)
        if self._overview is not None:
            self._overview.set_theme(theme)
        self.legend.set_theme(theme)
        super().set_theme(theme)

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        self._frame = None
        self.navigator.view = None
        self.reader.forget()
        self.legend.hide()
        self.update()

    def ask(self) -> None:
        """Ask the pages, and the layers, for what is shown now."""
        view, grid, plot = self.view, self.grid, self.places.plot
        if view is None or grid is None or not self.isVisible():
            return
        has_tail = self._scene is not None and self._scene.has_tail
        newest = self.navigator.newest_ms
        self.reader.ask(view, self._size(), grid, self.choice, newest, has_tail=has_tail)
        for layer in self.layers:
            layer.set_view(view, plot)
        # While it follows the newest moment, colours must not change with each event.
        if not self._coloured.isActive():
            self._coloured.start()
            self._fit_colours()

    def _fit_colours(self) -> None:
        """Have the legend look at the sizes in sight."""
        if self._scene is not None and self._scene.quantiser is not None:
            base = self._scene.quantiser.base
            self.legend.set_scale(CutOffScale(self._scene.histogram(), base))
            self.update()

    def _take_shades(self, shades: Shades) -> None:
        from orderbook_desktop.core.heatmap.plot import Tables  # noqa: PLC0415

        self.scene.set_tables(Tables(*shades.tables))
        self.update(self.places.plot)

    def _remember_colours(self, choice: ColourChoice) -> None:
        if self._frame is not None:
            self._preferences.set_heatmap_colours(self._frame.symbol.market, choice.text)

    def _choose_statistic(self, statistic: Statistic) -> None:
        """Show another statistic; what was read of the one before is forgotten."""
        self.choice = replace(self.choice, statistic=statistic)
        self.reader.drop_wish()
        if self._scene is not None:
            self._scene.reset()
        self._follow()
        self._changed()

    @property
    def grid(self) -> PriceGrid | None:
        """The price steps of the market; None: it is not known yet."""
        recorded, frame, view = self.reader.recorded, self._frame, self.view
        if view is not None and recorded is not None and recorded.grid is not None:
            return recorded.grid.at(view.exponent)
        if frame is None or view is None:
            return None
        return PriceGrid.of(self.navigator.tick, (view.low + view.high) // 2, view.exponent)

    @property
    def is_replay(self) -> bool:
        """Whether a replay's clock is followed."""
        return self._replay is not None

    def book_price(self, price: int) -> int | None:
        """Return a price of the view in units of the book's scale; None: there is no book."""
        frame, view = self._frame, self.view
        if frame is None or view is None:
            return None
        return rescaled(price, view.exponent, frame.format.scale.price)

    def gap_at(self, at_ms: int) -> Gap | None:
        """Return the recorded gap at a time."""
        found = (gap for gap in self._gaps() if gap.from_ms <= at_ms < gap.to_ms)
        return next(found, None)

    def summary(self) -> str:
        """Return what is shown, for assistive technology."""
        view, frame = self.view, self._frame
        message = self._message()
        if view is None or frame is None or message is not None:
            return "" if message is None else f"{message.title}. {message.detail}"
        times = f"{moment_text(view.from_ms, self._zone)} to {moment_text(view.to_ms, self._zone)}"
        prices = f"{frame.format.price(view.low)} to {frame.format.price(view.high)}"
        shown = [gap for gap in self._gaps() if gap.to_ms > view.from_ms < view.to_ms]
        shown = [gap for gap in shown if gap.from_ms < view.to_ms]
        gaps = counted(len(shown), "gap") if shown else "no gaps"
        missing = sum(min(gap.to_ms, view.to_ms) - max(gap.from_ms, view.from_ms) for gap in shown)
        lost = f" of {duration_text(missing)} in all" if missing else ""
        edge = ", at the newest moment" if self.navigator.is_at_edge else ""
        return f"Times {times}{edge}. Prices {prices}. {gaps[:1].upper()}{gaps[1:]}{lost}"

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw everything, or the plot alone where only that has changed."""
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.panel)
            view, message = self.view, self._message()
            if view is None:
                if message is not None:
                    paint_message(painter, self.rect(), message, self.font(), self._theme)
            else:
                places = self.places
                self._paint(painter, places, view)
                if not places.plot.contains(event.rect()):
                    tick, zone = self.navigator.tick, self._zone
                    self._painter.draw_axes(painter, places, view, tick, zone)
                self._paint_last(painter, places, view)
            self._paint_focus(painter)

    def _paint(self, painter: QPainter, places: Places, view: View) -> None:
        self.scene.draw(painter, places.plot, view, self.devicePixelRatioF())
        painter.save()
        painter.setClipRect(places.plot)
        self._painter.draw_gaps(painter, places, view, self._gaps(), self._known_to())
        for layer in self.layers:
            layer.paint(painter, places.plot, view, self._theme)
        painter.restore()

    def _paint_last(self, painter: QPainter, places: Places, view: View) -> None:
        frame = self._frame
        if frame is None or frame.last is None:
            return
        price = rescaled(frame.last.price, frame.last.exponent, view.exponent)
        text = frame.format.price(
            rescaled(frame.last.price, frame.last.exponent, frame.format.scale.price)
        )
        self._painter.draw_price_tag(painter, places, view, price, text, self._theme.focus)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask for what the new size needs."""
        super().resizeEvent(event)
        self._place_overview()
        self._place_legend()
        self._changed()

    def event(self, event: QEvent) -> bool:
        """Place the legend and the bar anew where they want another height, as with larger text."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._place_overview()
            self._place_legend()
            self._changed()
        return super().event(event)

    def _place_legend(self) -> None:
        self.legend.setGeometry(0, 0, self.width(), self.legend.sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Read what is recorded, and look again now and then while visible."""
        super().showEvent(event)
        self._again.start()
        self._settle.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Read nothing while hidden."""
        super().hideEvent(event)
        self._again.stop()
        self._settle.stop()

    def _changed(self) -> None:
        """Show another view, and ask for it soon."""
        if self._overview is not None:
            clock_ms = None if self._replay is None else self.navigator.newest_ms
            self._overview.show_view(self.view, clock_ms)
        if not self._settle.isActive():
            self._settle.start()
        self.update()

    def _begin(self, symbol: SymbolInfo) -> None:
        colours = ColourChoice.of_text(self._preferences.heatmap_colours(symbol.market))
        self.legend.begin(colours, symbol.base)
        self.choice = replace(self.choice, statistic=colours.statistic)
        self.navigator.view = None
        self.edge = LiveEdge()
        self._problem = ""
        if self._scene is not None:
            self._scene.reset()
        for layer in self.layers:
            layer.reset()
        self.reader.begin(symbol.market)

    def _follow(self) -> None:
        """Follow the newest moment and the mid."""
        frame, navigator = self._frame, self.navigator
        if frame is None:
            return
        newest = self._newest_ms(frame)
        mid = _mid_of(frame)
        if navigator.view is None:
            if mid is None or not newest:
                self.update()
                return
            navigator.begin(newest, mid, max(1, frame.format.tick), frame.format.scale.price)
            self.legend.show()
            self._changed()
        else:
            exponent = frame.format.scale.price
            scaled = None if mid is None else rescaled(mid, exponent, navigator.view.exponent)
            if navigator.follow(newest, scaled):
                self._changed()
        recorded = self.reader.recorded
        if recorded is not None and recorded.grid is not None:
            navigator.refine(recorded.grid.exponent)
        self._follow_edge(frame)
        self._take_known()
        if not self._settle.isActive():
            self._settle.start()
        self.update()

    def _follow_edge(self, frame: BookFrame) -> None:
        """Take the newest columns, which a replay does not have."""
        view, grid = self.view, self.grid
        if view is None or grid is None or not self.isVisible():
            return
        wish = self.reader.wish or wish_for(
            frame.symbol.market, view, self._size(), grid, self.choice, self.navigator.newest_ms
        )
        tail = frame.depth if self._replay is None else None
        if wish is None:
            return
        if self.edge.want(wish, tail, is_recorded=self.reader.is_recorded):
            self.scene.drop_tail()
        try:
            news = self.edge.follow()
        except KnownError as error:
            self._problem = str(error)
            return
        if news is not None:
            self.scene.set_tail(news.cells, view.exponent, news.changed_ms, is_whole=news.is_whole)

    def _size(self) -> tuple[int, int]:
        """Return the size of the plot in pixels of the device."""
        plot, ratio = self.places.plot, self.devicePixelRatioF()
        return max(1, round(plot.width() * ratio)), max(1, round(plot.height() * ratio))

    def _newest_ms(self, frame: BookFrame) -> int:
        """Return the newest moment that may be shown."""
        status = self._replay
        if status is not None:
            return status.event_ms or status.at_ms
        recorded = self.reader.recorded
        last = 0 if recorded is None else recorded.coverage.timeline.to_ms
        return max(frame.event_ms, last)

    def _take_known(self) -> None:
        """Tell the scene where there is something, and where gaps are."""
        from orderbook_desktop.core.heatmap.plot import Known  # noqa: PLC0415

        newest, recorded = self.navigator.newest_ms, self.reader.recorded
        timeline = Timeline((), ()) if recorded is None else recorded.coverage.timeline
        has_any = bool(timeline.covers)
        edge = self.edge.span
        from_ms = timeline.from_ms if has_any else newest if edge is None else edge[0]
        self.navigator.from_ms = from_ms
        read_ms = timeline.to_ms if edge is None else max(timeline.to_ms, edge[1])
        bare = None
        if has_any and self._replay is None and not self.reader.is_recorded:
            # Nothing was recorded since, but the live edge may be known.
            until = newest if edge is None else edge[0]
            bare = (timeline.to_ms, until) if until > timeline.to_ms else None
        gaps = tuple((gap.from_ms, gap.to_ms) for gap in self._gaps())
        self.scene.set_known(Known(from_ms, newest, read_ms, gaps, bare, self._replay is not None))
        for layer in self.layers:
            layer.set_limit(newest, timeline.to_ms if has_any else 0)

    def _known_to(self) -> int:
        return self.navigator.newest_ms

    def _gaps(self) -> tuple[Gap, ...]:
        """Return the gaps of what is recorded, and those of the live edge since."""
        recorded = self.reader.recorded
        gaps = () if recorded is None else recorded.coverage.timeline.gaps
        end_ms = 0 if recorded is None else recorded.coverage.timeline.to_ms
        return (*gaps, *(gap for gap in self.edge.gaps if gap.from_ms >= end_ms))

    def _take_part(self, part: HeatmapPart, is_first: bool) -> None:
        view = self.view
        self._problem = part.problem
        if view is not None:
            self.scene.set_part(part, view.exponent, is_first=is_first)
            self._fit_colours()
        self.update()

    def _take_recorded(self, recorded: RecordedMarket) -> None:
        self._problem = recorded.problem or self._problem
        if recorded.coverage.timeline.covers:
            self.overview.show_coverage(recorded.coverage)
        elif self._overview is not None:
            self._overview.show_coverage(recorded.coverage)
        self._place_overview()
        self._follow()
        self._changed()

    @property
    def overview(self) -> OverviewBar:
        """The bar of all that is recorded. Made when there is something to show."""
        if self._overview is None:
            from orderbook_desktop.gui.panes.heatmap.overview import OverviewBar  # noqa: PLC0415

            self._overview = bar = OverviewBar(self._theme, self)
            bar.set_zone(self._zone)
            bar.moved.connect(self._show_middle)
            bar.turned.connect(self._zoom_middle)
            bar.show()
        return self._overview

    def _show_middle(self, at_ms: int) -> None:
        """Move the view to where a time is in its middle."""
        view = self.view
        if view is not None:
            self._leave()
            self.navigator.move(at_ms - (view.from_ms + view.to_ms) // 2, 0)
            self._changed()

    def _zoom_middle(self, notches: float) -> None:
        """Zoom the time around the middle of the view."""
        view = self.view
        if view is not None:
            self._leave()
            self.navigator.zoom_time(ZOOM**-notches, (view.from_ms + view.to_ms) // 2)
            self._changed()

    def _leave(self) -> None:
        """Remember the present view, which is about to change."""
        self.navigator.leave()

    def _place_overview(self) -> None:
        bar = self._overview
        if bar is not None:
            height = bar.sizeHint().height()
            bar.setGeometry(0, self.height() - height, self.width(), height)

    def _look_again(self) -> None:
        """Read again what is recorded: it grows."""
        if self._frame is not None:
            self.reader.begin(self._frame.symbol.market)

    def _message(self) -> Message | None:
        if self._frame is None or self.view is not None:
            return None
        return message_of(self._frame)

    def _take_fonts(self) -> None:
        self._place_legend()
        self._painter = HeatmapPainter(self._theme, QFont(self.font()))


def _mid_of(frame: BookFrame) -> int | None:
    """Return the middle of the best prices, or the one that there is; None: there is neither."""
    best = [int(side.prices[0]) for side in (frame.bids, frame.asks) if len(side.prices)]
    return sum(best) // len(best) if best else None


def rescaled(price: int, exponent: int, wanted: int) -> int:
    """Return a price of 10^-`exponent` in units of 10^-`wanted`."""
    by = wanted - exponent
    # mypy takes a power of two ints for a float.
    factor: int = 10 ** abs(by)
    return price * factor if by >= 0 else price // factor
