"""The settings of an engine, which the program's settings fulfil, and how long an engine waits."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from orderbook_desktop.storage.archive.times import ARCHIVE_TIMES, ArchiveTimes
from orderbook_desktop.storage.server.times import SERVER_TIMES, ServerTimes


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
    def connections(self) -> int:
        """By how many connections each event comes; 0: the program chooses."""
        ...

    @property
    def follows_trades(self) -> bool:
        """Whether trades are followed, and recorded where the book is."""
        ...

    @property
    def tiles_gb(self) -> float:
        """Size (GB) that the heatmap's tiles may take; 0: none are kept."""
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


class RepairTimes(Struct, frozen=True):
    """When holes are looked for and filled, in seconds.

    A market is looked at every `with_news_s` for `news_s` after a hole was told, as its runs are
    stored some seconds later, else every `without_news_s`. Requests are at least `request_every_s`
    apart: with a weight of 4 that is a fifth of what the exchange grants. An answer that should
    have more is asked for again after `again_s`.

    After `quiet_s` without a trade, and then after growing times up to `longest_quiet_s`, the
    exchange is asked whether there was one. It has `come_s` to come by the stream.
    """

    look_every_s: float = 0.5
    with_news_s: float = 2.0
    without_news_s: float = 60.0
    news_s: float = 30.0
    request_every_s: float = 0.2
    again_s: float = 5.0
    longest_delay_s: float = 60.0
    quiet_s: float = 120.0
    longest_quiet_s: float = 3600.0
    come_s: float = 10.0


REPAIR_TIMES: Final = RepairTimes()


class SpareTimes(Struct, frozen=True):
    """When tiles are built in spare time, in seconds.

    The first ones are built `begin_s` after the start, which is busy enough. After each step there
    is a rest `rest_times` as long as the step, and at least `least_rest_s`. While other work takes
    more than `busy_share` of one processor, or events wait to be written, no step begins; that is
    looked at every `busy_s`. When all is built, or none can be, the next look is after `again_s`.
    """

    begin_s: float = 10.0
    rest_times: float = 2.0
    least_rest_s: float = 0.05
    busy_share: float = 0.6
    busy_s: float = 1.0
    again_s: float = 60.0


SPARE_TIMES: Final = SpareTimes()


class EngineTimes(Struct, frozen=True):
    """How long an engine waits, in seconds.

    If the database can't be had at the start, the engine tries again after `retry_first_s`, and
    then after growing delays. It looks at the disk every `disk_look_s`, and every `depth_look_s`
    whether a book should be known deeper. `server`, `archive`, `repair` and `spare` are the times
    of the database's server, of the archiver, of the repair of trades and of the tiles.

    The other times limit how long the parts may take to end: a window has to close within three
    seconds in all. Received events may be written for `write_s`; the tasks in the background have
    `jobs_s`, each other part `part_s`. The server ends last and has `server_s`. A server that is
    cut short loses nothing, but has to recover when it starts again; a person who has pressed
    Ctrl-C should not wait longer.
    """

    retry_first_s: float = 2.0
    disk_look_s: float = 2.0
    depth_look_s: float = 10.0
    write_s: float = 0.8
    part_s: float = 0.3
    jobs_s: float = 0.8
    server_s: float = 0.6
    server: ServerTimes = SERVER_TIMES
    archive: ArchiveTimes = ARCHIVE_TIMES
    repair: RepairTimes = REPAIR_TIMES
    spare: SpareTimes = SPARE_TIMES


ENGINE_TIMES: Final = EngineTimes()
