from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.system import child as child_module
from orderbook_desktop.system.child import ChildProcess, LimitedLog, guarded
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


def test_two_files_of_limited_size_hold_the_newest_lines(tmp_path: Path) -> None:
    for run in (b"a", b"b"):
        log = LimitedLog(tmp_path / "log", limit=100)
        for number in range(50):
            log.keep(b"%s %d\n" % (run, number))
        log.close()
    older, newer = (tmp_path / "log.1").read_bytes(), (tmp_path / "log").read_bytes()
    assert max(len(older), len(newer)) <= 100
    assert (older + newer).endswith(b"b 48\nb 49\n")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}


def test_it_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        log = LimitedLog(tmp_path / "log", limit=100)
        log.keep(line)
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_every_byte_is_kept_as_it_was(tmp_path: Path) -> None:
    log = LimitedLog(tmp_path / "log", limit=100)
    for line in (b"\xff\xfe 100 % %s\n", "\u20bf\n".encode(), b"by Windows\r\n", b"unended"):
        log.keep(line)
    log.close()
    kept = (tmp_path / "log").read_bytes()
    assert kept == b"\xff\xfe 100 % %s\n\xe2\x82\xbf\nby Windows\nunended\n"


def test_bytes_count_and_not_characters(tmp_path: Path) -> None:
    log = LimitedLog(tmp_path / "log", limit=100)
    for _ in range(9):
        log.keep(("\u20bf" * 10 + "\n").encode())
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"log": 93, "log.1": 93}


@pytest.mark.skipif(sys.platform == "win32", reason="files have no mode there")
def test_a_file_that_is_private_stays_so(tmp_path: Path) -> None:
    (tmp_path / "log").touch(0o600)
    log = LimitedLog(tmp_path / "log", limit=100)
    log.keep(b"one\n")
    log.close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.expects_log("log cannot be written")
def test_a_disk_that_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = LimitedLog(tmp_path / "missing" / "log", limit=100)
    for _ in range(3):
        log.keep(b"lost\n")
    assert len(caplog.records) == 1
    (tmp_path / "missing").mkdir()
    log.keep(b"kept\n")
    log.close()
    assert (tmp_path / "missing" / "log").read_bytes() == b"kept\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
@pytest.mark.expects_log("No space left on device")
def test_a_full_disk_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = LimitedLog(tmp_path / "log", limit=100)
    log.keep(b"lost\n")
    log.close()
