"""Nothing guarded outlives the process that started it, even if that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.system import child_guard
from tests.storage.processes import ROOT, eventually, is_gone
from tests.system.test_child import both_guards

PARENT = """
import asyncio, sys
from pathlib import Path
from orderbook_desktop.system.child import ChildProcess

async def main():
    command = [sys.executable, "-c", "import os,time;print(os.getpid(),flush=True);time.sleep(60)"]
    child = ChildProcess(command, Path(sys.argv[1]), resident_guard=sys.argv[2] == "True")
    while not child.last_lines:
        await asyncio.sleep(0.01)
    print(child.last_lines[0], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@both_guards
async def test_the_command_ends_when_its_parent_is_killed(
    tmp_path: Path, *, resident: bool
) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "log"), str(resident)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    async with asyncio.timeout(60):
        pid = int(await parent.stdout.readline())
    assert not is_gone(pid)
    family = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    await parent.wait()
    await eventually(lambda: all(is_gone(member.pid) for member in family))
    assert is_gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's guard")
def test_a_command_whose_parent_is_gone_already_is_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    touch = [sys.executable, "-c", f"open({str(proof)!r}, 'w')"]
    script = [sys.executable, child_guard.__file__, "exec"]
    not_the_parent = str(os.getppid())
    assert subprocess.run([*script, not_the_parent, *touch], check=False).returncode == 0
    assert not proof.exists()
    assert subprocess.run([*script, str(os.getpid()), *touch], check=False).returncode == 0
    assert proof.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(("chosen", "got"), [({}, "2"), ({"MALLOC_ARENA_MAX": "9"}, "9")])
def test_the_command_s_threads_share_their_memory(chosen: dict[str, str], got: str) -> None:
    script = [sys.executable, child_guard.__file__, "exec", str(os.getpid())]
    tell = [sys.executable, "-c", "import os; print(os.environ['MALLOC_ARENA_MAX'])"]
    others = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [*script, *tell], env=others | chosen, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == got


def test_it_needs_nothing_but_the_standard_library() -> None:
    isolated = [sys.executable, "-I", "-S", child_guard.__file__, "resident", "0"]
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run([*isolated, *command], input=b"", check=False).returncode in (3, 143)
