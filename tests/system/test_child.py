from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.system import child as child_module
from orderbook_desktop.system.child import ChildProcess, guarded
from tests.storage.processes import eventually, is_gone

STUBBORN = "import signal,time;signal.signal(15,signal.SIG_IGN);print('deaf',flush=True)"

both_guards = pytest.mark.parametrize(
    "resident",
    [
        pytest.param(
            False,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="the kernel's guard"),
        ),
        True,
    ],
)


def python(code: str) -> list[str]:
    """Return the command that runs `code`."""
    return [sys.executable, "-c", code]


@both_guards
async def test_its_end_and_its_words_are_noticed(tmp_path: Path, *, resident: bool) -> None:
    code = "import sys;print('said');print('warned',file=sys.stderr,flush=True);sys.exit(7)"
    child = ChildProcess(python(code), tmp_path / "log", resident_guard=resident)
    assert await child.wait() == 7
    assert not child.running
    assert sorted(child.last_lines) == ["said", "warned"]
    assert sorted((tmp_path / "log").read_text().split()) == ["said", "warned"]
    await child.stop()


@both_guards
async def test_it_is_asked_to_end(tmp_path: Path, *, resident: bool) -> None:
    code = (
        "import signal,sys,time;"
        "signal.signal(15,lambda *_:(print('asked',flush=True),sys.exit(0)));"
        "print('up',flush=True);time.sleep(60)"
    )
    child = ChildProcess(python(code), tmp_path / "log", resident_guard=resident)
    await eventually(lambda: child.last_lines)
    await child.stop()
    assert child.last_lines == ["up", "asked"]
    assert is_gone(child.pid)


@pytest.mark.expects_log("did not end in .* is killed")
async def test_a_deaf_one_is_killed(tmp_path: Path) -> None:
    child = ChildProcess(python(f"{STUBBORN};time.sleep(60)"), tmp_path / "log")
    await eventually(lambda: child.last_lines)
    await child.stop(patience_s=0.1)
    assert is_gone(child.pid)


@both_guards
async def test_it_is_ended_at_fatal_words(tmp_path: Path, *, resident: bool) -> None:
    child = ChildProcess(
        python("import time;print('in A PANIC now',flush=True);time.sleep(60)"),
        tmp_path / "log",
        fatal=re.compile(rb"A PANIC|ERROR"),
        resident_guard=resident,
    )
    assert await child.wait() != 0
    await child.stop()


async def test_its_log_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES", 10_000)
    child = ChildProcess(python("for n in range(5000): print(n)"), tmp_path / "log")
    await child.wait()
    await child.stop()
    logs = (tmp_path / "log", tmp_path / "log.1")
    assert all(0 < log.stat().st_size <= 10_000 for log in logs)
    assert not (tmp_path / "log.2").exists()
    assert (tmp_path / "log").read_text().endswith("4999\n")


async def test_a_command_that_does_not_exist_ends_at_once(tmp_path: Path) -> None:
    child = ChildProcess([str(tmp_path / "missing")], tmp_path / "log")
    assert await child.wait() != 0
    assert "missing" in child.last_lines[-1]
    await child.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are a Unix matter")
async def test_ctrl_c_in_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    code = "import os;print(os.getsid(0)==os.getpid(),flush=True)"
    child = ChildProcess(python(code), tmp_path / "log", resident_guard=False)
    await child.wait()
    assert child.last_lines == ["True"]
    await child.stop()


def test_a_bundle_guards_with_its_second_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "orderbook-desktop"))
    command = guarded(["server"], resident=False)
    assert Path(command[0]).parent == tmp_path
    assert command[1:] == ["guard", "exec", str(psutil.Process().pid), "server"]
