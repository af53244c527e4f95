"""The commands `export` and `import`, and the true book after both."""

from __future__ import annotations

import asyncio
import csv as csv_module
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from orderbook_desktop.app.commands import import_files as import_command
from orderbook_desktop.app.commands import packed as packed_command
from orderbook_desktop.app.commands.export import run_export
from orderbook_desktop.app.commands.import_files import run_import
from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.received import UnusableFile
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.storage.exports import recording_export
from orderbook_desktop.storage.exports.exporting import Exported
from orderbook_desktop.storage.imports.importing import ImportedMarket
from orderbook_desktop.storage.imports.report import loose_remarks
from orderbook_desktop.storage.imports.runs import Counts
from orderbook_desktop.storage.reading.recording import Recording
from tests.app.capture_truth import read_truth
from tests.app.command import run_command
from tests.core.reference_book import Pairs, ReferenceBook
from tests.exchange.local.paced import PacedSource
from tests.faults.probe import Probe
from tests.formats.rebuild_tardis import books
from tests.storage.imports.made import Collected
from tests.storage.recording_fixtures import Tape

_MEMBERS = ("--format", "tardis", "-o")


def capture(path: Path, snapshot_levels: int = 500) -> Path:
    return write_capture(path, seed=5, seconds=20, activity=0.3, snapshot_levels=snapshot_levels)


def true_books(path: Path) -> dict[int, tuple[Pairs, Pairs]]:
    """Return the books of a capture's lines by event time, as dicts of Decimals."""
    book, found, waiting = ReferenceBook(), {}, []
    update_id = 0
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
        message = json.loads(line.partition(b" ")[2])
        if "lastUpdateId" in message:
            book.take(json.dumps(message).encode())
            update_id = message["lastUpdateId"]
        elif "@depth@" in message.get("stream", ""):
            waiting.append(message["data"])
        for event in waiting if update_id else ():
            if event["u"] > update_id:
                update_id = event["u"]
                found[event["E"]] = book.take(json.dumps(event).encode()).levels
        waiting = [] if update_id else waiting
    return found


def rebuilt(path: Path) -> dict[int, tuple[Pairs, Pairs]]:
    """Return the books of Tardis CSV by event time, as an independent reader makes them."""
    return {
        time // 1000: (sorted(bids.items(), reverse=True), sorted(asks.items()))
        for time, bids, asks in books(path)
    }


@pytest.mark.cold_start
def test_what_is_imported_and_exported_is_the_true_book(tmp_path: Path) -> None:
    path = capture(tmp_path / "capture.jsonl.gz")
    done = run_command(tmp_path, "import", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (0, 3), done.stderr
    assert done.stdout.startswith("BTCUSDT: 19")
    assert " events in 1 unbroken run, " in done.stdout
    assert "orderbook-desktop: BTCUSDT: 2 events belong to no known book" in done.stderr
    assert re.search(r"BTCUSDT: \d+ trades, .*, into book\.", done.stdout)
    assert "416 single trades were taken as" in done.stderr
    assert "capture.jsonl.gz: left out 495 lines of the stream bookTicker." in done.stderr
    out = tmp_path / "book.csv.gz"
    done = run_command(tmp_path, "export", "btc/usdt", *_MEMBERS, str(out))
    assert done.returncode == 0, done.stderr
    assert f"{out}: " in done.stdout
    assert "rows of 1 unbroken run" in done.stdout
    truth = true_books(path)
    assert len(truth) > 150
    assert rebuilt(out) == truth

    # Import and export of the exported file give the same file.
    again = tmp_path / "again.csv.gz"
    assert run_command(tmp_path, "import", str(out), "--db-name", "other").returncode == 0
    done = run_command(tmp_path, "export", "BTCUSDT", *_MEMBERS, str(again), "--db-name", "other")
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == out.read_bytes()

    # The trades, too.
    for db_name in ("book", "other"):
        csv, members = tmp_path / f"{db_name}.csv", ("--format", "tardis-trades", "-o")
        where = ("--db-name", db_name)
        if db_name == "other":
            done = run_command(tmp_path, "import", str(tmp_path / "book.csv"), *where)
            assert done.returncode == 0, done.stderr
            assert re.search(r"^BTCUSDT: \d+ trades, .*, into other\.$", done.stdout, re.MULTILINE)
        done = run_command(tmp_path, "export", "BTC/USDT", *members, str(csv), *where)
        assert done.returncode == 0, done.stderr
        assert re.search(r"book.csv: \d+ trades|other.csv: \d+ trades", done.stdout)
    trades = (tmp_path / "book.csv").read_bytes()
    assert trades == (tmp_path / "other.csv").read_bytes()
    assert _bought_and_sold(trades) == _single_trades(path)


def _bought_and_sold(data: bytes) -> dict[tuple[Decimal, str], Decimal]:
    """What was traded at each price, of a file in Tardis' layout."""
    sums: dict[tuple[Decimal, str], Decimal] = {}
    for row in csv_module.DictReader(data.decode().splitlines()):
        key = Decimal(row["price"]), row["side"]
        sums[key] = sums.get(key, Decimal()) + Decimal(row["amount"])
    return sums


def _single_trades(path: Path) -> dict[tuple[Decimal, str], Decimal]:
    """What was traded at each price, of a capture's lines."""
    sums: dict[tuple[Decimal, str], Decimal] = {}
    for line in gzip.decompress(path.read_bytes()).splitlines():
        message = json.loads(line.partition(b" ")[2])
        if message.get("stream", "").endswith("@trade"):
            trade = message["data"]
            key = Decimal(trade["p"]), "sell" if trade["m"] else "buy"
            sums[key] = sums.get(key, Decimal()) + Decimal(trade["q"])
    return sums


async def test_a_played_capture_recorded_and_exported_is_the_true_book(tmp_path: Path) -> None:
    # The whole book fits into the snapshot that the recorder requests.
    path = capture(tmp_path / "capture.jsonl.gz", snapshot_levels=1000)
    last_id = read_truth(path).last_id
    # The capture plays slowly until it is recorded.
    source, probe = PacedSource(path, speed=1), Probe(tmp_path / "data")
    async with LocalExchange(source) as exchange:
        settings = load_settings(rest_url=exchange.rest_url, ws_url=exchange.ws_url)
        recorder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orderbook_desktop", "record", "BTC/USDT"),
            env={
                **os.environ,
                "ORDERBOOK_REST_URL": settings.rest_url,
                "ORDERBOOK_WS_URL": settings.ws_url,
                "ORDERBOOK_DATA_DIR": str(tmp_path / "data"),
            },
            stderr=subprocess.PIPE,
        )
        assert recorder.stderr is not None
        while b"BTC/USDT: synced" not in (line := await recorder.stderr.readline()):
            assert line, "the recorder has ended"
        source.speed = 10
        await exchange.finished()
        async with asyncio.timeout(60):
            while await probe.last_id() < last_id:
                await asyncio.sleep(0.1)
        recorder.send_signal(signal.SIGTERM)
        _, errors = await recorder.communicate()
    assert recorder.returncode == 0, errors
    out = tmp_path / "book.csv"
    done = await asyncio.to_thread(
        run_command, tmp_path / "data", "export", "BTC/USDT", *_MEMBERS, str(out)
    )
    assert done.returncode == 0, done.stderr
    truth, shown = true_books(path), rebuilt(out)
    assert max(shown) == max(truth)
    times = sorted(truth)
    # The recording's first book is a little later than that of the collector.
    for time, book in shown.items():
        assert book == truth[times[bisect_right(times, time) - 1]], time
    assert len(shown) > 100


@pytest.mark.parametrize("form", ["tardis", "parquet", "hftbacktest"])
def test_a_part_of_the_recording(joined: Path, tmp_path: Path, form: str) -> None:
    run_command(joined, "import", str(capture(tmp_path / "c")))
    whole, part = tmp_path / "whole", tmp_path / "part"
    arguments = ("export", "BTCUSDT", "--format", form, "-o")
    assert run_command(joined, *arguments, str(whole)).returncode == 0
    done = run_command(
        joined, *arguments, str(part), "--from", "1723161260000", "--to", "1723161265000"
    )
    assert done.returncode == 0, done.stderr
    assert 0 < part.stat().st_size < whole.stat().st_size


def test_gaps_are_reported(joined: Path, tmp_path: Path) -> None:
    made = Collected().snapshot().events(30).gap().events(5).snapshot().events(20)
    path = tmp_path / "c"
    path.write_bytes(b"".join(made.lines()))
    done = run_command(joined, "import", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BTCUSDT: 50 events in 2 unbroken runs, ")
    # Five events after the hole are stored, and belong to no known book.
    missing = f"update ids {made.diffs[29].final_id + 1} to {made.diffs[34].final_id}"
    sentence = f": the exchange's stream left out update ids; the book is not known at {missing}\n"
    assert sentence in done.stderr
    assert "5 events belong to no known book" in done.stderr
    done = run_command(joined, "export", "BTCUSDT", *_MEMBERS, str(tmp_path / "out"))
    assert "rows of 2 unbroken runs" in done.stdout
    assert done.stderr.startswith("orderbook-desktop: gap from ")
    assert done.stderr.endswith(sentence)
    done = run_command(joined, "import", str(path))
    assert done.stdout == "BTCUSDT: all of it is there already; nothing was imported.\n"


def test_the_new_events_of_a_file_that_grew_are_reported(joined: Path, tmp_path: Path) -> None:
    lines = Collected().snapshot().events(50).lines()
    path = tmp_path / "c"
    for end, sentence in ((21, ""), (22, "20 more events were"), (51, "21 more events were")):
        path.write_bytes(b"".join(lines[:end]))
        done = run_command(joined, "import", str(path))
        assert done.returncode == 0, done.stderr
        assert " in 1 unbroken run, " in done.stdout
        assert done.stderr == (
            f"orderbook-desktop: BTCUSDT: {sentence} there already.\n" * bool(sentence)
        )
    done = run_command(joined, "verify", "BTC/USDT", "--json")
    assert json.loads(done.stdout)["events"] == 50
    path.write_bytes(b"".join((lines[0], lines[1][:13] + b"7" + lines[1][14:], *lines[2:])))
    done = run_command(joined, "import", str(path))
    assert done.returncode == 1
    assert "the files differ from what is recorded of BTCUSDT" in done.stderr
    events = Collected(Tape("ETHUSDT", step_ms=700)).snapshot().events(2).lines()
    path.write_bytes(b"".join(events[1:]))
    for sentence in ("2 events, kept apart", "all of it is there already"):
        done = run_command(joined, "import", str(path))
        assert done.stdout.startswith(f"ETHUSDT: {sentence}"), done.stderr


def test_an_import_is_refused_by_line(joined: Path, tmp_path: Path) -> None:
    path = capture(tmp_path / "c")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((*lines[:60], b"17 nonsense\n", *lines[60:])))
    done = run_command(joined, "import", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"orderbook-desktop: Nothing was imported: line 61 of {path} is not a message"
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"hello\n", "line 1 of .* is neither collector lines"),
        (None, "does not exist"),
    ],
)
def test_a_missing_file(joined: Path, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    done = run_command(joined, "import", str(path))
    assert done.returncode == 1
    assert re.search(sentence, done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes by name")
def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    settings = load_settings(data_dir=str(tmp_path / "data"))
    for name, sentence in (("pipe", "is not a file but a device or a pipe"), (".", "is a folder")):
        for form in (None, ImportFormat.RAW, ImportFormat.TARDIS):
            with pytest.raises(UnusableFile, match=sentence):
                run_import(settings, [tmp_path / name], form)


_FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from orderbook_desktop.app.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_more_files_than_may_be_open_at_first(tmp_path: Path) -> None:
    paths = []
    for number, line in enumerate(Collected().snapshot().events(80).lines()):
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_bytes(line)
    done = subprocess.run(
        [sys.executable, "-c", _FEW_FILES, "import", *map(str, paths)],
        env={**os.environ, "ORDERBOOK_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("BTCUSDT: 80 events in 1 unbroken run"), done.stderr


def test_a_hole_without_a_book_after_it_is_reported(joined: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    lines = Collected().snapshot().events(90).lines()
    path.write_bytes(b"".join(lines[:30] + lines[40:]))
    done = run_command(joined, "import", str(path))
    assert done.returncode == 0, done.stderr
    assert "BTCUSDT: update ids are missing after 20" in done.stderr
    assert "and no whole book follows." in done.stderr
    assert " events belong to no known book" in done.stderr


def test_what_lets_loose_events_join_is_said_truly() -> None:
    first, second = loose_remarks(5, Counts(loose=5, unjoinable=2))
    assert first.startswith("3 events belong to no known book, and will join one if a file is ")
    assert second.startswith("2 events belong to no known book, as what comes before can't be used")
    (first,) = loose_remarks(1, Counts(loose=9, unjoinable=9))
    assert first.startswith("1 event belongs to no known book, as ")
    assert list(loose_remarks(0, Counts(loose=4, unjoinable=4))) == []


def test_times_in_another_unit_are_reported(joined: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    lines = Collected().snapshot().events(20).lines()
    path.write_bytes(b"".join(line[:13] + line[19:] for line in lines))
    done = run_command(joined, "import", str(path))
    assert done.stdout.startswith("BTCUSDT: 20 events")
    assert "times in c were read as milliseconds." in done.stderr
    assert "long before" not in done.stderr


@asynccontextmanager
async def _stopped_while_closing(*_: object, **__: object) -> AsyncIterator[None]:
    yield
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_a_request_to_end_after_the_whole_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def done(*_: object) -> list[ImportedMarket]:
        return [ImportedMarket("BTCUSDT", (), 2, Counts())]

    monkeypatch.setattr(import_command, "open_database", _stopped_while_closing)
    monkeypatch.setattr(import_command, "import_messages", done)
    assert run_import(load_settings(), [capture(tmp_path / "c")], None) == 0
    assert capsys.readouterr().out.startswith("BTCUSDT: all of it is there already")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_a_request_to_end_after_the_whole_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"

    async def timeline(_: object) -> Timeline:
        return Timeline((Cover("", 0, 9, 0, 9),), ())

    async def done(*_: object) -> Exported:
        path.touch()
        return Exported(7, 1, 0)

    monkeypatch.setattr(packed_command, "open_database", _stopped_while_closing)
    monkeypatch.setattr(Recording, "timeline", timeline)
    monkeypatch.setattr(recording_export, "export", done)
    arguments = (load_settings(), "BTCUSDT", ExportFormat.TARDIS, path)
    assert run_export(*arguments, from_ms=None, to_ms=None, force=False) == 0
    assert "7 rows of 1 unbroken run" in capsys.readouterr().out


def test_two_formats_at_once(joined: Path, tmp_path: Path) -> None:
    path = capture(tmp_path / "c")
    (tmp_path / "t").write_text("binance,BTCUSDT,1,2,true,bid,1,2\n")
    done = run_command(joined, "import", str(path), str(tmp_path / "t"))
    assert done.returncode == 1
    assert "holds Tardis CSV" in done.stderr
    assert "import them separately" in done.stderr


def test_nothing_recorded_yet(joined: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_command(joined, "export", "BTC/USDT", *_MEMBERS, str(out))
    assert done.returncode == 1
    assert "Nothing is recorded in" in done.stderr
    assert not out.exists()
    run_command(joined, "import", str(capture(tmp_path / "c")))
    for arguments in (["ETH/USDT"], ["BTC/USDT", "--from", "2030-01-01T00:00Z"]):
        done = run_command(joined, "export", *arguments, *_MEMBERS, str(out))
        assert done.returncode == 1
        assert f"Nothing is recorded of {arguments[0]}" in done.stderr
    assert not out.exists()
    times = ("--from", "2024-08-09T00:00Z", "--to", "2024-08-08T00:00Z")
    done = run_command(joined, "export", "BTC/USDT", *_MEMBERS, str(out), *times)
    assert "but must be a time after --from." in done.stderr
    done = run_command(joined, "export", "B C", *_MEMBERS, str(out))
    assert "SYMBOL is 'B C', but must be a spot symbol" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
@pytest.mark.parametrize("command", ["import", "export"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, command: str) -> None:
    data = tmp_path / "data"
    path = write_capture(tmp_path / "c", seed=5, seconds=600)
    arguments = [str(path)]
    if command == "export":
        assert run_command(data, "import", str(path)).returncode == 0
        arguments = ["BTC/USDT", *_MEMBERS, str(tmp_path / "out.csv.gz")]
    process = subprocess.Popen(
        [sys.executable, "-m", "orderbook_desktop", command, *arguments, "--env", "development"],
        env={**os.environ, "ORDERBOOK_DATA_DIR": str(data)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "ready" in line.lower():
            break
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1, errors
    assert "orderbook-desktop: Stopped; nothing was" in errors
    left = sorted(one.name for one in tmp_path.iterdir())
    assert left == ["c", "data"]


def test_decimals_are_exact_through_import_and_export(joined: Path, tmp_path: Path) -> None:
    path = capture(tmp_path / "c")
    run_command(joined, "import", str(path))
    out = tmp_path / "book.csv"
    run_command(joined, "export", "BTCUSDT", *_MEMBERS, str(out))
    prices = {line.rsplit(",", 2)[1] for line in out.read_text().splitlines()[1:]}
    assert any("." in price for price in prices)
    assert all(Decimal(price) == Decimal(price).quantize(Decimal("0.01")) for price in prices)


def test_an_unknown_format_is_explained_in_words(tmp_path: Path) -> None:
    done = run_command(tmp_path, "export", "BTC/USDT", "--format", "none", "-o", "x")
    assert done.returncode == 2
    assert "'--format': 'none' is not one of" in " ".join(done.stderr.split())


def test_an_import_is_removed_after_asking(joined: Path, tmp_path: Path) -> None:
    path = capture(tmp_path / "c")
    assert run_command(joined, "import", str(path)).returncode == 0
    done = run_command(joined, "remove", "BTC/USDT")
    assert done.returncode == 1
    assert "This removes " in done.stderr
    assert "there is no terminal to ask on; give --yes to remove it." in done.stderr
    (listed,) = json.loads(run_command(joined, "recordings", "--json").stdout)
    key = listed["imports"][0]["id"]
    for empty in ("", " "):
        done = run_command(joined, "remove", "BTC/USDT", "--import", empty, "--yes")
        assert done.returncode == 2
        assert "it is empty; name the id of an import" in done.stderr
    for unclear, code, sentence in (
        (key[:1], 2, "give at least 4 characters of the id"),
        ("none", 1, "BTCUSDT has no import whose id begins with none; `orderbook-desktop"),
    ):
        done = run_command(joined, "remove", "BTC/USDT", "--import", unclear, "--yes")
        assert done.returncode == code
        assert sentence in " ".join(done.stderr.split())
    done = run_command(joined, "remove", "BTC/USDT", "--import", key[:10], "--yes", "--json")
    assert done.returncode == 0, done.stderr
    # A part of an id is enough, so the whole one is named before the removal.
    assert f"That is the whole of 1 import {key}, of all files that were joined in it." in (
        done.stderr
    )
    assert json.loads(done.stdout)["events"] == listed["imports"][0]["events"]
    done = run_command(joined, "remove", "BTC/USDT", "--import", key, "--yes")
    assert done.returncode == 1
    assert "has no import whose id begins with" in done.stderr


def test_the_exchanges_zips_come_in_and_trades_go_out(joined: Path, tmp_path: Path) -> None:
    name = "BTCUSDT-aggTrades-2025-01-31"
    rows = [f"{at},94000.0{at},0.5,{at},{at},{1738281600000000 + at},False,True" for at in range(9)]
    path, beside = tmp_path / f"{name}.zip", tmp_path / f"{name}.zip.CHECKSUM"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.csv", "\n".join(rows) + "\n")
    beside.write_text("0" * 64 + f"  {path.name}\n")
    done = run_command(joined, "import", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "zip does not match its checksum in" in done.stderr
    beside.unlink()
    done = run_command(joined, "import", str(path))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"BTCUSDT: 9 trades, .*, into \w+\.\n", done.stdout)
    assert done.stderr == f"orderbook-desktop: times in {path.name} were read as microseconds.\n"
    out = tmp_path / "trades.csv"
    members = ("export", "BTC/USDT", "-o", str(out), "--force", "--format")
    done = run_command(joined, *members, "tardis-trades", "--to", "1738281600001")
    assert done.returncode == 0, done.stderr
    assert "9 trades were repaired and never received: their local_timestamp is" in done.stderr
    texts = [row["price"] for row in csv_module.DictReader(out.read_text().splitlines())]
    assert texts == ["94000", *(f"94000.0{at}" for at in range(1, 9))]
    done = run_command(joined, *members, "parquet-trades", "--from", "1738281600001")
    assert done.returncode == 1
    assert "Nothing is recorded of the trades of BTC/USDT" in done.stderr
