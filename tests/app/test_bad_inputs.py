"""All commands with all kinds of bad input: one sentence, exit 1 or 2, little memory.

What is given and the command that it is given to are independent: each is tried, each with each
other only in the thorough profile (`tests.examples`).
"""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.exchange.local import SyntheticSource
from orderbook_desktop.storage.store.database import Database
from tests.app.conftest import NOWHERE, ExchangeThread
from tests.app.warm_program import Ended, WarmProgram
from tests.examples import some_of
from tests.storage.fake_mongo import error, hello, serving
from tests.storage.recording_fixtures import ServerThread, all_of, server_in
from tests.storage.verification.test_verification import put_back, recorded

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """A server of this module's own, which the program may join."""
    with server_in(tmp_path_factory.mktemp("data")) as server:
        yield server


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


_NO_SYMBOLS = (
    *("", "?", "B TC", "A/B/C", "BTC\x1b[31m\x07", "BTC\nUSDT", "\udcff", "\u202eBTC"),
    *(_LONG, f"{_LONG}/USDT", "币" * 41),
)


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "command"), list(enumerate(_OF_SYMBOL)))
def test_symbols(program: WarmProgram, number: int, command: str) -> None:
    for symbol in some_of(_NO_SYMBOLS, 3, phase=number):
        text = sentence(program.run(*_OF_SYMBOL[command](symbol)))
        assert " must be a spot symbol" in text
        assert len(text) < 300


_NO_TIMES = ("", "yesterday", "-1", "2024-13-45", "9" * 5_000, "nan", "24:00", "\x1b[31m")


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("number", "command", "option"),
    [
        (0, "verify", "--from"),
        (1, "verify", "--to"),
        (2, "export", "--from"),
        (3, "export", "--to"),
    ],
)
def test_times(program: WarmProgram, number: int, command: str, option: str) -> None:
    begin = _OF_SYMBOL[command]("BTC/USDT")
    for time in some_of(_NO_TIMES, 2, phase=number):
        assert option in usage(program.run(*begin, f"{option}={time}"))
    text = sentence(program.run(*begin, "--from", "2024-01-02", "--to", "2024-01-01"))
    assert "must be a time after --from" in text


_ON_A_FOLDER = {
    "recordings": ["recordings"],
    "verify": ["verify", "BTC/USDT"],
    "export": _export("BTC/USDT"),
    "import": ["import", "capture"],
    "record": ["record", "BTC/USDT", "--duration", "1"],
    "replay": ["replay", "BTC/USDT", "--port", "0"],
    "reset": ["doctor", "--reset-database-password"],
}


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "command"), list(enumerate([*_ON_A_FOLDER, "serve"])))
def test_data_folders(program: WarmProgram, tmp_path: Path, number: int, command: str) -> None:
    (tmp_path / "capture").write_bytes(_EVENT)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "circle").symlink_to("circle")
    folders = (
        *(tmp_path / "file", tmp_path / "file" / "in", tmp_path / "circle"),
        *(tmp_path / ("x" * 300), "y/" * 3_000, "/proc/nothing", "a\nb/../\x1b[31m/" + "z" * 256),
    )
    for folder in some_of(folders, 3, phase=number):
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


@pytest.mark.sweep
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
    for name in some_of([*names, *devices], 2, phase=command == "play"):
        path = name and str(files / name)
        done = program.run(*begin, path, folder=tmp_path, env=_on(server))
        assert sentence(done).startswith(begins_with), name


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("number", "command"),
    [(0, ["recordings"]), (1, ["verify", "BTC/USDT"]), (2, _export("BTC/USDT"))],
)
def test_addresses(program: WarmProgram, tmp_path: Path, number: int, command: list[str]) -> None:
    (tmp_path / "nothing").write_text("no certificate")
    addresses = (
        *("nonsense", "mongodb://", "mongodb://[", "mongodb://h:99999/", "mongodb://%zz"),
        *("mongodb+srv://127.0.0.1/", "mongodb://127.0.0.1:1/?nonsense=1"),
        *("mongodb://127.0.0.1:1/?maxPoolSize=x", "mongodb://me:a@b:c@127.0.0.1/"),
        "mongodb://127.0.0.1:1/?tls=true&tlsCAFile=/nothing",
        f"mongodb://127.0.0.1:1/?tls=true&tlsCAFile={tmp_path / 'nothing'}",
        f"mongodb://127.0.0.1:1/?{_SOON}",
        f"mongodb://me:a-secret@127.0.0.1:1/?{_SOON}",
        "mongodb://" + ",".join(["127.0.0.1:1"] * 300) + f"/?{_SOON}",
        f"mongodb://127.0.0.1:1\n/?{_SOON}",
    )
    for address in some_of(addresses, 2, phase=number):
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


@pytest.mark.parametrize("user", ["", "me:wrong-secret@"])
async def test_passwords(program: WarmProgram, tmp_path: Path, user: str) -> None:
    (tmp_path / "capture").write_bytes(_EVENT)
    what = "refused the user name or password" if user else "asks for a user name and password"
    member = hello(setName="rs0", isWritablePrimary=True)
    async with serving(lambda name, _command: member if name == "hello" else error(18)) as port:
        dsn = f"mongodb://{user}127.0.0.1:{port}/?directConnection=true&{_SOON}"
        for name, command in _DATABASE_COMMANDS.items():
            if name == "reset":
                continue
            done = await asyncio.to_thread(
                program.run, *command, env={"MONGO_DSN": dsn}, folder=tmp_path
            )
            if name == "serve":
                done = Ended(done.code, "", done.err, done.peak_mb)
            assert what in (told := sentence(done)), name
            assert "wrong-secret" not in told


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "name"), list(enumerate(Settings.model_fields)))
def test_variables(program: WarmProgram, number: int, name: str) -> None:
    variable = Settings.variable(name)
    for value in some_of(("\x1b[31m\n?", "9" * 5_000, "nan", "\udcff/" + "x" * 300), 2, number):
        done = program.run("--symbol=?", env={variable: value})
        assert len(sentence(done)) < 1_000


_PRINTING = {
    "version": ["--version"],
    "help": ["--help"],
    "doctor": ["doctor"],
    "serve": ["serve", "--port", "0"],
    "exchange": ["exchange", "--port", "0"],
}


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "command"), list(enumerate(_PRINTING)))
def test_standard_files(program: WarmProgram, number: int, command: str) -> None:
    every = list(product(("pipe", "/dev/full"), ("file", "pipe", "/dev/full")))
    for out, err in some_of(every, 2, phase=number):
        done = program.run(*_PRINTING[command], stdout=out, stderr=err, stop_after_s=20)
        assert done.code == 1, done
        assert "Traceback" not in done.err
        assert "Exception ignored" not in done.err
        assert done.err.count("\n") <= 1, done
    for encoding in ("ascii", "cp1252"):
        done = program.run("verify", "币 安", env={"PYTHONIOENCODING": encoding})
        assert "SYMBOL is " in sentence(done)


_NO_NUMBERS = ("nan", "-inf", "-1e400", "x", "", "1,5", "\x1b[31m", "\udcff", "0x10")


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("phase", "command", "option"),
    [
        (0, ["record", "BTC/USDT"], "--duration"),
        (1, ["exchange", "--port", "0"], "--speed"),
        (2, ["exchange"], "--port"),
        (3, ["exchange"], "--seed"),
        (4, ["record"], "--top"),
        (5, ["replay", "--file", "f.obd"], "--delay"),
    ],
)
def test_numbers(program: WarmProgram, phase: int, command: list[str], option: str) -> None:
    for number in some_of(_NO_NUMBERS, 3, phase):
        assert option in usage(program.run(*command, f"{option}={number}"))


@pytest.mark.parametrize("command", ["serve", "exchange"])
def test_hosts(program: WarmProgram, command: str) -> None:
    for host in ("", "x" * 300, "..", "[::1]", "a\nb", "\x1b[31m", "\udcff", "127.0.0.1 "):
        told = sentence(program.run(command, "--port", "0", "--host", host))
        assert "an address of this computer" in told or "is no address of this computer" in told
    # One of the addresses that are in documents only.
    told = sentence(program.run(command, "--port", "0", "--host", "192.0.2.77"))
    assert "cannot listen on 192.0.2.77" in told


@pytest.fixture(scope="module")
def market() -> Iterator[ExchangeThread]:
    """An exchange that trades what it trades."""
    exchange = ExchangeThread(SyntheticSource(seed=7))
    yield exchange
    exchange.close()


def test_delisted_symbols(
    program: WarmProgram, server: ServerThread, market: ExchangeThread
) -> None:
    env = {
        **_on(server),
        "ORDERBOOK_REST_URL": market.rest_url,
        "ORDERBOOK_WS_URL": market.ws_url,
    }
    gone = "The exchange doesn't trade NO/NE, or not any more"
    recorded = program.run("record", "NO/NE", env=env)
    assert recorded.code == 1
    assert recorded.err.count(gone) == 1
    assert recorded.err.splitlines()[-1].startswith(f"orderbook-desktop: {gone}")
    served = program.run("serve", "NO/NE", "BTC/USDT", "--port", "0", env=env, stop_after_s=15)
    assert (served.code, served.err.count(gone)) == (0, 1), served
    examined = program.run("doctor", "--symbol", "NO/NE", env=env)
    assert (examined.code, examined.err) == (1, "")
    assert "doesn't trade NO/NE" in " ".join(examined.out.split())
    for done in (recorded, served, examined):
        assert "Traceback" not in done.err
        assert "write a symbol such as" not in done.err + done.out


async def test_a_delisted_symbol_that_is_recorded(
    program: WarmProgram, server: ServerThread, database: Database, tmp_path: Path
) -> None:
    """What is stored of it is proven, exported and listed: the exchange is asked nothing."""
    await recorded(database, 40, 20)
    env = {**_on(server), "DB_NAME": database.name}
    for command in (["recordings"], ["verify", "BTC/USDT"], _export("BTC/USDT")):
        done = await asyncio.to_thread(program.run, *command, env=env, folder=tmp_path)
        assert done.code == 0, done
    for command in (["verify", "NO/NE"], _export("NO/NE", "n.csv")):
        done = await asyncio.to_thread(program.run, *command, env=env, folder=tmp_path)
        assert "NO/NE" in sentence(done)


_NOT_PERMITTED = ("ermission denied", "readable", "There is no database in")


def test_without_permission(program: WarmProgram, server: ServerThread, tmp_path: Path) -> None:
    closed, secret = tmp_path / "closed", tmp_path / "secret"
    closed.mkdir(mode=0o500)
    secret.write_bytes(_EVENT)
    secret.chmod(0)
    in_it = {"ORDERBOOK_DATA_DIR": str(closed / "data")}
    for command, env in (
        (["import", str(secret)], _on(server)),
        (["exchange", "--port", "0", "--play", str(secret)], _on(server)),
        (["replay", "--port", "0", "--file", str(secret)], _on(server)),
        (["import", str(secret)], in_it),
        (["record", "BTC/USDT", "--duration", "1"], in_it),
        (["doctor", "--reset-database-password"], in_it | {"ORDERBOOK_DATA_DIR": str(closed)}),
        (["recordings"], {"MONGO_DSN_FILE": str(secret)}),
        (["serve", "--port", "0"], {"ORDERBOOK_WEB_TOKEN_FILE": str(secret)}),
        (["recordings"], {"MONGO_DSN": f"mongodb://127.0.0.1:1/?tls=true&tlsCAFile={secret}"}),
    ):
        done = program.run(*command, env=env, folder=tmp_path, obeys_permissions=True)
        told = usage(done) if done.code == 2 else sentence(done)
        assert any(words in told for words in _NOT_PERMITTED), told
    assert list(closed.iterdir()) == []


async def test_an_output_without_permission(
    program: WarmProgram, server: ServerThread, database: Database, tmp_path: Path
) -> None:
    await recorded(database, 40, 20)
    (tmp_path / "closed").mkdir(mode=0o500)
    done = await asyncio.to_thread(
        program.run,
        *_export("BTC/USDT", tmp_path / "closed" / "o.csv"),
        env={**_on(server), "DB_NAME": database.name},
        obeys_permissions=True,
    )
    assert "ermission denied" in (told := sentence(done)), told


def _as_commands(folder: Path) -> dict[str, list[str]]:
    """Return commands that have long to do where nothing answers."""
    with (folder / "capture").open("wb") as file:
        file.truncate(0)
        for _ in range(60):
            file.write(b"\n" * 1_000_000)
    return {
        **{name: command for name, command in _ON_A_FOLDER.items() if name != "reset"},
        "serve": ["serve", "--port", "0"],
        "exchange": ["exchange", "--port", "0"],
        "doctor": ["doctor"],
    }


# In the first half second, and amid the work.
@pytest.mark.sweep
@pytest.mark.parametrize(
    ("number", "after_s"), list(enumerate([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 2.0]))
)
def test_requests_to_end(program: WarmProgram, tmp_path: Path, number: int, after_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        away: dict[str, str | None] = {
            "ORDERBOOK_REST_URL": f"http://{address}",
            "ORDERBOOK_WS_URL": f"ws://{address}",
            "MONGO_DSN": f"mongodb://{address}/",
        }
        for name, command in some_of(list(_as_commands(tmp_path).items()), 2, phase=number):
            env = away | ({"MONGO_DSN": None} if name == "import" else {})
            done = program.run(*command, env=env, folder=tmp_path, stop_after_s=after_s)
            assert "Traceback" not in done.err
            assert "Exception ignored" not in done.err
            if name in ("serve", "exchange", "replay"):
                assert (done.code, done.err) == (0, ""), (name, done)
            elif name == "record":
                # Within its first second it is no failure that nothing is recorded.
                assert done.code in (0, 1), done
            elif name == "doctor":
                assert done.code == 1, done
            else:
                sentence(done)


def test_a_locale_without_encoding(server: ServerThread, tmp_path: Path) -> None:
    """Here the interpreter itself begins with it."""
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "orderbook_desktop", "verify", "币安人生/USDT"]
    env = {**os.environ, **plain, "ORDERBOOK_DATA_DIR": str(server.folder), "DB_NAME": "none"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.isascii()
    assert done.stderr.startswith(b"orderbook-desktop: ")
    assert done.stderr.count(b"\n") == 1


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "form"), list(enumerate(["tardis", "parquet", "hftbacktest"])))
async def test_outputs(
    program: WarmProgram,
    server: ServerThread,
    database: Database,
    tmp_path: Path,
    number: int,
    form: str,
) -> None:
    await recorded(database, 40, 20)
    (tmp_path / "folder").mkdir()
    (tmp_path / "there").write_text("of the person's own")
    before = _names_in(tmp_path)
    paths = (
        *("missing/o.csv.gz", "folder", "there", "there/in", "x" * 300, ".", "", "a\nb/o\x1b[31m"),
        *("/dev/full", "/dev/stdout", "/proc/nothing"),
    )
    for path in some_of(paths, 2, phase=number):
        done = await asyncio.to_thread(
            program.run,
            *_export("BTC/USDT", path, form),
            env={**_on(server), "DB_NAME": database.name},
            folder=tmp_path,
        )
        assert "nothing was exported" in (text := sentence(done)) or "is there already" in text
    assert _names_in(tmp_path) == before
    assert (tmp_path / "there").read_text() == "of the person's own"


@pytest.mark.parametrize("command", ["recordings", "verify", "export", "import"])
async def test_a_schema_of_no_number(
    program: WarmProgram, server: ServerThread, database: Database, tmp_path: Path, command: str
) -> None:
    await recorded(database, 40, 20)
    await database.collection("meta").update_one({"_id": "schema"}, {"$set": {"version": "two"}})
    (tmp_path / "capture").write_bytes(_EVENT)
    env = {**_on(server), "DB_NAME": database.name}
    done = await asyncio.to_thread(program.run, *_ON_A_FOLDER[command], env=env, folder=tmp_path)
    assert "schema is damaged ('two')" in sentence(done)


_STORED = [
    *(("segments", name) for name in ("snapshot_id", "last_id", "event_count", "first_time")),
    *(("segments", name) for name in ("last_time", "archived_id", "end_cause", "market")),
    *(("depth_events", name) for name in ("u", "time", "payload")),
    *(("depth_chunks", name) for name in ("start_id", "minute", "payload")),
    *(("checkpoints", name) for name in ("update_id", "payload")),
]


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "other"), list(enumerate([2**63 - 1, "x" * 5_000])))
async def test_stored_documents(
    program: WarmProgram,
    server: ServerThread,
    database: Database,
    tmp_path: Path,
    number: int,
    other: object,
) -> None:
    await recorded(database, 40, 20)
    env = {**_on(server), "DB_NAME": database.name}
    for collection, field in some_of(_STORED, 2, phase=number):
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
