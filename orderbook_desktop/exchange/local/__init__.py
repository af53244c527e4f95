"""A Binance-compatible exchange on this computer, for the demo, for tests and for captures."""

from orderbook_desktop.exchange.local.capture import CaptureSource
from orderbook_desktop.exchange.local.faults import Fault, FaultKind, Shape
from orderbook_desktop.exchange.local.server import CannotListen, LocalExchange, PortInUse
from orderbook_desktop.exchange.local.synthetic import SyntheticSource, write_capture
from orderbook_desktop.formats.capture_lines import CaptureUnreadable

__all__ = [
    "CannotListen",
    "CaptureSource",
    "CaptureUnreadable",
    "Fault",
    "FaultKind",
    "LocalExchange",
    "PortInUse",
    "Shape",
    "SyntheticSource",
    "write_capture",
]
