"""What an engine has to be told; the program's settings are that."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class EngineSettings(Protocol):
    """Where the exchange, the database and the files are, and what may be kept of recordings."""

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
        """Address of the database server; empty: a server of our own."""
        ...

    @property
    def db_name(self) -> str:
        """Database on that server."""
        ...

    @property
    def data_dir(self) -> Path:
        """Folder of our own database, and of the logs."""
        ...

    @property
    def database_dir(self) -> Path:
        """Folder of the files of our own database."""
        ...

    @property
    def buffer_mb(self) -> int:
        """Memory (MB) for events that wait while the database is away."""
        ...

    @property
    def retention_days(self) -> int:
        """Recordings older than so many days are removed; 0: they are kept."""
        ...

    @property
    def retention_gb(self) -> float:
        """The oldest is removed of recordings that take more (GB); 0: nothing is."""
        ...

    @property
    def low_disk_gb(self) -> float:
        """Less free disk (GB) is warned of; 0: never."""
        ...
