"""What a desk has to be told; the program's settings are that."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, Self

from orderbook_desktop.core.disk import Retention
from orderbook_desktop.engine.settings import EngineSettings


class DeskSettings(EngineSettings, Protocol):
    """The settings of the engine behind a desk, and how those of another one are had."""

    @property
    def env(self) -> Enum:
        """How much is logged; the value is what the option `--env` takes."""
        ...

    @property
    def other_exchange(self) -> str:
        """The host of an exchange's address that isn't the usual one, or empty."""
        ...

    @property
    def usual_symbol(self) -> str:
        """The symbol that is shown unless another one is asked for."""
        ...

    def with_retention(self, retention: Retention) -> Self:
        """Return these settings, with `retention` as what is kept of recordings."""
        ...

    def with_exchange(self, rest_url: str, ws_url: str, db_name: str) -> Self:
        """Return these settings with another exchange, recorded in a database of its own."""
        ...
