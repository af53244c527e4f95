"""Starts a command that must not outlive the process that asked for it.

Run as a script with nothing but the standard library, so that it costs milliseconds:

    child_guard.py exec PARENT_PID COMMAND…      Linux: becomes the command; the kernel kills it
                                                 when the parent dies, however that dies
    child_guard.py resident PARENT_PID COMMAND…  elsewhere: stays beside the command, and ends it
                                                 when the pipe from the parent closes
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

# Linux's numbers; other systems have no names for them.
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_PATIENCE_S = 5.0
# glibc makes a pool of memory for each thread, and each pool fragments. So a database with a
# thread for every connection would grow for hours.
_POOLS = ("MALLOC_ARENA_MAX", "2")


def main(arguments: list[str]) -> int:
    """Guard the command in `arguments`; return its exit code where this process lives on."""
    mode, parent, *command = arguments
    try:
        if mode == "resident":
            return stay_beside(command)
        return become(command, int(parent))
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def become(command: list[str], parent: int) -> int:
    """Replace this process by `command`, which ends with the process `parent`.

    The kernel acts when the *thread* that started this process ends, so this thread must live as
    long as its process. The kernel kills the command, since a request to end could get lost in a
    command that is starting, and no process would be left to repeat it. So the command must
    survive a crash without loss, as a database that syncs its log does.
    """
    import ctypes  # noqa: PLC0415 - only here, only on Linux

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(_SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    os.environ.setdefault(*_POOLS)
    if os.getppid() == parent:
        os.execv(command[0], command)  # noqa: S606 - a list, no shell
    return 0  # The parent died before the kernel knew of it: the command is not needed any more.


def stay_beside(command: list[str]) -> int:
    """Run `command` until it ends, or standard input closes, or SIGTERM comes."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - a list, no shell
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.terminate()
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
