"""A request to end takes effect from the first moment on, also while modules are loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.command import run_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")

# The program sends itself a signal when a module is about to be loaded.
_PROGRAM = """
import os, sys
module, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]

class Send:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Send())
from orderbook_desktop.app.start import main
main()
"""
_NOT_BEGUN = "orderbook-desktop: Nothing was recorded: it was stopped before it could begin.\n"
_COMMANDS = {
    "import": (1, "orderbook-desktop: Stopped; nothing was imported.\n"),
    "export": (1, "orderbook-desktop: Stopped; nothing was exported.\n"),
    "verify": (1, "orderbook-desktop: Stopped; nothing was proven.\n"),
    "recordings": (1, "orderbook-desktop: Stopped; nothing was listed.\n"),
    "remove": (1, "orderbook-desktop: Stopped; nothing was removed.\n"),
    "doctor": (1, "orderbook-desktop: Stopped; not everything was examined.\n"),
    "record": (0, _NOT_BEGUN),
    "serve": (0, ""),
    "exchange": (0, ""),
    "replay": (0, ""),
    "--demo": (0, ""),
}


_LOADED = """
import re, sys
before = set(sys.modules)
from orderbook_desktop.app.start import main
print(*sorted(set(sys.modules) - before))
"""


def _run(module: str, number: signal.Signals, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, module, str(int(number)), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    ("module", "number"), [("orderbook_desktop.app.cli", signal.SIGINT), ("typer", signal.SIGTERM)]
)
def test_while_the_program_is_loaded(command: str, module: str, number: signal.Signals) -> None:
    code, sentence = _COMMANDS[command]
    assert _run(module, number, command) == (code, "", sentence)


def test_next_to_nothing_is_loaded_before_a_request_is_obeyed() -> None:
    """Until then Ctrl-C ends in a traceback. The console script itself loads `re` first."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True
    )
    ours = {
        *("orderbook_desktop", "orderbook_desktop.app", "orderbook_desktop.app.start"),
        "orderbook_desktop.app.early_end",
    }
    assert set(done.stdout.split()) - ours <= {"__future__", "signal"}


@pytest.mark.parametrize(
    "module", ["pydantic_settings", "orderbook_desktop.app.commands.import_files"]
)
def test_while_an_import_is_loaded(tmp_path: Path, module: str) -> None:
    path = str(tmp_path / "c")
    found = _run(module, signal.SIGINT, "import", path, "--data-dir", str(tmp_path / "data"))
    assert found == (1, "", "orderbook-desktop: Stopped; nothing was imported.\n")


@pytest.mark.cold_start
def test_a_sentence_that_comes_before_the_log_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_NAME", "a.b")
    done = run_command(tmp_path, "recordings")
    assert done.returncode == 1
    assert done.stderr.startswith("orderbook-desktop: DB_NAME is 'a.b', but must be ")
    assert done.stderr.count("\n") == 1


@pytest.mark.cold_start
def test_without_a_request_the_program_runs(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("orderbook-desktop ")
