"""Exports are complete or absent, hold the recording as it was, and take little memory."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import threading
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.archive import ChunkSlice, DamagedChunk
from orderbook_desktop.core.archive.rows import LevelRows, RowStream
from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.storage.exports.exporting import (
    ExportJob,
    NothingRecorded,
    RecordingChanged,
    TargetExists,
    TargetUnwritable,
    export,
)
from tests.formats.taped import Taped, traded, two_runs

pytestmark = pytest.mark.parametrize("form", list(ExportFormat))


def _files(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def _job(taped: Taped, form: ExportFormat, path: Path) -> ExportJob:
    return ExportJob("BTCUSDT", taped.slices, form, path, trades=taped.trades)


def _reading(job: ExportJob, slices: Callable[[], AsyncGenerator[ChunkSlice]]) -> ExportJob:
    """The same of other slices."""
    return replace(job, slices=slices, trades=partial(traded, slices))


def _changing(job: ExportJob, *passes: list[ChunkSlice]) -> ExportJob:
    """The same of a recording that changes with each pass."""

    def source() -> Callable[[], AsyncGenerator[ChunkSlice]]:
        left = list(passes)

        async def slices() -> AsyncGenerator[ChunkSlice]:
            for part in left.pop(0):
                yield part

        return slices

    return replace(job, slices=source(), trades=partial(traded, source()))


async def _is_as_it_was_first(job: ExportJob, taped: Taped) -> None:
    """Check that a recording which changes is exported as it was when it was read, once."""
    expected = job.path.with_name("expected")
    await export(job, lambda _: None)
    await export(_job(taped, job.format, expected), lambda _: None)
    assert job.path.read_bytes() == expected.read_bytes()


async def test_progress_passes_through_all_of_it(form: ExportFormat, tmp_path: Path) -> None:
    taped = two_runs()
    reports: list[int] = []
    await export(_job(taped, form, tmp_path / "out"), reports.append)
    ends = [part.chunk.header.coverage.to_event_ms for part in taped.parts]
    assert reports == ends * form.passes


async def test_a_file_that_is_there_is_kept(form: ExportFormat, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(TargetExists, match="out is there already; choose another file, or"):
        await export(_job(two_runs(), form, tmp_path / "out"), lambda _: None)
    assert (tmp_path / "out").read_text() == "precious"
    job = replace(_job(two_runs(), form, tmp_path / "out"), replace=True)
    await export(job, lambda _: None)
    assert (tmp_path / "out").stat().st_size > 1000
    assert _files(tmp_path) == ["out"]


async def test_a_file_that_comes_meanwhile_is_kept(form: ExportFormat, tmp_path: Path) -> None:
    job = _job(two_runs(), form, tmp_path / "out")
    with pytest.raises(TargetExists):
        await export(job, lambda _: (tmp_path / "out").touch())
    assert _files(tmp_path) == ["out"]


async def test_what_fails_leaves_nothing(form: ExportFormat, tmp_path: Path) -> None:
    taped = two_runs()

    async def damaged() -> AsyncGenerator[ChunkSlice]:
        yield taped.parts[0]
        raise DamagedChunk("rotten")

    with pytest.raises(DamagedChunk):
        await export(_reading(_job(taped, form, tmp_path / "out"), damaged), lambda _: None)
    assert _files(tmp_path) == []


async def test_a_full_disk_leaves_nothing(
    form: ExportFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TargetUnwritable, match=r"No space left on device.*nothing was exported"):
        await export(_job(two_runs(), form, tmp_path / "out"), lambda _: None)
    assert _files(tmp_path) == []


async def test_a_folder_that_cannot_be_synced_is_no_failure(
    form: ExportFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    await export(_job(two_runs(), form, tmp_path / "out"), lambda _: None)
    assert _files(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["missing/out", "."])
async def test_a_place_that_cannot_be_written(
    form: ExportFormat, tmp_path: Path, name: str
) -> None:
    with pytest.raises(TargetUnwritable):
        await export(_job(two_runs(), form, tmp_path / name), lambda _: None)


@pytest.mark.skipif(sys.platform == "win32", reason="no such files")
async def test_a_link_is_followed_and_a_device_is_kept(form: ExportFormat, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "there")
    (tmp_path / "there").write_text("old")
    await export(replace(_job(two_runs(), form, tmp_path / "out"), replace=True), lambda _: None)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "there").stat().st_size > 1000
    os.mkfifo(tmp_path / "pipe")
    job = replace(_job(two_runs(), form, tmp_path / "pipe"), replace=True)
    with pytest.raises(TargetUnwritable, match="not a file but a device or a pipe"):
        await export(job, lambda _: None)
    assert sorted(_files(tmp_path)) == ["out", "pipe", "there"]


async def test_cancelled_it_leaves_nothing(form: ExportFormat, tmp_path: Path) -> None:
    taped = two_runs()
    came = asyncio.Event()

    async def endless() -> AsyncGenerator[ChunkSlice]:
        while True:
            for part in taped.parts:
                yield part
                came.set()

    job = _reading(_job(taped, form, tmp_path / "out"), endless)
    running = asyncio.create_task(export(job, lambda _: None))
    await came.wait()
    assert len(_files(tmp_path)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _files(tmp_path) == []


async def test_nothing_is_no_file(form: ExportFormat, tmp_path: Path) -> None:
    what = "BTCUSDT" if form.has_levels else "the trades of BTCUSDT"
    with pytest.raises(NothingRecorded, match=f"Nothing is recorded of {what};"):
        await export(_job(Taped(), form, tmp_path / "out"), lambda _: None)
    assert _files(tmp_path) == []


async def test_the_work_is_done_in_threads(
    form: ExportFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[threading.Thread] = set()
    take, take_trades = RowStream.take, TradeSurvey.take

    def noted(self: RowStream, part: ChunkSlice) -> Iterator[LevelRows]:
        threads.add(threading.current_thread())
        return take(self, part)

    def noted_too(self: TradeSurvey, rows: TradeRows) -> None:
        threads.add(threading.current_thread())
        take_trades(self, rows)

    monkeypatch.setattr(RowStream, "take", noted)
    monkeypatch.setattr(TradeSurvey, "take", noted_too)
    await export(_job(two_runs(), form, tmp_path / "out"), lambda _: None)
    assert threads
    assert threading.main_thread() not in threads


class _Repeated(Taped):
    """A recording of any length: one run, repeated."""

    times = 1

    async def slices(self) -> AsyncGenerator[ChunkSlice]:
        span_ms = 200 * 700
        for at in range(self.times):
            for part in self.parts:
                numbers = part.chunk.numbers
                moved = numbers._replace(
                    event_ms=numbers.event_ms + at * span_ms,
                    received_ns=numbers.received_ns + at * span_ms * 1_000_000,
                )
                header = part.chunk.header
                to_ms = header.coverage.to_event_ms + at * span_ms
                header = replace(header, coverage=replace(header.coverage, to_event_ms=to_ms))
                # A new chunk each time, so that its cached values don't count.
                yield replace(part, chunk=replace(part.chunk, numbers=moved, header=header))


async def test_memory_does_not_grow_with_the_recording(form: ExportFormat, tmp_path: Path) -> None:
    taped = _Repeated()
    taped.run(200)
    peaks = []
    for times in (3, 20, 100):
        taped.times = times
        tracemalloc.start()
        await export(_job(taped, form, tmp_path / f"out{times}"), lambda _: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A row group of Parquet is the most that is ever held; it is larger than this recording.
    is_grouped = form in (ExportFormat.PARQUET, ExportFormat.PARQUET_TRADES)
    allowed = 100 * 1_600 * 8 * 20 if is_grouped else 1 << 20
    assert peaks[2] < peaks[1] + allowed


async def test_what_comes_meanwhile_is_left_out(form: ExportFormat, tmp_path: Path) -> None:
    taped = two_runs()
    # The second time there is more.
    job = _changing(_job(taped, form, tmp_path / "out"), taped.parts[:-1], taped.parts)
    done = await export(job, lambda _: None)
    short = Taped(taped.tape, taped.parts[:-1])
    only = await export(_job(short, form, tmp_path / "only"), lambda _: None)
    assert done == only
    assert (tmp_path / "out").read_bytes() == (tmp_path / "only").read_bytes()


async def test_a_recording_exchanged_meanwhile_is_reported(
    form: ExportFormat, tmp_path: Path
) -> None:
    # The same number of rows and books, but different ones.
    taped, other = Taped(), Taped()
    other.tape.last_id += 10_000
    taped.run(100)
    other.run(100)
    job = _changing(_job(taped, form, tmp_path / "out"), taped.parts, other.parts)
    if form.passes == 1:
        await _is_as_it_was_first(job, taped)
        return
    with pytest.raises(RecordingChanged, match="export it again"):
        await export(job, lambda _: None)


async def test_a_recording_cut_meanwhile_is_reported(form: ExportFormat, tmp_path: Path) -> None:
    taped = two_runs()
    job = _changing(_job(taped, form, tmp_path / "out"), taped.parts, taped.parts[1:])
    if form.passes == 1:
        await _is_as_it_was_first(job, taped)
        return
    with pytest.raises(RecordingChanged, match="export it again"):
        await export(job, lambda _: None)
    assert _files(tmp_path) == []
