"""The disk space of recordings in words: short for the status line, in sentences for panels."""

from __future__ import annotations

from orderbook_desktop.core.disk import DiskLevel, DiskStatus, Retention, bytes_text
from orderbook_desktop.core.wording import counted


def disk_field(disk: DiskStatus, retention: Retention) -> str:
    """Return the status line's field about the disk; empty while nothing is known."""
    parts = []
    if disk.folder is not None:
        parts.append(bytes_text(disk.folder.file_bytes))
    elif disk.size is not None:
        parts.append(bytes_text(disk.size.lasting_bytes))
    if disk.disk_bytes_per_day is not None:
        parts.append(f"{bytes_text(disk.disk_bytes_per_day)}/day")
    if disk.level is not DiskLevel.GOOD and disk.free_bytes is not None:
        parts.append(f"{bytes_text(disk.free_bytes)} free")
    elif (days := disk.days_left(retention)) is not None:
        parts.append(f"room for {_days(days)}")
    return f"Disk {' · '.join(parts)}" if parts else ""


def growth_sentence(disk: DiskStatus, retention: Retention) -> str:
    """Return a sentence: how fast recordings grow, and how long the disk has room for them."""
    pace = disk.disk_bytes_per_day
    takes = "being measured" if pace is None else f"about {bytes_text(pace)} a day"
    if disk.free_bytes is None:
        return f"Disk: {takes}."
    days = disk.days_left(retention)
    enough = ""
    if days is not None:
        enough = f", enough for {_days(days)}"
    elif disk.fits(retention):
        enough = ", enough for all that is kept"
    return f"Disk: {takes}; {bytes_text(disk.free_bytes)} are free{enough}."


def size_sentence(disk: DiskStatus) -> str:
    """Return the size of what is recorded, and the size of the database's files on the disk.

    Events count with their size in the archive, also before they are archived: they take ten times
    as much until then, and the sum would fall with each minute that is archived.
    """
    size = disk.size
    if size is None:
        return "The size of the recordings is not known yet."
    parts = [f"{bytes_text(size.archive_bytes)} archived"]
    if size.raw_bytes:
        parts.append(f"about {bytes_text(size.to_be_archived_bytes)} to be archived")
    parts.append(f"{bytes_text(size.book_bytes)} of whole books")
    if size.trade_bytes:
        parts.append(f"{bytes_text(size.trade_bytes)} of trades")
    text = f"Recorded: {bytes_text(size.lasting_bytes)} ({', '.join(parts)})."
    if disk.folder is None:
        return text
    free = disk.reusable_bytes
    reusable = f"; {bytes_text(free)} is free for new recordings" if free else ""
    return (
        f"{text} The database's files take {bytes_text(disk.folder.file_bytes)} on the disk: "
        f"{bytes_text(disk.folder.working_bytes)} of it is room that it needs to work, which "
        f"also holds the events to be archived{reusable}. "
        "The files don't shrink; new recordings use the room of removed recordings."
    )


def retention_text(retention: Retention) -> str:
    """Return the text of a choice, such as `Keep everything`."""
    return f"Keep {retention.text()}"


def _days(count: int) -> str:
    if count < 1:
        return "less than a day"
    return counted(count, "day")
