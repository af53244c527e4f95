"""The formats that recordings are imported from and exported to, as a person types them."""

from __future__ import annotations

from enum import Enum


class ExportFormat(Enum):
    """What a recording is exported to; the values are what a person types."""

    TARDIS = "tardis"
    PARQUET = "parquet"
    HFTBACKTEST = "hftbacktest"

    @property
    def passes(self) -> int:
        """How often the recording is read: some formats begin with a value that its end decides."""
        return 1 if self is ExportFormat.TARDIS else 2


class ImportFormat(Enum):
    """What a recording is imported from; the values are what a person types."""

    RAW = "raw"
    TARDIS = "tardis"
