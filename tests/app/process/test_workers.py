"""A thread that is stuck keeps neither the pool from closing nor the program from ending."""

from __future__ import annotations

import subprocess
import sys
import threading

from orderbook_desktop.app.process.workers import Workers

_STUCK = """
import threading
from orderbook_desktop.app.process.workers import Workers, leave

workers = Workers()
begun = threading.Event()
workers.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
workers.shutdown()
print("closed", flush=True)
leave(3)
"""


def test_shutting_down_does_not_wait() -> None:
    workers, release, begun = Workers(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    working = workers.submit(work)
    begun.wait()
    workers.shutdown()
    assert not working.done()
    release.set()
    working.result()


def test_the_program_ends_although_a_thread_is_stuck() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "closed\n", "")


def test_an_idle_program_ends_with_its_code() -> None:
    script = "from orderbook_desktop.app.process.workers import leave; leave(4)"
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == 4
