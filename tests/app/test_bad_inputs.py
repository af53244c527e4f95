"""All commands with all kinds of bad input: one sentence, exit 1 or 2, little memory."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.storage.store.database import Database
from tests.app.conftest import NOWHERE
from tests.app.warm_program import Ended, WarmProgram
from tests.storage.fake_mongo import error, hello, serving
from tests.storage.recording_fixtures import ServerThread, all_of, database, server
from tests.storage.verification.test_verification import put_back, recorded

__all__ = ["database", "server"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and Linux's devices")

_MOST_MB = 400
_LONG = "A" * 10_000
_EVENT = (
    b'1700000000000000000 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate",'
    b'"E":1700000000000,"s":"BTCUSDT","U":1,"u":2,"b":[["1.00","1.00"]],"a":[]}}\n'
)
_SOON = "serverSelectionTimeoutMS=500&connectTimeoutMS=500"
_HEADER = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"


@pytest.fixture(scope="module")
def program() -> Iterator[WarmProgram]:
    """The program, for several runs in turn."""
    with WarmProgram() as program:
        yield program


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the program use addresses without an exchange, and the test's own data folder."""
    monkeypatch.setenv("ORDERBOOK_REST_URL", NOWHERE["rest_url"])
    monkeypatch.setenv("ORDERBOOK_WS_URL", NOWHERE["ws_url"])
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(tmp_path / "data"))


def sentence(done: Ended) -> str:
    """Return the sentence of the failed command, which must be its only output."""
    assert done.code == 1, done
    assert done.err.startswith("orderbook-desktop: "), done
    assert done.err.endswith(".\n"), done
    assert done.err.count("\n") == 1, done
    assert "Traceback" not in done.err
    assert done.err.rstrip("\n").isprintable(), done
    assert not done.out, done
    assert done.peak_mb < _MOST_MB
    return done.err.removeprefix("orderbook-desktop: ")


def usage(done: Ended) -> str:
    """Return the command's message about its usage."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert done.peak_mb < _MOST_MB
    return done.err


def _export(symbol: str, path: Path | str = "o.csv", form: str = "tardis") -> list[str]:
    return ["export", symbol, "--format", form, "-o", str(path)]


def _on(server: ServerThread) -> dict[str, str | None]:
    """Return the environment of a program that joins `server`, and so starts no server."""
    return {"ORDERBOOK_DATA_DIR": str(server.folder)}


_OF_SYMBOL: dict[str, Callable[[str], list[str]]] = {
    "verify": lambda symbol: ["verify", symbol],
    "export": _export,
    "record": lambda symbol: ["record", symbol, "--duration", "1"],
    "serve": lambda symbol: ["serve", symbol, "--port", "0"],
    "window": lambda symbol: ["--symbol", symbol],
    "doctor": lambda symbol: ["doctor", "--symbol", symbol],
}


@pytest.mark.parametrize("command", _OF_SYMBOL)
def test_symbols(program: WarmProgram, command: str) -> None:
    for symbol in ("", "?", "B TC", "A/B/C", "BTC\x1b[31m\x07", "BTC\nUSDT", "\udcff", "\u202eBTC"):
        assert " must be a spot symbol" in sentence(program.run(*_OF_SYMBOL[command](symbol)))
    for symbol in (_LONG, f"{_LONG}/USDT", "币" * 41):
        text = sentence(program.run(*_OF_SYMBOL[command](symbol)))
        assert " must be a spot symbol" in text
        assert len(text) < 300


@pytest.mark.parametrize("command", ["verify", "export"])
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_times(program: WarmProgram, command: str, option: str) -> None:
    begin = _OF_SYMBOL[command]("BTC/USDT")
    for time in ("", "yesterday", "-1", "2024-13-45", "9" * 5_000, "nan", "24:00", "\x1b[31m"):
        assert option in usage(program.run(*begin, f"{option}={time}"))
    text = sentence(program.run(*begin, "--from", "2024-01-02", "--to", "2024-01-01"))
    assert "must be a time after --from" in text


_ON_A_FOLDER = {
    "recordings": ["recordings"],
    "verify": ["verify", "BTC/USDT"],
    "export": _export("BTC/USDT"),
    "import": ["import", "capture"],
    "record": ["record", "BTC/USDT", "--duration", "1"],
    "reset": ["doctor", "--reset-database-password"],
}


@pytest.mark.parametrize("command", [*_ON_A_FOLDER, "serve"])
def test_data_folders(program: WarmProgram, tmp_path: Path, command: str) -> None:
    (tmp_path / "capture").write_bytes(_EVENT)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "circle").symlink_to("circle")
    for folder in (
        *(tmp_path / "file", tmp_path / "file" / "in", tmp_path / "circle"),
        *(tmp_path / ("x" * 300), "y/" * 3_000, "/proc/nothing", "a\nb/../\x1b[31m/" + "z" * 256),
    ):
        arguments = _ON_A_FOLDER.get(command, ["serve", "--port", "0"])
        done = program.run(
            *arguments, env={"ORDERBOOK_DATA_DIR": str(folder)}, folder=tmp_path, timeout_s=60
        )
        if command == "serve":
            # `serve` prints its address before the database is ready.
            done = Ended(done.code, "", done.err, done.peak_mb)
        sentence(done)


def test_an_unusable_data_folder_is_a_finding_of_doctor(
    program: WarmProgram, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file")
    done = program.run("doctor", env={"ORDERBOOK_DATA_DIR": str(tmp_path / "file")})
    assert (done.code, done.err) == (1, "")
    assert f"{tmp_path / 'file'} can't be written" in done.out


def _contents() -> dict[str, bytes]:
    """Return the contents of unreadable files, by name; they are large, so made when needed."""
    return {
        "empty": b"",
        "lines": b"\n" * 100_000,
        "zeros": bytes(1_000_000),
        "binary": bytes(range(256)) * 400,
        "text": b"hello\nworld\n",
        "json": b'{"a":1}\n',
        "time": b"1700000000000000000\n",
        "deep": b"1700000000000000000 " + b"[" * 40_000_000 + b"\n",
        "deep_objects": b"1700000000000000000 " + b'{"a":' * 100_000 + b"\n",
        "long": b"1700000000000000000 " + b"x" * 130_000_000,
        "long_time": b"9" * 5_000 + b" {}\n",
        "futures": _EVENT.replace(b'"u":2', b'"u":2,"pu":0,"T":1700000000000'),
        "price": _EVENT.replace(b'"1.00","1.00"', b'"1e999999999","1.00"'),
        "id": _EVENT.replace(b'"U":1', b'"U":1' + b"0" * 5_000),
        "utf-16": _EVENT.decode().encode("utf-16"),
        "name": _EVENT.replace(b"BTCUSDT", _LONG.encode()),
        "colours.csv": _HEADER + b"binance,\x1b[31m,1,1,true,bid,1,1\n",
        "nan.csv": _HEADER + b"binance,BTCUSDT,1700000000000000,1700000000000000,true,bid,nan,1\n",
        "big.csv": _HEADER
        + b"binance,BTCUSDT,1700000000000000,1,true,bid,"
        + b"9" * 5_000
        + b",1\n",
        "few.csv": _HEADER + b"binance,BTCUSDT\n",
        "head.csv": _HEADER,
        "other.csv": _HEADER + b"bybit,BTCUSDT,1700000000000000,1700000000000000,true,bid,1,1\n",
        "no_gzip.gz": b"hello\n",
        "cut.gz": gzip.compress(os.urandom(50_000))[:100],
        "head.gz": gzip.compress(b"")[:5],
        "bomb.gz": gzip.compress(bytes(100_000_000), 1),
        "bomb_line.gz": gzip.compress(b"1700000000000000000 " + b"[" * 100_000_000, 1),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of unreadable files."""
    folder = tmp_path_factory.mktemp("files")
    for name, content in _contents().items():
        (folder / name).write_bytes(content)
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("command", ["import", "play"])
def test_files(
    program: WarmProgram, server: ServerThread, files: Path, tmp_path: Path, command: str
) -> None:
    begin = ["import"] if command == "import" else ["exchange", "--port", "0", "--play"]
    begins_with = {
        "import": "Nothing was imported: ",
        "play": "The capture cannot be played: ",
    }[command]
    devices = ["/dev/zero", "/dev/null", "/proc/self/mem"]
    made = sorted(path.name for path in files.iterdir())
    names = [*made, "missing", ".", "x" * 300, "a\nb\x1b[31m", ""]
    for name in [*names, *devices]:
        path = name and str(files / name)
        done = program.run(*begin, path, folder=tmp_path, env=_on(server))
        assert sentence(done).startswith(begins_with), name


@pytest.mark.parametrize("command", [["recordings"], ["verify", "BTC/USDT"], _export("BTC/USDT")])
def test_addresses(program: WarmProgram, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "nothing").write_text("no certificate")
    for address in (
        *("nonsense", "mongodb://", "mongodb://[", "mongodb://h:99999/", "mongodb://%zz"),
        *("mongodb+srv://127.0.0.1/", "mongodb://127.0.0.1:1/?nonsense=1"),
        *("mongodb://127.0.0.1:1/?maxPoolSize=x", "mongodb://me:a@b:c@127.0.0.1/"),
        "mongodb://127.0.0.1:1/?tls=true&tlsCAFile=/nothing",
        f"mongodb://127.0.0.1:1/?tls=true&tlsCAFile={tmp_path / 'nothing'}",
        f"mongodb://127.0.0.1:1/?{_SOON}",
        f"mongodb://me:a-secret@127.0.0.1:1/?{_SOON}",
        "mongodb://" + ",".join(["127.0.0.1:1"] * 300) + f"/?{_SOON}",
        f"mongodb://127.0.0.1:1\n/?{_SOON}",
    ):
        text = sentence(program.run(*command, env={"MONGO_DSN": address}))
        assert text.startswith(("MONGO_DSN ", "The database at mongodb")), text
        assert "a-secret" not in text
        assert len(text) < 1_000


_DATABASE_COMMANDS = {
    **_ON_A_FOLDER,
    "serve": ["serve", "--port", "0"],
}


@pytest.mark.parametrize(
    ("answers", "told_of"),
    [
        ((hello(isWritablePrimary=True), error(13)), "is a standalone server"),
        ((hello(isWritablePrimary=True, msg="isdbgrid"), error(18)), "asks for a user name"),
        ((hello(isreplicaset=True), error(13)), "initiate"),
    ],
)
async def test_servers(
    program: WarmProgram,
    tmp_path: Path,
    answers: tuple[dict[str, object], dict[str, object]],
    told_of: str,
) -> None:
    (tmp_path / "capture").write_bytes(_EVENT)
    async with serving(lambda name, _command: answers[0 if name == "hello" else 1]) as port:
        for name, command in _DATABASE_COMMANDS.items():
            if name == "reset":
                continue
            done = await asyncio.to_thread(
                program.run,
                *command,
                env={"MONGO_DSN": f"mongodb://127.0.0.1:{port}/?{_SOON}"},
                folder=tmp_path,
            )
            if name == "serve":
                done = Ended(done.code, "", done.err, done.peak_mb)
            assert told_of in sentence(done), name


@pytest.mark.parametrize("name", Settings.model_fields)
def test_variables(program: WarmProgram, name: str) -> None:
    variable = Settings.variable(name)
    for value in ("\x1b[31m\n?", "9" * 5_000, "nan", "\udcff/" + "x" * 300):
        done = program.run("--symbol=?", env={variable: value})
        assert len(sentence(done)) < 1_000


_PRINTING = {
    "version": ["--version"],
    "help": ["--help"],
    "doctor": ["doctor"],
    "serve": ["serve", "--port", "0"],
    "exchange": ["exchange", "--port", "0"],
}


@pytest.mark.parametrize("command", _PRINTING)
def test_standard_files(program: WarmProgram, command: str) -> None:
    for out in ("pipe", "/dev/full"):
        for err in ("file", "pipe", "/dev/full"):
            done = program.run(*_PRINTING[command], stdout=out, stderr=err, stop_after_s=20)
            assert done.code == 1, done
            assert "Traceback" not in done.err
            assert "Exception ignored" not in done.err
            assert done.err.count("\n") <= 1, done
    for encoding in ("ascii", "cp1252"):
        done = program.run("verify", "币 安", env={"PYTHONIOENCODING": encoding})
        assert "SYMBOL is " in sentence(done)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("form", ["tardis", "parquet", "hftbacktest"])
async def test_outputs(
    program: WarmProgram, server: ServerThread, database: Database, tmp_path: Path, form: str
) -> None:
    await recorded(database, 40, 20)
    (tmp_path / "folder").mkdir()
    (tmp_path / "there").write_text("of the person's own")
    before = _names_in(tmp_path)
    for path in (
        *("missing/o.csv.gz", "folder", "there", "there/in", "x" * 300, ".", "", "a\nb/o\x1b[31m"),
        *("/dev/full", "/dev/stdout", "/proc/nothing"),
    ):
        done = await asyncio.to_thread(
            program.run,
            *_export("BTC/USDT", path, form),
            env={**_on(server), "DB_NAME": database.name},
            folder=tmp_path,
        )
        assert "nothing was exported" in (text := sentence(done)) or "is there already" in text
    assert _names_in(tmp_path) == before
    assert (tmp_path / "there").read_text() == "of the person's own"


_STORED = [
    *(("segments", name) for name in ("snapshot_id", "last_id", "event_count", "first_event_ms")),
    *(("segments", name) for name in ("last_event_ms", "archived_id", "end_cause", "market")),
    *(("depth_events", name) for name in ("u", "event_ms", "payload")),
    *(("depth_chunks", name) for name in ("start_id", "minute", "payload")),
    *(("checkpoints", name) for name in ("update_id", "payload")),
]


@pytest.mark.parametrize("other", [2**63 - 1, "x" * 5_000])
async def test_stored_documents(
    program: WarmProgram, server: ServerThread, database: Database, tmp_path: Path, other: object
) -> None:
    await recorded(database, 40, 20)
    env = {**_on(server), "DB_NAME": database.name}
    for collection, field in _STORED:
        document = (await all_of(database, collection))[0]
        await put_back(database, collection, document | {field: other})
        listing = [["recordings"]] if collection == "segments" else []
        for command in ([*_export("BTC/USDT", tmp_path / "o.csv"), "--force"], *listing):
            done = await asyncio.to_thread(program.run, *command, env=env, folder=tmp_path)
            if done.code:
                sentence(done)
            else:
                assert "Traceback" not in done.err
        await put_back(database, collection, document)
