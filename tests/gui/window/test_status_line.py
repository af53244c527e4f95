from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from msgspec.structs import replace
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.disk import DiskLevel, DiskStatus, Retention
from orderbook_desktop.core.recorded_gaps import NOT_READ, RecordedGaps
from orderbook_desktop.core.recording_status import RecordingCounts, RecordingState, RecordingStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.time_text import time_of_day_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.window.status_line import (
    StatusLine,
    fields_that_fit,
)
from tests.gui.fake_desk import EVENT_MS, FakeDesk, frame_of
from tests.gui.fake_storage import FakeStorage


def test_event_time_has_its_zone() -> None:
    zone = timezone(timedelta(hours=2), "CEST")
    assert time_of_day_text(1_723_100_000_123, zone) == "08:53:20.123 CEST"
    assert len(time_of_day_text(EVENT_MS).split()) == 2


def test_fields_give_way_by_rank() -> None:
    assert fields_that_fit([50, 50, 50], [2, 1, 3], 110) == [True, True, False]
    assert fields_that_fit([50, 50, 50], [2, 1, 3], 60) == [False, True, False]
    assert fields_that_fit([50, 0, 50], [2, 1, 3], 100) == [True, False, True]
    assert fields_that_fit([50], [1], 10) == [False]
    assert fields_that_fit([50, 300, 50], [1, 2, 3], 120) == [True, False, True]


@pytest.fixture
def line(host: QWidget) -> StatusLine:
    widget = StatusLine(host)
    widget.resize(1_400, 24)
    widget.show()
    return widget


def test_shows_recording_and_book(line: StatusLine, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1")], [])
    line.show_frame(frame_of(desk))
    counts = RecordingCounts(events=12_345, payload_bytes=1_500, gaps=2)
    recording = RecordingStatus(
        "BTC/USDT", RecordingState.RECORDING, counts=counts, waiting=7, kept=False
    )
    line.show_recording(recording)
    # Those of this session alone are not the recording's.
    assert line.text("gaps") == f"Gaps {NOT_READ}"
    line.show_recording(replace(recording, gaps=RecordedGaps()))
    assert line.text("gaps") == "Gaps 0"
    gap = Gap(1, 2, 3, 4, GapCause.USER, "")
    line.show_recording(replace(recording, gaps=RecordedGaps((gap, gap, gap), 1)))
    line.show_rate(10)
    assert line.text("recorded") == "Recorded 12,345 events, 1.5 kB"
    assert line.text("waiting") == "Waiting 7"
    assert line.text("gaps") == "Gaps 3 · 1 this session"
    assert line.text("update id") == "Update 1000"
    assert line.text("time") == time_of_day_text(EVENT_MS)
    assert line.text("source") == "Source: recorded"
    assert line.text("rate") == "10 updates/s"
    line.show_rate(1)
    assert line.text("rate") == "1 update/s"
    desk.source.book.clear()
    line.show_frame(frame_of(desk))
    assert (line.text("update id"), line.text("time")) == ("", "")


def test_the_source_of_a_replay_is_its_file_as_soon_as_that_is_known(
    line: StatusLine, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [])
    desk.source.status = replace(desk.source.status, state=FeedState.REPLAY)
    line.show_replay("08:53:20", "day.obd", "ETH/USDT")
    line.show_frame(frame_of(desk))
    assert line.text("source") == "Source: day.obd"
    # The clock stands: no other frame comes.
    line.show_replay("08:53:20", "", "ETH/USDT")
    assert line.text("source") == "Source: recording"


def test_names_an_exchange_that_is_not_the_usual_one(line: StatusLine) -> None:
    line.show_exchange("127.0.0.1:8900")
    assert line.text("exchange") == "Exchange: 127.0.0.1:8900"
    line.show_exchange("")
    assert line.text("exchange") == ""


def test_a_problem_is_told_before_all_else(line: StatusLine) -> None:
    sentence = "The database does not answer; events are kept in memory."
    line.show_recording(
        RecordingStatus("BTC/USDT", RecordingState.DELAYED, problem=sentence, kept=False)
    )
    problem = line.findChild(QLabel, "problem")
    assert isinstance(problem, QLabel)
    assert problem.isVisible()
    assert sentence in problem.text()
    line.resize(300, 24)
    assert problem.isVisible()
    assert problem.text().endswith("…")
    assert sentence in problem.toolTip()
    line.show_recording(RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=False))
    assert not problem.isVisible()


def test_shows_the_disk(line: StatusLine) -> None:
    storage = FakeStorage()
    line.show_disk(DiskStatus(), storage.retention)
    assert line.text("disk") == ""
    storage.measured()
    line.show_disk(storage.disk, storage.retention)
    assert line.text("disk") == "Disk 4.0 GB · 1.1 GB/day · room for 45 days"
    low = replace(storage.disk, level=DiskLevel.LOW, free_bytes=1_600_000_000)
    line.show_disk(low, storage.retention)
    assert line.text("disk") == "Disk 4.0 GB · 1.1 GB/day · 1.6 GB free"
    line.show_disk(storage.disk, Retention(days=7))
    assert line.text("disk") == "Disk 4.0 GB · 1.1 GB/day"


def test_the_fields_stand_still_while_numbers_change(line: StatusLine) -> None:
    labels = [line._labels[name] for name in ("recorded", "waiting", "gaps")]

    def places(events: int, waiting: int) -> list[int]:
        counts = RecordingCounts(events=events, payload_bytes=events * 900, gaps=2)
        status = RecordingStatus(
            "BTC/USDT", RecordingState.RECORDING, counts=counts, waiting=waiting, kept=False
        )
        line.show_recording(status)
        QApplication.processEvents()
        return [label.x() for label in labels]

    settled = places(123_456, 1_234)
    assert settled == sorted(set(settled))
    for events, waiting in ((123_457, 9), (123_999, 0), (124_000, 12)):
        assert places(events, waiting) == settled


def test_the_latest_frame_is_shown_though_not_every_one(
    line: StatusLine, desk: FakeDesk, qtbot: QtBot
) -> None:
    shown: list[str] = []
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    for size in range(1, 31):
        desk.source.apply([("100.00", str(size))], [])
        line.show_frame(frame_of(desk))
        shown.append(line.text("update id"))
    # Qt runs no timer meanwhile.
    assert set(shown) == {"Update 1001"}
    qtbot.waitUntil(lambda: line.text("update id") == "Update 1030")
