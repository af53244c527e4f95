"""The settings behind a desk; the program's settings fulfil this Protocol."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, Self

from orderbook_desktop.core.disk import Retention
from orderbook_desktop.engine.settings import EngineSettings


class DeskSettings(EngineSettings, Protocol):
    """The settings of the engine behind a desk, and copies of them for another engine."""

    @property
    def env(self) -> Enum:
        """How much is logged; the value is what the option `--env` takes."""
        ...

    @property
    def other_exchange(self) -> str:
        """The exchange's host, if it isn't the usual exchange; else empty."""
        ...

    @property
    def usual_symbol(self) -> str:
        """The symbol that is shown by default."""
        ...

    def with_retention(self, retention: Retention) -> Self:
        """Return these settings with `retention`."""
        ...

    def with_exchange(self, rest_url: str, ws_url: str, db_name: str) -> Self:
        """Return these settings with another exchange, recorded in a database of its own."""
        ...
