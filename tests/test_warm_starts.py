"""A program that is forked from a nursery behaves as one that is started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.storage.server.server import DatabaseServer
from tests.starts import SERVER, start_of
from tests.storage.processes import OtherCopy, eventually, is_gone, other_copy
from tests.warm_starts import nursery_pids

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a reaper of orphans")

_PROGRAM = [sys.executable, "-m", "orderbook_desktop"]
_COMMANDS = {
    "a text": ["--version"],
    "an error of usage": ["verify", "--no-such-option"],
    "a failure": ["recordings", "--data-dir", "here"],
    "an unusable folder": ["recordings", "--data-dir", "/dev/null/nowhere"],
}


# A variable that Python reads at its start: a nursery can't fork a program with it.
_COLD = {"PYTHONHASHSEED": "0"}


def _start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _is_forked(process: subprocess.Popen[str]) -> bool:
    return "tests.nursery" in psutil.Process(process.pid).cmdline()


@pytest.mark.parametrize("what", _COMMANDS)
def test_it_ends_as_a_new_one_does(tmp_path: Path, what: str) -> None:
    ends = []
    for variables in ({}, _COLD):
        folder = tmp_path / "folder"
        folder.mkdir()
        process = _start(folder, *_COMMANDS[what], **variables)
        assert _is_forked(process) is not bool(variables)
        out, err = process.communicate()
        ends.append((process.returncode, out, err, sorted(one.name for one in folder.iterdir())))
        folder.rename(tmp_path / f"old{len(ends)}")
    assert ends[0] == ends[1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "ascii:replace", ":ignore"])
def test_it_has_the_encoding_that_a_new_one_has(tmp_path: Path, encoding: str) -> None:
    ends = []
    for variables in ({}, _COLD):
        process = _start(tmp_path, "verify", "币", **variables, PYTHONIOENCODING=encoding)
        assert _is_forked(process) is not bool(variables)
        out, err = process.communicate()
        ends.append((process.returncode, out, err))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_as_it_ends_a_new_one(tmp_path: Path, number: signal.Signals) -> None:
    ends = []
    for variables in ({}, _COLD):
        process = _start(tmp_path, "exchange", "--port", "0", **variables)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Exchange ready")
        process.send_signal(number)
        _, err = process.communicate()
        ends.append((process.returncode, err))
    assert ends[0] == ends[1]


async def test_a_server_is_our_child_and_leads_a_session(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        assert server.pid is not None
        child = psutil.Process(server.pid)
        assert "tests.nursery" in child.cmdline()
        assert child.ppid() == os.getpid()
        assert os.getsid(child.pid) == child.pid
        assert child.pid not in nursery_pids()


async def test_the_first_server_of_a_forked_program_is_forked(tmp_path: Path) -> None:
    async with other_copy(tmp_path) as program:
        await program.until("ready")
        server = psutil.Process(program.state["pid"])
        parent = psutil.Process(server.ppid())
        assert "tests.nursery" in server.cmdline()
        assert parent.ppid() == os.getpid()
        assert parent.children(recursive=True) == [server]
        assert os.getsid(server.pid) == server.pid
        assert SERVER not in server.cmdline()
        server.kill()
        await program.until("away")
        await program.until("ready")
        other = psutil.Process(program.state["pid"])
        assert SERVER in other.cmdline()
        assert parent.children(recursive=True) == [other]


@asynccontextmanager
async def _owner_and_joined(folder: Path) -> AsyncIterator[tuple[OtherCopy, OtherCopy]]:
    """Run two programs: the first has the server, which the second uses."""
    async with other_copy(folder) as owner:
        await owner.until("ready")
        # Of two that start at once, either may come to have the server.
        async with other_copy(folder) as joined:
            await joined.until("ready")
            yield owner, joined


async def test_what_waits_to_be_a_server_ends_with_its_program(tmp_path: Path) -> None:
    async with _owner_and_joined(tmp_path) as (owner, joined):
        copies = psutil.Process().children()
        waiting = [child for copy in copies for child in copy.children()]
        waiting = [child for child in waiting if child.pid != owner.state["pid"]]
        assert len(waiting) == 1
        await joined.kill()
        await eventually(lambda: is_gone(waiting[0].pid))


async def test_a_server_is_new_where_what_waited_was_killed(tmp_path: Path) -> None:
    async with _owner_and_joined(tmp_path) as (owner, joined):
        for copy in psutil.Process().children():
            for child in copy.children():
                if child.pid != owner.state["pid"]:
                    child.kill()
        await owner.kill()
        await joined.until("away")
        await joined.until("ready")
        assert joined.state["owned"]
        assert SERVER in psutil.Process(joined.state["pid"]).cmdline()


@pytest.mark.cold_start
def test_a_cold_one_is_not_forked(tmp_path: Path) -> None:
    process = _start(tmp_path, "--version")
    assert not _is_forked(process)
    process.communicate()


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "pass"],
        [sys.executable, "-m", "orderbook_desktop.storage"],
        [sys.executable, "-P", "-m", "orderbook_desktop"],
        [sys.executable, "-m", SERVER],
        ["python", "-m", "orderbook_desktop"],
    ],
)
def test_other_commands_are_started_anew(command: list[str]) -> None:
    assert start_of(command) is None
