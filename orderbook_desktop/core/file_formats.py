"""The formats that recordings are imported from and exported to, as a person types them."""

from __future__ import annotations

from enum import Enum


class ExportFormat(Enum):
    """What a recording is exported to; the values are what a person types."""

    TARDIS = "tardis"
    TARDIS_TRADES = "tardis-trades"
    PARQUET = "parquet"
    PARQUET_TRADES = "parquet-trades"
    HFTBACKTEST = "hftbacktest"

    @property
    def passes(self) -> int:
        """How often the recording is read: some formats begin with a value that its end decides."""
        return 1 if self in (ExportFormat.TARDIS, ExportFormat.TARDIS_TRADES) else 2

    @property
    def has_levels(self) -> bool:
        """Whether it holds the book."""
        return self not in (ExportFormat.TARDIS_TRADES, ExportFormat.PARQUET_TRADES)

    @property
    def has_trades(self) -> bool:
        """Whether it holds the trades."""
        return self is ExportFormat.HFTBACKTEST or not self.has_levels


class ImportFormat(Enum):
    """What a recording is imported from; the values are what a person types."""

    RAW = "raw"
    TARDIS = "tardis"
    TARDIS_TRADES = "tardis-trades"
    AGGTRADES = "aggtrades"
