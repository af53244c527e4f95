"""Packed recordings on the command line and in Python: written, read, and told from others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import orderbook_desktop as od
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.local.synthetic import write_capture
from tests.app.command import run_command

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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a recording, and the file it was packed into."""
    folder = tmp_path_factory.mktemp("recorded")
    path = write_capture(folder / "capture", seed=5, seconds=70, activity=0.2)
    assert run_command(folder, "import", str(path)).returncode == 0
    done = run_command(folder, "pack", "btc/usdt", "-o", str(folder / "a.obd"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("BTCUSDT: ")
    assert lines[0].endswith(" events in 1 unbroken run, and 2 events of no known book.")
    assert lines[1].startswith(f"{folder / 'a.obd'}: ")
    return folder


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return folder / "a.obd"


def test_it_is_read_without_a_database(folder: Path, path: Path, tmp_path: Path) -> None:
    listed = run_command(tmp_path, "recordings", str(path), "--json")
    (recording,) = json.loads(listed.stdout)
    (recorded,) = json.loads(run_command(folder, "recordings", "--json").stdout)
    same = ("market", "from_ms", "to_ms", "events", "segments", "gaps", "bytes")
    assert [recording[name] for name in same] == [recorded[name] for name in same]
    assert recording["file_bytes"] == path.stat().st_size < 1.2 * recording["bytes"]
    assert f"in the file {path}" in run_command(tmp_path, "recordings", str(path)).stdout
    verified = run_command(tmp_path, "verify", str(path), "--json")
    assert (verified.returncode, verified.stderr) == (0, "")
    proven = json.loads(verified.stdout)
    assert (proven["file"], proven["holds"]) == (str(path), True)
    assert proven["recordings"][0]["events"] == recorded["events"]
    for symbol in ((), ("BTC/USDT",)):
        exported = tmp_path / f"from_file{len(symbol)}.csv"
        done = run_command(
            *(tmp_path, "export", *symbol, "--file", str(path)),
            *("--format", "tardis", "-o", str(exported)),
        )
        assert done.returncode == 0, done.stderr
    run_command(folder, "export", "BTC/USDT", "--format", "tardis", "-o", str(tmp_path / "csv"))
    assert exported.read_bytes() == (tmp_path / "csv").read_bytes()
    # No database was made.
    assert not (tmp_path / "database").exists()


def test_python_reads_it(folder: Path, path: Path) -> None:
    with od.open_recording(file=path) as packed, od.open_recording("BTC/USDT", file=path) as named:
        assert (
            (packed.symbol, packed.market)
            == ("BTC/USDT", "BTCUSDT")
            == (*(named.symbol, named.market),)
        )
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


def test_it_is_unpacked(folder: Path, path: Path, tmp_path: Path) -> None:
    done = run_command(tmp_path, "unpack", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BTCUSDT: ")
    assert " in 1 unbroken run and 2 events of no known book, into book." in done.stdout
    packed = run_command(tmp_path, "pack", "BTC/USDT", "-o", str(tmp_path / "b.obd"))
    assert packed.returncode == 0, packed.stderr
    assert (tmp_path / "b.obd").read_bytes() == path.read_bytes()
    again = run_command(folder, "unpack", str(path))
    assert again.stdout == "BTCUSDT: all of it is there already; nothing was unpacked.\n"
    done = run_command(tmp_path, "unpack", str(tmp_path / "none.obd"))
    assert (done.returncode, done.stdout) == (1, "")


def test_what_is_no_recording_is_told(folder: Path, path: Path, tmp_path: Path) -> None:
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
        done = run_command(tmp_path, "verify", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert f"{name} {said}" in done.stderr
        if name != "flipped.obd":
            with pytest.raises(KnownError, match=r"\.$"):
                od.open_recording(file=tmp_path / name)
    done = run_command(folder, "pack", "BTC/USDT", "-o", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is there already" in done.stderr
    done = run_command(folder, "pack", "ETH/USDT", "-o", str(tmp_path / "e.obd"))
    assert done.returncode == 1
    assert "Nothing is recorded of ETH/USDT" in done.stderr
    done = run_command(tmp_path, "export", "--format", "tardis", "-o", str(tmp_path / "o"))
    assert done.returncode == 2
    assert "SYMBOL" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
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
