"""What is kept, how full a disk is, and how long there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.disk import (
    DAY_MS,
    GB,
    DiskGauge,
    DiskLevel,
    DiskStatus,
    FolderSize,
    RecordingSize,
    Retention,
    bytes_text,
)

GOOD, LOW, FULL = DiskLevel


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (15_900_000, "15.9 MB"), (10**13, "10.0 TB")],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("retention", "text", "sentence"),
    [
        (Retention(), "everything", "Everything is kept."),
        (Retention(1), "the last day", "The last day is kept."),
        (Retention(1_000), "the last 1,000 days", "The last 1,000 days are kept."),
        (Retention(0, 2.5), "at most 2.5 GB", "At most 2.5 GB are kept."),
        (
            Retention(7, 50),
            "the last 7 days, at most 50 GB",
            "The last 7 days are kept, at most 50 GB.",
        ),
    ],
)
def test_what_is_kept_in_words(retention: Retention, text: str, sentence: str) -> None:
    assert retention.text() == text
    assert retention.sentence == sentence


def test_what_is_kept_in_numbers() -> None:
    assert Retention().limit_bytes is None
    assert Retention().horizon_ms(5) is None
    assert Retention(gigabytes=0.5).limit_bytes == 500_000_000
    assert Retention(days=2).horizon_ms(10 * DAY_MS) == 8 * DAY_MS


def test_a_disk_that_fills_and_is_cleared() -> None:
    gauge = DiskGauge(1_000)
    seen = [gauge.look(free) for free in (2_000, 1_000, 999, 1_050, 250, 249, 300, 499)]
    assert seen == [GOOD, GOOD, LOW, LOW, LOW, FULL, FULL, FULL]
    assert [gauge.look(free) for free in (500, 1_099, 1_100, 1_000)] == [LOW, LOW, GOOD, GOOD]


def test_a_disk_that_is_not_known_is_no_reason_to_stop() -> None:
    gauge = DiskGauge(1_000)
    assert gauge.look(0) is FULL
    assert gauge.look(None) is GOOD


def test_without_a_limit_no_disk_is_low() -> None:
    assert DiskGauge(0).look(0) is GOOD


@given(st.lists(st.integers(0, 2_000)))
def test_recording_goes_on_only_with_room(free: list[int]) -> None:
    gauge = DiskGauge(1_000)
    for one in free:
        before, level = gauge.level, gauge.look(one)
        if one < gauge.stop_bytes:
            assert level is FULL
        if before is FULL and level is not FULL:
            assert one >= gauge.resume_bytes
        if before is not FULL and level is FULL:
            assert one < gauge.stop_bytes


def test_what_lasts_of_an_event() -> None:
    little = RecordingSize(archive_bytes=900, archived_events=10)
    assert little.lasting_share(12_000, 10) == pytest.approx(0.09)
    known = RecordingSize(archive_bytes=1_000_000, archived_events=10_000)
    assert known.lasting_share(12_500, 10) == pytest.approx(0.08)
    assert known.lasting_share(0, 0) == pytest.approx(0.09)


def test_what_is_raw_for_minutes_costs_no_past() -> None:
    size = RecordingSize(archive_bytes=100, archived_events=1, raw_bytes=1_000, book_bytes=10)
    assert size.total_bytes == 1_110
    assert size.lasting_bytes == 200


def test_how_long_there_is_room() -> None:
    # A day of it takes a tenth more in the files.
    disk = DiskStatus(RecordingSize(GB), None, 10 * GB, GB)
    assert disk.days_left(Retention()) == 9
    assert disk.days_left(Retention(days=11)) == 9
    # All that is kept fits: there is room for ever.
    assert disk.days_left(Retention(days=10)) is None
    assert disk.days_left(Retention(gigabytes=11)) is None
    assert disk.days_left(Retention(gigabytes=11.1)) == 9


def test_what_the_files_take_counts() -> None:
    size = RecordingSize(archive_bytes=2 * GB)
    folder = FolderSize(file_bytes=5 * GB, archive_bytes=4 * GB)
    assert folder.working_bytes == GB
    assert folder.reusable_bytes(size) == 1_800_000_000
    disk = DiskStatus(size, folder, 10 * GB, GB)
    # What is free inside the files is used before they grow.
    assert disk.days_left(Retention()) == 10
    # The files may become what they take now and what is free, with the room to work.
    assert disk.days_left(Retention(gigabytes=15)) is None
    assert disk.days_left(Retention(gigabytes=15.1)) == 10
    assert disk.days_left(Retention(days=12)) is None
    assert disk.days_left(Retention(days=13)) == 10
    assert DiskStatus(size, None, 10 * GB, GB).reusable_bytes == 0
    assert FolderSize(1, 2).working_bytes == 0


def test_room_to_work_is_a_part_of_the_limit_but_at_most_half() -> None:
    assert Retention().room_bytes(GB) is None
    limit = Retention(gigabytes=10)
    assert limit.room_bytes(0) == 10 * GB
    assert limit.room_bytes(GB) == 9 * GB
    assert limit.room_bytes(30 * GB) == 5 * GB


def test_what_is_not_known_is_not_guessed() -> None:
    assert DiskStatus().days_left(Retention()) is None
    assert DiskStatus(free_bytes=GB).days_left(Retention()) is None
    assert DiskStatus(bytes_per_day=GB).days_left(Retention()) is None
    assert not DiskStatus().fits(Retention(days=1))
    assert not DiskStatus(RecordingSize(), None, GB).fits(Retention(days=1))
