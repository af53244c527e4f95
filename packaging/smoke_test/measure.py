"""Measures how long the bundle takes until its first picture, and how much memory it needs.

    sh packaging/with.sh dev python packaging/smoke_test/measure.py [BUNDLE] [--minutes 10]

It runs on Linux, under Xvfb, against the bundle's own exchange, after a first start that is not
counted. The screen is read every few milliseconds. Memory is the sum of the resident sets of the
program and its database; shared pages count twice. --minutes 0 leaves it out.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import psutil
from display import Screen, screen

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = 8
PATIENCE_S = 30.0


def main(arguments: list[str]) -> int:
    """Measure the bundle named in `arguments`, and print the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", nargs="?", type=Path, default=ROOT / "dist" / "orderbook-desktop")
    parser.add_argument("--minutes", type=float, default=10.0)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, screen(Path(name)) as shown:
        if shown is None:
            print("Measured under Xvfb only.", file=sys.stderr)
            return 2
        program = str(wanted.bundle / "orderbook-desktop")
        environment = {
            **os.environ,
            "HOME": name,
            "DISPLAY": shown.name,
            "ORDERBOOK_DATA_DIR": f"{name}/data",
        }
        with exchange(program, name, environment):
            starts = [start(program, environment, shown) for _ in range(RUNS + 1)][1:]
            print_spread("first paint", [painted for painted, _ in starts])
            print_spread("live book", [lively for _, lively in starts])
            if wanted.minutes:
                watch_memory(program, environment, wanted.minutes)
    return 0


@contextmanager
def exchange(program: str, folder: str, environment: dict[str, str]) -> Iterator[None]:
    """Run the bundle's exchange, and put its addresses into `environment`."""
    command = [program, "exchange", "--port", "0", "--data-dir", f"{folder}/exchange"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while not (addresses := re.findall(r"(ORDERBOOK_\w+_URL)=(\S+)", line_of(process))):
                pass
            environment.update(addresses)
            yield
        finally:
            process.terminate()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line of the output of `process`."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise SystemExit("the exchange ended")
    return line


def start(program: str, environment: dict[str, str], shown: Screen) -> tuple[float, float]:
    """Return the seconds from exec to the first picture, and to a book on screen."""
    until(shown.is_blank)
    began = time.monotonic()
    with subprocess.Popen([program], env=environment) as process:
        until(lambda: not shown.is_blank())
        painted = time.monotonic() - began
        until(shown.shows_book)
        lively = time.monotonic() - began
        process.terminate()
    return painted, lively


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, with a look every 2 ms."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE_S:.0f} s")
        time.sleep(0.002)


def print_spread(what: str, values: list[float]) -> None:
    """Print the spread of `values`, in seconds."""
    median = statistics.median(values)
    print(f"{what:12} median {median:.3f} s   min {min(values):.3f}   max {max(values):.3f}")


def watch_memory(program: str, environment: dict[str, str], minutes: float) -> None:
    """Print the memory of program and database over time, while one symbol is recorded."""
    with subprocess.Popen([program], env=environment) as process:
        whole = psutil.Process(process.pid)
        for step in range(11):
            parts = [whole, *whole.children(recursive=True)]
            sizes = [part.memory_info().rss / 1e6 for part in parts]
            each = " + ".join(f"{size:.0f}" for size in sizes)
            print(f"after {step * minutes / 10:4.1f} min: {sum(sizes):.0f} MB = {each}", flush=True)
            time.sleep(minutes * 6 if step < 10 else 0)
        process.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
