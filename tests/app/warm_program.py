"""The program for many quick runs: it is loaded once, and forked for each run.

`python -m tests.app.warm_program` reads requests, one JSON object a line, and answers each with a
line. Each child runs the console script's entry to its end, with its own arguments, environment,
folder and standard files.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.forked import have_spare_server, run, run_and_end
from tests.nursery import LIBRARIES
from tests.starts import SERVER
from tests.storage.ready_made import copy_new_databases

_LOADED = tuple(
    f"orderbook_desktop.app.{name}"
    for name in (
        *("cli", "python_api", "commands.import_files"),
        *(f"commands.{name}" for name in ("record", "serve", "recordings", "verify", "export")),
        *("commands.exchange", "commands.doctor", "commands.packed"),
    )
)
_LOOK_EVERY_S = 0.005
# Of <linux/capability.h>: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC = 1 << 1 | 1 << 2


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run: `code` is the exit code (-9: it hung); also its peak of memory."""

    code: int
    out: str
    err: str
    peak_mb: float


class WarmProgram:
    """Runs the program again and again. Call `close()`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.app.warm_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        folder: Path | None = None,
        stdout: str = "file",
        stderr: str = "file",
        stop_after_s: float | None = None,
        timeout_s: float = 60,
        obeys_permissions: bool = False,
    ) -> Ended:
        """Run the program with `arguments` and return how it ended.

        `env` changes the environment (None: unset). A standard file is a `file`, whose content is
        returned, or a `pipe`, which is closed already, or the path of a file. SIGINT comes after
        `stop_after_s`. With `obeys_permissions` root may read and write only what its own files'
        permissions allow.
        """
        changed = {**os.environ, **(env or {})}
        request = {
            "argv": ["orderbook-desktop", *arguments],
            "env": {name: value for name, value in changed.items() if value is not None},
            "folder": str(folder or Path.cwd()),
            "stdout": stdout,
            "stderr": stderr,
            "stop_after_s": stop_after_s,
            "timeout_s": timeout_s,
            "obeys_permissions": obeys_permissions,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> Callable[[], None] | None:
    """Answer all requests; return what this process has to run if it is a child."""
    for name in (*LIBRARIES, *_LOADED, SERVER):
        importlib.import_module(name)
    copy_new_databases()
    # A child's last garbage collection need not look at the loaded modules.
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            # A request that comes before the program hears of it waits.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            child = os.fork()
            if child == 0:
                if not request["env"].get("MONGO_DSN"):
                    server = have_spare_server()
                    if server is not None:
                        return partial(run, server)
                _become(request, out.fileno(), err.fileno())
                return _run_program
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            code, peak = _wait(child, request)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "surrogateescape"))
        answer = {"code": code, "out": texts[0], "err": texts[1], "peak_mb": peak}
        print(json.dumps(answer), flush=True)
    return None


def _run_program() -> None:
    main = importlib.import_module("orderbook_desktop.app.start").main
    run_and_end(partial(main, hear_requests))


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Become the process of the request: apart from loaded modules it is like a new process."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = request["argv"]
    # As the console script is none, by which the command line names itself.
    sys.modules["__main__"].__package__ = None
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, what, file in ((1, request["stdout"], out), (2, request["stderr"], err)):
        os.dup2(_opened(what, file), number)
    if request["obeys_permissions"]:
        _obey_permissions()
    encoding = request["env"].get("PYTHONIOENCODING", "utf-8")
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = os.fdopen(number, "w", encoding=encoding, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def hear_requests() -> None:
    """Let the request come that waited until the program can be asked to end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _obey_permissions() -> None:
    """Give up root's right to read and write all files (`capset(2)`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, of the first 32 capabilities and of the others.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for number in range(3):
            sets[number] &= ~_CAP_DAC
        libc.capset(header, sets)


def _opened(what: str, file: int) -> int:
    if what == "file":
        return file
    if what == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    return os.open(what, os.O_WRONLY)


def _wait(child: int, request: dict[str, Any]) -> tuple[int, float]:
    began = time.monotonic()
    stop_after, timeout = request["stop_after_s"], request["timeout_s"]
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024
        after = time.monotonic() - began
        if stop_after is not None and after >= stop_after:
            os.kill(child, signal.SIGINT)
            stop_after = None
        if after > timeout:
            os.killpg(child, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    run_it = _serve()
    if run_it is not None:
        run_it()
