"""The command `replay`: other programs, also `record`, run against a recorded time."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

import orderbook_desktop as od
from orderbook_desktop.app.python_api import RecordingReader
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.replay.playback import PlayedEvent
from orderbook_desktop.storage.store.database import Database
from tests.app.command import run_command
from tests.core.reference_book import Pairs, pairs_of
from tests.core.test_real_capture import CAPTURE
from tests.exchange.local.true_book import capture_messages
from tests.replay.test_served import sent_text
from tests.storage.made_trades import asked, received
from tests.storage.recording_fixtures import ServerThread, Tape
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import recorded as recorded_trades


@pytest.fixture(scope="module")
def packed(server: ServerThread, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of half a minute, in a file."""
    folder = tmp_path_factory.mktemp("packed")
    path = write_capture(folder / "capture", seed=5, seconds=30, activity=0.3, snapshot_levels=300)
    file, where = folder / "btcusdt.obd", ("--db-name", "to_be_replayed")
    for command in (["import", str(path)], ["pack", "BTC/USDT", "-o", str(file)]):
        done = run_command(server.folder, *command, *where)
        assert done.returncode == 0, done.stderr
    return file


@contextmanager
def _started(folder: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orderbook_desktop", *arguments],
        env={**os.environ, "ORDERBOOK_DATA_DIR": str(folder), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """The addresses that the process prints."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert " is ready to be replayed; use it with\n" in lines[0], lines
    return dict(one.split("=") for one in lines[1].split())


def _levels(book: BookImage | None) -> tuple[Pairs, Pairs]:
    assert book is not None
    return pairs_of(book.bids), pairs_of(book.asks)


def _events(reader: RecordingReader) -> tuple[list[PlayedEvent], list[bytes]]:
    """The depth events, and the texts of the trades."""
    events = list(reader.play())
    texts = [event.payload for event in events if event.is_trade]
    return [event for event in events if not event.is_trade], texts


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_a_recording_of_a_replay_equals_the_recording(
    server: ServerThread, packed: Path, tmp_path: Path
) -> None:
    given = ("--file", str(packed), "--port", "0", "--speed", "20", "--delay", "3")
    with _started(tmp_path, "replay", *given) as replay:
        addresses = _addresses(replay)
        to = ("--db-name", "of_a_replay")
        with _started(server.folder, "record", "BTC/USDT", *to, **addresses) as record:
            output, _ = replay.communicate(timeout=120)
            record.send_signal(signal.SIGTERM)
            told, _ = record.communicate(timeout=120)
    assert replay.returncode == 0, output
    assert re.search(
        r"^BTC/USDT was played to \S+ .*: 29\d events, \d+ trades\.$", output, re.MULTILINE
    )
    assert "events recorded in" in told
    with (
        od.open_recording(file=packed) as original,
        od.open_recording("BTC/USDT", dsn=server.dsn, db_name="of_a_replay") as recorded,
    ):
        assert not recorded.gaps
        assert not recorded.trade_gaps
        (depth, trades), (depth_again, trades_again) = _events(original), _events(recorded)
        assert trades_again == trades
        # Events of before the recorder's first book belong to no book.
        assert len(depth_again) > 60
        later = depth[-len(depth_again) :]
        assert [event.payload for event in depth_again] == [event.payload for event in later]
        for number in random.Random(3).sample(range(len(later)), 60):
            assert _levels(depth_again[number].book()) == _levels(later[number].book())


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
async def test_a_gap_of_a_recording_is_a_gap_of_the_recording_of_its_replay(
    server: ServerThread, database: Database, tmp_path: Path
) -> None:
    tape = Tape()
    first = await Shelf(database).put(tape, 40, GapCause.DISCONNECT)
    tape.now_ms += 3_600_000
    tape.diffs(5)
    second = await Shelf(database).put(tape, 40)
    traded_ms = [*range(first.events[0].event_ms, first.events[-1].event_ms, 500)]
    traded_ms += [second.events[0].event_ms - 60_000, second.events[9].event_ms]
    trades = [
        received(number, time * 1_000_000, T=time) if number % 3 else asked(number, T=time)
        for number, time in enumerate(traded_ms, 1)
    ]
    await recorded_trades(database, trades)
    given = ("BTC/USDT", "--db-name", database.name, "--port", "0")
    pace = ("--speed", "20", "--skip-gaps", "--delay", "3")
    to = ("--db-name", f"{database.name}_again")

    def play() -> tuple[str, str]:
        with _started(server.folder, "replay", *given, *pace) as replay:
            addresses = _addresses(replay)
            with _started(server.folder, "record", "BTC/USDT", *to, **addresses) as record:
                output, _ = replay.communicate(timeout=120)
                record.send_signal(signal.SIGTERM)
                return output, record.communicate(timeout=120)[0]

    output, told = await asyncio.to_thread(play)
    (gap_line,) = [line for line in output.splitlines() if "gap from" in line]
    assert gap_line.startswith("orderbook-desktop: gap from ")
    assert gap_line.endswith("; programs get the book behind it")
    assert output.endswith(f": 80 events, {len(trades)} trades, 1 gap.\n")
    with od.open_recording("BTC/USDT", dsn=server.dsn, db_name=to[1]) as again:
        (gap,) = again.gaps
        assert gap.first_missing == first.last_id + 1, told
        assert gap.last_missing < second.events[-1].final_id
        depth, texts = _events(again)
        segments = again.segments
    assert texts == [sent_text(trade) for trade in trades]
    payloads = [event.payload for event in depth]
    known = [[event.payload for event in one.events] for one in (first, second)]
    for one, segment, sent in zip((first, second), segments, known, strict=True):
        found = [text for text in payloads if text in sent]
        assert found == sent[-len(found) :]
        assert segment.event_count == len(found) > 0
        book = next(event.book() for event in depth if event.payload == sent[-1])
        assert _levels(book) == _levels(one.book_after(39))


def test_a_part_is_played_as_fast_as_it_goes_to_its_end(packed: Path, tmp_path: Path) -> None:
    with od.open_recording(file=packed) as reader:
        begin = reader.segments[0].first_event_ms + 5_000
        played = reader.play(begin, begin + 10_000, order="exchange")
        depth = [one for one in played if not one.is_trade]
    span = ("--from", str(begin), "--to", str(begin + 10_000))
    order = ("--speed", "max", "--order", "exchange")
    given = ("BTC/USDT", "--file", str(packed), "--port", "0", *order, *span)
    with _started(tmp_path, "replay", *given) as replay:
        address = _addresses(replay)["ORDERBOOK_WS_URL"]
        with connect(f"{address}/ws/btcusdt@depth@100ms", max_size=None) as websocket:
            texts = [text.encode() for text in websocket if isinstance(text, str)]
        output, _ = replay.communicate(timeout=120)
    assert texts == [event.payload for event in depth]
    assert replay.returncode == 0, output
    assert f": {len(depth)} events, " in output.splitlines()[-1]


@pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")
def test_the_frames_are_those_of_the_real_capture(
    server: ServerThread, database: Database, tmp_path: Path
) -> None:
    where = ("--db-name", database.name)
    assert run_command(server.folder, "import", str(CAPTURE), *where).returncode == 0
    given = ("replay", "BTC/USDT", "--port", "0", "--speed", "max", *where)
    with _started(server.folder, *given) as replay:
        address = _addresses(replay)["ORDERBOOK_WS_URL"]
        target = f"{address}/stream?streams=btcusdt@depth@100ms"
        with connect(target, max_size=None) as websocket:
            frames = [text.encode() for text in websocket if isinstance(text, str)]
        assert replay.wait(60) == 0
    captured = [text for _, text in capture_messages(CAPTURE) if b"@depth" in text[:60]]
    # Two events came before the collector's first book.
    assert frames == captured[2:]


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_it_ends_on_request(packed: Path, tmp_path: Path) -> None:
    with _started(tmp_path, "replay", str(packed), "--port", "0") as replay:
        _addresses(replay)
        assert replay.stdout is not None
        assert replay.stdout.readline() == (
            "It begins to play when the first program subscribes. Ctrl-C stops it.\n"
        )
        replay.send_signal(signal.SIGINT)
        output, _ = replay.communicate(timeout=60)
    assert (replay.returncode, output) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_the_last_book_stays_if_that_is_wanted(packed: Path, tmp_path: Path) -> None:
    given = ("--file", str(packed), "--port", "0", "--speed", "max", "--at-once", "--stay")
    with _started(tmp_path, "replay", *given) as replay:
        _addresses(replay)
        assert replay.stdout is not None
        lines = [replay.stdout.readline() for _ in range(3)]
        assert lines[0] == "Ctrl-C stops it.\n"
        assert lines[1].startswith("BTC/USDT was played to ")
        assert lines[2] == "The last book stays. Ctrl-C stops it.\n"
        replay.send_signal(signal.SIGTERM)
        assert replay.communicate(timeout=60)[0] == ""
    assert replay.returncode == 0


_OUTSIDE = ("--from", "2001-01-01", "--to", "2001-01-02")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ETH/USDT"], r"Nothing is recorded of ETH/USDT in .*\.obd; orderbook-desktop"),
        (["BTC/USDT", *_OUTSIDE], r"Nothing is recorded of BTC/USDT from 2001-01-01.* to 2001-01-"),
        (["--from", "2024-01-02", "--to", "2024-01-01"], "--to is '.*', but must be a time after"),
        (["--speed", "0"], "--speed is '0', but must be 0.01 to 10000 times .*, or max"),
        (["--speed", "quick"], "--speed is 'quick', but must be 0.01 to 10000 times"),
        (["--order", "none"], "--order is 'none', but must be received or exchange"),
        (["B TC"], "SYMBOL is 'B TC', but must be a spot symbol"),
        (["--host", "192.0.2.77"], "The replay cannot listen on 192.0.2.77"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    packed: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = run_command(tmp_path, "replay", "--file", str(packed), "--port", "0", *arguments)
    assert done.returncode == 1
    assert re.match(f"orderbook-desktop: .*{told}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_port_in_use_and_a_missing_symbol_are_told(packed: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_command(tmp_path, "replay", "--file", str(packed), "--port", port)
    assert done.returncode == 1
    assert done.stderr == (
        f"orderbook-desktop: Port {port} is already in use, so the replay cannot listen on it; "
        "choose another one with --port.\n"
    )
    assert run_command(tmp_path, "replay").returncode == 2
    done = run_command(tmp_path, "replay", "BTC/USDT", "--from", "noon")
    assert done.returncode == 2
    assert "--from" in done.stderr
    done = run_command(tmp_path, "replay", "BTC/USDT")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("orderbook-desktop: Nothing is recorded in the folder ")
