"""Every number of benchmarks, here and at another commit, in turn on the same computer.

    python -m tests.bench.beside e283945 --pairs 10 book_cost repaint

The other commit is checked out into a temporary folder, and runs its own benchmarks there with
the libraries of this environment. One run of each makes a pair. A row is a number that both
print; its ratio is the median over the pairs of here divided by there. Numbers that only one of
the two prints are counted. Set CAPTURE: the other commit finds no capture beside its folder.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.__main__ import BENCHMARKS

_ROOT = Path(__file__).parents[2]
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
_VERDICT = re.compile(r"\(target [^)]*\)")
# What a number is of: the words of its line, its place among equal lines, its place in the line.
_Place = tuple[str, int, int]


def numbers_in(text: str) -> dict[_Place, float]:
    """Return the numbers that a benchmark printed, by their place."""
    found: dict[_Place, float] = {}
    lines_like: dict[str, int] = defaultdict(int)
    for line in text.splitlines():
        plain = _VERDICT.sub("", line)
        words = " ".join(_NUMBER.sub("#", plain).split())
        for index, number in enumerate(_NUMBER.findall(plain)):
            found[words, lines_like[words], index] = float(number.replace(",", ""))
        lines_like[words] += 1
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check `commit` out into a folder of its own, which is removed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(_ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _run(tree: Path, benchmark: str) -> dict[_Place, float]:
    # A missed target makes the exit code 1: the numbers count all the same.
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{benchmark}"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode not in (0, 1):
        sys.exit(f"{benchmark} ended with {ran.returncode} in {tree}")
    return numbers_in(ran.stdout)


def _compare(there: Path, benchmark: str, pair_count: int) -> None:
    # In turn, so that a computer that grows slower does so for both.
    pairs = [(_run(_ROOT, benchmark), _run(there, benchmark)) for _ in range(pair_count)]
    print(f"== {benchmark}, {pair_count} pairs: ratio, here, there")
    in_all = [
        place
        for place in pairs[0][0]
        if all(place in here and place in other for here, other in pairs)
    ]
    for place in in_all:
        words, _, index = place
        here = [one[place] for one, _ in pairs]
        other = [one[place] for _, one in pairs]
        if not all(other) or here == other:
            continue
        ratio = statistics.median(a / b for a, b in zip(here, other, strict=True))
        medians = statistics.median(here), statistics.median(other)
        print(
            f"{ratio:7.3f} {medians[0]:14,.3f} {medians[1]:14,.3f}  number {index + 1} of: {words}"
        )
    print(f"        {len(pairs[0][0]) - len(in_all)} numbers are not in both", flush=True)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. An option may stand between the commit and the benchmarks."""
    parser = argparse.ArgumentParser(description="Benchmarks here beside those of a commit.")
    parser.add_argument("commit")
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="default: all")
    parser.add_argument("--pairs", type=int, default=10)
    return parser.parse_intermixed_args(given)


def main() -> int:
    given = arguments()
    with checked_out(given.commit) as tree:
        for benchmark in given.benchmarks or BENCHMARKS:
            _compare(tree, benchmark, given.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
