from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from orderbook_desktop.storage.errors import NoDatabaseProgram
from orderbook_desktop.storage.server.choice import (
    BUNDLED_DATABASE,
    ServerKind,
    ServerProgram,
    choose_program,
)


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


def test_the_builtin_one_is_run_by_this_interpreter() -> None:
    program = choose_program()
    assert program.kind is ServerKind.SECANTUS
    assert program.command == (sys.executable, "-P", "-m", "secantus")
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


def test_servers_listen_on_this_machine_only(path: Path) -> None:
    secantus = ServerProgram(ServerKind.SECANTUS, ("x",)).command_line(5, path / "secantus")
    assert secantus[secantus.index("--host") + 1] == "127.0.0.1"
    assert secantus[secantus.index("--config") + 1] == str(path / "secantus.toml")
    assert "--sync-on-commit" in secantus
    mongod = ServerProgram(ServerKind.MONGOD, ("x",)).command_line(5, path / "mongod")
    assert mongod[mongod.index("--bind_ip") + 1] == "127.0.0.1"
    assert "--replSet" in mongod
