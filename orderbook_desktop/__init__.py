"""See the exchange's order book live, and own an honest recording of it."""

__version__ = "0.1.0"
