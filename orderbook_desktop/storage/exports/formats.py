"""The formats that recordings can be exported to."""

from __future__ import annotations

from enum import Enum


class ExportFormat(Enum):
    """A format; the values are what a person types."""

    TARDIS = "tardis"
    PARQUET = "parquet"
    HFTBACKTEST = "hftbacktest"

    @property
    def passes(self) -> int:
        """How often the recording is read: some formats begin with what only its end tells."""
        return 1 if self is ExportFormat.TARDIS else 2
