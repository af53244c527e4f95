"""The settings of an engine; the program's settings fulfil this Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class EngineSettings(Protocol):
    """The places of the exchange, the database and the files, and the limits of recordings."""

    @property
    def rest_url(self) -> str:
        """Base address of the exchange's REST interface."""
        ...

    @property
    def ws_url(self) -> str:
        """Base address of the exchange's websocket streams."""
        ...

    @property
    def mongo_dsn(self) -> str:
        """Address of the database server; empty: the program starts a server of its own."""
        ...

    @property
    def db_name(self) -> str:
        """Database on that server."""
        ...

    @property
    def data_dir(self) -> Path:
        """Folder of the program's own database, and of the logs."""
        ...

    @property
    def database_dir(self) -> Path:
        """Folder of the files of the program's own database."""
        ...

    @property
    def buffer_mb(self) -> int:
        """Memory (MB) for events that wait while the database is away."""
        ...

    @property
    def retention_days(self) -> int:
        """Age (days) after which recorded events are removed; 0: they are kept."""
        ...

    @property
    def retention_gb(self) -> float:
        """Size (GB) above which the oldest recorded events are removed; 0: they are kept."""
        ...

    @property
    def low_disk_gb(self) -> float:
        """Free disk space (GB) below which the program warns; 0: it never warns."""
        ...
