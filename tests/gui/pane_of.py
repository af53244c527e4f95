"""Finds a pane of a window by its class."""

from __future__ import annotations

from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.panes.time_and_sales.widget import TimeAndSales
from orderbook_desktop.gui.window.main_window import MainWindow


def ladder_of(window: MainWindow) -> DepthLadder:
    (ladder,) = (pane for pane in window.panes if isinstance(pane, DepthLadder))
    return ladder


def chart_of(window: MainWindow) -> DepthChart:
    (chart,) = (pane for pane in window.panes if isinstance(pane, DepthChart))
    return chart


def trades_of(window: MainWindow) -> TimeAndSales:
    (trades,) = (pane for pane in window.panes if isinstance(pane, TimeAndSales))
    return trades


def heatmap_of(window: MainWindow) -> HeatmapPane:
    (heatmap,) = (pane for pane in window.panes if isinstance(pane, HeatmapPane))
    return heatmap
