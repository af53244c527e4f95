"""Packed recordings on the command line and in Python: written, read, and told from others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orderbook_desktop as od
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.local.synthetic import write_capture
from tests.app.warm_program import Ended, WarmProgram
from tests.storage.recording_fixtures import server_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from orderbook_desktop.formats.packed_file import PackedFile, PackedWriter
from orderbook_desktop.storage.exports.packed_file import PackJob, pack
from orderbook_desktop.storage.store.packed_store import PackedStore

source, target = Path(sys.argv[1]), Path(sys.argv[2])
write, count = PackedWriter._write, 0

async def packed():
    with PackedFile(source) as file:
        job = PackJob(dict.fromkeys(file.markets, ""), target)
        await pack(PackedStore(file), job, lambda *_: None)

def killing(writer, data):
    global count
    # Half of it is on the disk.
    write(writer, data[: len(data) // 2])
    writer._file.flush()
    if count == left:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    write(writer, data[len(data) // 2 :])

PackedWriter._write = killing
left = 0
while True:
    child = os.fork()
    if not child:
        asyncio.run(packed())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not target.exists()
    left += 1
assert target.read_bytes() == source.read_bytes()
assert sorted(os.listdir(target.parent)) == sorted({source.name, target.name})
print(left)
"""


@pytest.fixture(scope="module")
def program() -> Iterator[WarmProgram]:
    """The program, for several runs in turn."""
    with WarmProgram() as program:
        yield program


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder, whose database runs, so that no command has to start it."""
    folder = tmp_path_factory.mktemp("recorded")
    with server_in(folder):
        yield folder


@pytest.fixture(scope="module")
def run(program: WarmProgram, folder: Path) -> Run:
    """Run a command, in that folder and its database `book`, or as `env` says."""

    def run(*arguments: str, **env: str) -> Ended:
        done = program.run(*arguments, env={"ORDERBOOK_DATA_DIR": str(folder), **env})
        assert "Traceback" not in done.err
        return done

    return run


@pytest.fixture(scope="module")
def path(run: Run, folder: Path) -> Path:
    """A recording in a file."""
    capture = write_capture(
        folder / "capture", seed=5, seconds=70, activity=0.2, snapshot_levels=300
    )
    path = folder / "a.obd"
    assert run("import", str(capture)).code == 0
    done = run("pack", "btc/usdt", "-o", str(path))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert re.fullmatch(
        r"BTCUSDT: \d+ events in 1 unbroken run, 2 events of no known book, and \d+ trades\.",
        lines[0],
    )
    assert lines[1].startswith(f"{path}: ")
    return path


def test_it_is_read_without_a_database(run: Run, path: Path, tmp_path: Path) -> None:
    here = {"ORDERBOOK_DATA_DIR": str(tmp_path / "data")}
    listed = run("recordings", str(path), "--json", **here)
    (recording,) = json.loads(listed.out)
    (recorded,) = json.loads(run("recordings", "--json").out)
    same = ("market", "from_ms", "to_ms", "events", "segments", "gaps", "bytes")
    assert [recording[name] for name in same] == [recorded[name] for name in same]
    recorded_bytes = recording["bytes"] + recording["trades"]["bytes"]
    assert recording["file_bytes"] == path.stat().st_size < 1.2 * recorded_bytes
    assert recording["trades"] == recorded["trades"]
    assert f"in the file {path}" in run("recordings", str(path), **here).out
    verified = run("verify", str(path), "--json", **here)
    assert (verified.code, verified.err) == (0, "")
    proven = json.loads(verified.out)
    assert (proven["file"], proven["holds"]) == (str(path), True)
    assert proven["recordings"][0]["events"] == recorded["events"]
    files = [tmp_path / name for name in ("recorded", "only", "named")]
    places: list[tuple[str, ...]] = [
        ("BTC/USDT",),
        ("--file", str(path)),
        ("BTC/USDT", "--file", str(path)),
    ]
    for file, place in zip(files, places, strict=True):
        env = here if "--file" in place else {}
        done = run("export", *place, "--format", "tardis", "-o", str(file), **env)
        assert done.code == 0, done.err
    recorded_csv, *others = (file.read_bytes() for file in files)
    assert others == [recorded_csv] * 2
    # No database was made.
    assert not (tmp_path / "data" / "database").exists()


def test_python_reads_it(folder: Path, path: Path) -> None:
    with od.open_recording(file=path) as packed, od.open_recording("BTC/USDT", file=path) as named:
        assert (packed.symbol, packed.market) == ("BTC/USDT", "BTCUSDT")
        assert (named.symbol, named.market) == ("BTC/USDT", "BTCUSDT")
        with od.open_recording("BTC/USDT", data_dir=folder) as recorded:
            assert packed.segments == recorded.segments
            middle = (packed.segments[0].first_event_ms + packed.segments[0].last_event_ms) // 2
            one, other = packed.book_at(middle), recorded.book_at(middle)
        assert one.last_update_id == other.last_update_id
        assert (one.bids.prices == other.bids.prices).all()
        assert sum(len(rows) for rows in packed.events()) > 0
    with pytest.raises(KnownError, match=r"Nothing is recorded of ETH/USDT in .*a\.obd"):
        od.open_recording("ETH/USDT", file=path)
    with pytest.raises(TypeError, match="needs a symbol, or a file"):
        od.open_recording()


def test_it_is_unpacked(run: Run, path: Path, tmp_path: Path) -> None:
    done = run("unpack", str(path), DB_NAME="other")
    assert done.code == 0, done.err
    assert done.out.startswith("BTCUSDT: ")
    assert " in 1 unbroken run, 2 events of no known book and " in done.out
    assert done.out.endswith(" trades, into other.\n")
    packed = run("pack", "BTC/USDT", "-o", str(tmp_path / "b.obd"), DB_NAME="other")
    assert packed.code == 0, packed.err
    assert (tmp_path / "b.obd").read_bytes() == path.read_bytes()
    again = run("unpack", str(path))
    assert again.out == "BTCUSDT: all of it is there already; nothing was unpacked.\n"
    done = run("unpack", str(tmp_path / "none.obd"))
    assert (done.code, done.out) == (1, "")


def test_what_is_no_recording_is_told(run: Run, path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    (tmp_path / "cut.obd").write_bytes(data[: len(data) // 2])
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 1
    (tmp_path / "flipped.obd").write_bytes(flipped)
    (tmp_path / "notes.txt").write_text("notes")
    for name, said in (
        ("cut.obd", "is damaged: its end is missing or changed; use another copy of it."),
        ("flipped.obd", "is damaged: the checksum of "),
        ("notes.txt", "is no packed recording (.obd)."),
        ("none.obd", "does not exist."),
    ):
        done = run("verify", str(tmp_path / name))
        assert (done.code, done.out) == (1, "")
        assert done.err.count("\n") == 1
        assert f"{name} {said}" in done.err
        if name != "flipped.obd":
            with pytest.raises(KnownError, match=r"\.$"):
                od.open_recording(file=tmp_path / name)
    done = run("pack", "BTC/USDT", "-o", str(path))
    assert (done.code, done.out) == (1, "")
    assert "is there already" in done.err
    done = run("pack", "ETH/USDT", "-o", str(tmp_path / "e.obd"))
    assert done.code == 1
    assert "Nothing is recorded of ETH/USDT" in done.err
    done = run("export", "--format", "tardis", "-o", str(tmp_path / "o"))
    assert done.code == 2
    assert "SYMBOL" in done.err


def test_killed_at_each_write_it_is_whole_or_absent(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.obd"
    source.write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(source), str(tmp_path / "b.obd")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    # At least the header, a chunk, a segment, four tables, the directory and the footer.
    assert int(done.stdout) >= 9
