"""Which starts of programs can be a fork of a process that has loaded their modules already.

Loading takes most of the processor time of such a start.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from orderbook_desktop.system import child_guard

SERVER: Final = "orderbook_desktop.storage.server.secantus_child"
PROGRAMS: Final = (
    "orderbook_desktop",
    "tests.app.unhurried_program",
    "tests.faults.hasty_program",
    "tests.faults.chaos.exchange",
    "tests.storage.other_copy",
)
# Python reads it at its start; a forked process does so, too.
ENCODING_VARIABLE: Final = "PYTHONIOENCODING"
# Python, the C library or other libraries have read these when they were loaded.
_READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
_EXECUTE: Final = "_execute_child"
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


@dataclass(frozen=True, slots=True)
class Start:
    """What to start: a module, with the folder on Python's path or not; ends with `guard_of`."""

    module: str
    arguments: list[str]
    has_folder_on_path: bool
    guard_of: int = 0


def start_of(command: Sequence[str]) -> Start | None:
    """Return what `command` starts, if it can be forked."""
    guard_of = 0
    if list(command[:5]) == [sys.executable, "-I", "-S", child_guard.__file__, "exec"]:
        guard_of, command = int(command[5]), command[6:]
    match list(command):
        case [sys.executable, "-P", "-m", module, *arguments] if module == SERVER:
            return Start(module, arguments, has_folder_on_path=False, guard_of=guard_of)
        case [sys.executable, "-m", module, *arguments] if module in PROGRAMS and not guard_of:
            return Start(module, arguments, has_folder_on_path=True)
    return None


class Forker(Protocol):
    """A process that forks, or becomes, what is asked for."""

    def start(self, request: dict[str, Any], files: Sequence[int]) -> int | None:
        """Return the id of our new child with the standard `files`; None: start it anew."""
        ...


class ForkedStarts:
    """Has the starts of this process forked by what `forker_of` returns (None: start it anew)."""

    def __init__(self, forker_of: Callable[[Start], Forker | None]) -> None:
        self._forker_of = forker_of
        self._variables = _read_at_start(os.environ)
        self._start_anew: Callable[..., None] = vars(subprocess.Popen)[_EXECUTE]

    def begin(self) -> None:
        """Have them forked from now on."""
        forked = self

        def execute_child(popen: Any, *given: Any) -> None:
            forked._execute_child(popen, *given)

        setattr(subprocess.Popen, _EXECUTE, execute_child)

    def end(self) -> None:
        """Start them anew from now on."""
        setattr(subprocess.Popen, _EXECUTE, self._start_anew)

    def _execute_child(self, popen: Any, *given: Any) -> None:
        """Start the child of `popen`; takes what `Popen._execute_child` takes."""
        names = inspect.signature(self._start_anew).parameters
        asked = dict(zip(names, (popen, *given), strict=True))
        pid = self._forked(asked)
        if pid is None:
            self._start_anew(popen, *given)
            return
        popen.pid = pid
        popen._child_created = True
        popen._close_pipe_fds(*(asked[name] for name in _PIPES))

    def _forked(self, asked: Mapping[str, Any]) -> int | None:
        variables = _texts(asked["env"] or os.environ)
        if not _is_usual(asked) or _read_at_start(variables) != self._variables:
            return None
        start = start_of([os.fsdecode(argument) for argument in asked["args"]])
        forker = self._forker_of(start) if start is not None else None
        if start is None or forker is None:
            return None
        request = {
            **asdict(start),
            "variables": variables,
            "folder": os.fsdecode(asked["cwd"] or Path.cwd()),
            "is_leader": asked["start_new_session"],
        }
        files = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        standard = [number if file == -1 else file for number, file in enumerate(files)]
        return forker.start(request, standard)


def _is_usual(asked: Mapping[str, Any]) -> bool:
    """Return whether a fork can do all that is asked for."""
    return (
        isinstance(asked["args"], (list, tuple))
        and asked["close_fds"]
        and not any(asked[name] for name in ("executable", "preexec_fn", "pass_fds", "shell"))
        and all(asked[name] is None for name in ("gid", "gids", "uid"))
        and (asked["umask"], asked["process_group"]) == (-1, -1)
    )


def _texts(variables: Mapping[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(text) for name, text in variables.items()}


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in variables.items()
        if name.startswith(_READ_AT_START) and name != ENCODING_VARIABLE
    }
