"""Runs the benchmarks named on the command line, or all of them, one process each."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "book_cost",
    "repaint",
    "latency",
    "startup",
    "web_bytes",
    "web_viewers",
    "archive_size",
    "archive_read",
    "heatmap",
    "heatmap_frames",
    "live_edge",
    "archive_random_open",
    "packed_recording",
    "replay_seek",
    "replay_speed",
    "verify_rate",
    "archive_write",
    "way_in",
    "record_many",
)


def main() -> int:
    failed = 0
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"== {name}", flush=True)
        failed |= subprocess.run(
            [sys.executable, "-m", f"tests.bench.{name}"], check=False
        ).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
