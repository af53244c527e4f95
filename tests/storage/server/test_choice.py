from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from orderbook_desktop.storage.errors import NoDatabaseProgram
from orderbook_desktop.storage.server.certificates import certificates_of
from orderbook_desktop.storage.server.choice import (
    ServerKind,
    ServerProgram,
    choose_program,
)
from orderbook_desktop.storage.server.places import SocketPlace, TlsPlace
from orderbook_desktop.storage.server.secantus_child import port_in
from orderbook_desktop.system.bundle import BUNDLED_DATABASE

CHILD = "orderbook_desktop.storage.server.secantus_child"


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a PATH of one empty folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_mongod_comes_first(path: Path) -> None:
    mongod = path / ("mongod.exe" if sys.platform == "win32" else "mongod")
    mongod.touch(mode=0o755)
    program = choose_program()
    assert (program.kind, program.command) == (ServerKind.MONGOD, (str(mongod),))
    assert program.name == "mongod"


def test_what_a_change_stream_can_catch_up_with(tmp_path: Path) -> None:
    """Two minutes; one minute at 1,500 events a second, which make two entries each."""
    words = choose_program().command_line(SocketPlace(tmp_path / "socket"), tmp_path / "secantus")
    assert words[words.index("--oplog-retention-seconds") + 1] == "120"
    assert int(words[words.index("--oplog-max-entries") + 1]) >= 60 * 1_500 * 2


def test_the_builtin_one_is_run_by_this_interpreter() -> None:
    program = choose_program()
    assert program.kind is ServerKind.SECANTUS
    assert program.command == (sys.executable, "-P", "-m", CHILD)
    assert program.name == "SecantusDB"


@pytest.mark.parametrize("missing", ["secantus", "wiredtiger"])
def test_there_may_be_none(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else real(name)
    )
    with pytest.raises(NoDatabaseProgram, match="mongod"):
        choose_program()


def test_a_bundle_has_an_executable_for_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(path / "orderbook-desktop"))
    with pytest.raises(NoDatabaseProgram):
        choose_program()
    (path / BUNDLED_DATABASE).touch()
    assert choose_program().command == (str(path / BUNDLED_DATABASE),)


SECANTUS = ServerProgram(ServerKind.SECANTUS, ("x",))
MONGOD = ServerProgram(ServerKind.MONGOD, ("x",))


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_servers_have_a_socket_and_no_port(path: Path) -> None:
    place = SocketPlace(path / "x.sock")
    secantus = SECANTUS.command_line(place, path / "secantus")
    assert value(secantus, "--socket") == str(place.path)
    assert not {"--port", "--host", "--tls-port-file"} & set(secantus)
    assert value(secantus, "--config") == str(path / "secantus.toml")
    assert "--sync-on-commit" in secantus
    mongod = MONGOD.command_line(place, path / "mongod")
    assert value(mongod, "--bind_ip") == str(place.path)
    assert "--nounixsocket" in mongod
    assert "--replSet" in mongod


def test_or_a_port_for_holders_of_a_certificate(path: Path) -> None:
    place = TlsPlace(5, certificates_of(path / "secantus"))
    secantus = SECANTUS.command_line(place, path / "secantus")
    assert value(secantus, "--tls-port-file") == str(place.port_file)
    assert value(secantus, "--authority") == str(place.certificates.authority)
    mongod = MONGOD.command_line(place, path / "mongod")
    assert value(mongod, "--bind_ip") == "127.0.0.1"
    assert value(mongod, "--config") == str(place.port_file)
    assert "5" not in {*secantus, *mongod}
    place.write_port()
    assert port_in(place.port_file) == 5
    assert value(mongod, "--tlsMode") == "requireTLS"
    assert value(mongod, "--tlsCAFile") == str(place.certificates.authority)


def test_a_database_is_never_served_without_its_lock(path: Path) -> None:
    for place in (SocketPlace(path / "x.sock"), TlsPlace(5, certificates_of(path / "x"))):
        assert "--auth" in SECANTUS.command_line(place, path / "secantus")
        assert value(MONGOD.command_line(place, path / "m"), "--keyFile") == str(path / "m.key")
    # These commands end without serving.
    assert "serve" not in SECANTUS.making(path / "s.new", path / "s.password")
    assert "serve" not in SECANTUS.resetting(place, path / "s", path / "s.password.next")
