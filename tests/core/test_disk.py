"""What is kept, how full a disk is, and how long there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.disk import (
    DAY_MS,
    GB,
    DiskGauge,
    DiskLevel,
    DiskStatus,
    FolderSize,
    RecordingSize,
    Retention,
    SteadyDisk,
    bytes_text,
)

GOOD, LOW, FULL = DiskLevel


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (15_900_000, "15.9 MB")),
        *((999_949, "999.9 kB"), (999_950, "1.0 MB"), (999_999_999, "1.0 GB")),
        *((999_960_000_000, "1.0 TB"), (10**13, "10.0 TB")),
    ],
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
    assert size.to_be_archived_bytes == 90
    assert size.lasting_bytes == 200


def test_trades_take_room_as_events_do() -> None:
    size = RecordingSize(archive_bytes=100, trades=50, trade_bytes=400)
    assert size.total_bytes == size.lasting_bytes == 500
    assert size.bytes_a_trade == pytest.approx(8)
    assert RecordingSize().bytes_a_trade == pytest.approx(9)
    assert FolderSize(2_000, 1_000).reusable_bytes(size) == 450


def test_how_long_there_is_room() -> None:
    # A day of it takes a tenth more in the files.
    disk = DiskStatus(RecordingSize(GB), None, 10 * GB, GB)
    assert disk.days_left(Retention()) == 9
    assert disk.days_left(Retention(days=11)) == 9
    # All that is kept fits: there is room for ever.
    assert disk.days_left(Retention(days=10)) is None
    assert disk.days_left(Retention(gigabytes=11)) is None
    assert disk.days_left(Retention(gigabytes=11.1)) == 9


def test_a_forecast_of_days_has_two_digits_that_count() -> None:
    disk = DiskStatus(RecordingSize(GB), None, 0, GB)
    days = [
        replace(disk, free_bytes=round(free * 1.1 * GB)).days_left(Retention())
        for free in (0.5, 9.01, 99.01, 101.1, 576.1, 12_345.1)
    ]
    assert days == [0, 9, 99, 100, 580, 12_000]


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


MB = 10**6
# The sizes of the files, in kB, and paces a day, in MB, of a recording of five minutes, every 5 s.
_FILES_KB = (
    *(10_799, 10_799, 11_516, 11_516, 12_278, 12_278, 12_806, 13_003, 13_343, 13_343, 13_343),
    *(13_650, 13_671, 14_092, 14_092, 14_393, 14_393, 14_612, 14_612, 14_901, 14_901, 15_222),
    *(15_222, 15_701, 15_701, 16_123, 16_178, 16_300, 16_300, 16_300, 16_612, 17_001, 17_403),
    *(17_800, 17_800, 17_700, 17_700, 17_812, 17_900, 18_012, 18_100, 18_100, 28_300, 18_100),
    *(18_100, 18_200, 18_200, 18_400),
)
_PACES = (
    (None,) * 13 + (92, 92, 91, 91, 90, 90, 89, 89, 88, 88, 88, 87, 87, 86, 86, 85, 85) + (84,) * 18
)


def _measured(file_kb: int, pace: int | None, free: int) -> DiskStatus:
    per_day = None if pace is None else pace * MB
    return DiskStatus(RecordingSize(MB), FolderSize(file_kb * 1_000, MB), free, per_day)


def test_what_is_shown_of_a_recording_neither_jumps_nor_runs_back() -> None:
    steady = SteadyDisk()
    shown = []
    for place, (file_kb, pace) in enumerate(zip(_FILES_KB, _PACES, strict=True)):
        # Other programs write and remove files of their own.
        free = 50 * GB + (-1) ** place * 400 * MB
        status = steady.take(_measured(file_kb, pace, free), 5.0 * place)
        assert status.folder is not None
        days = status.days_left(Retention())
        shown.append((status.folder.file_bytes, status.free_bytes, status.bytes_per_day, days))
    sizes, frees, paces, days_left = zip(*shown, strict=True)
    assert list(sizes) == sorted(sizes)
    assert sizes[0] == 10_799_000
    assert max(sizes) < 18_500_000
    assert set(frees) == {50 * GB + 400 * MB}
    assert set(paces) == {None, 92 * MB}
    assert len(set(days_left)) == 2


def test_a_real_change_is_shown() -> None:
    steady = SteadyDisk()
    assert steady.take(_measured(20_000, 100, 50 * GB), 0).bytes_per_day == 100 * MB
    assert steady.take(_measured(20_000, 114, 50 * GB), 5).bytes_per_day == 100 * MB
    changed = steady.take(_measured(20_000, 116, 48 * GB), 10)
    assert (changed.bytes_per_day, changed.free_bytes) == (116 * MB, 48 * GB)
    assert steady.take(_measured(20_000, None, 48 * GB), 15).bytes_per_day is None
    assert steady.take(_measured(20_000, 70, 48 * GB), 20).bytes_per_day == 70 * MB


def test_files_that_really_became_smaller_are_shown_so_after_a_while() -> None:
    steady = SteadyDisk()
    sizes = []
    for second in range(0, 1_000, 5):
        status = steady.take(_measured(30_000 if second < 100 else 20_000, 100, GB), second)
        assert status.folder is not None
        sizes.append(status.folder.file_bytes)
    assert sizes[0] == 30_000_000
    assert sizes[-1] == 20_000_000
    assert len(set(sizes)) == 2
    # Not before five minutes.
    assert sizes[390 // 5] == 30_000_000


def test_a_second_look_within_a_second_changes_nothing() -> None:
    steady = SteadyDisk()
    shown = [steady.take(_measured(20_000, 100, 50 * GB), 5 + at / 10) for at in range(5)]
    assert shown == [_measured(20_000, 100, 50 * GB)] * 5


def test_while_the_disk_is_low_the_free_space_is_exact() -> None:
    steady = SteadyDisk()
    steady.take(DiskStatus(free_bytes=1_000 * MB), 0)
    low = steady.take(DiskStatus(free_bytes=999 * MB, level=DiskLevel.LOW), 1)
    assert low.free_bytes == 999 * MB
    assert low.folder is None
