"""Many viewers of `serve` at ten updates a second, while `record` records beside it.

Everything is the real program, each part in its own process: a local exchange, the
recorder, the browser view, and the viewers (bare sockets that read `/stream`). It tells how
old an event is when it reaches a viewer (the exchange's clock is this computer's; the wait
for its turn, as no viewer is sent more than ten a second, is included), how far apart the
first and the last viewer get the same moment, the server's memory and processor time, and
what was recorded.

    VIEWERS=500 SECONDS=60 python -m tests.bench.web_viewers
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from tests.web.browser.program import Command, exchange, running, server

_P99_AT_MOST_MS = 250.0
_GROWTH_AT_MOST_MB = 16.0
_SETTLE_S = 3.0
_SEQ = re.compile(rb'"seq":(\d+),.{0,200}?"eventTime":(\d+)')


class Viewer(asyncio.Protocol):
    """Reads one stream; notes (moment, event time, time of arrival), in ms."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[int, int, float]] = []
        self.bytes = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        now_ms = time.time() * 1000
        for match in _SEQ.finditer(data):
            self.seen.append((int(match[1]), int(match[2]), now_ms))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (its name is given)
        self.ended = True


async def _watch(port: int, count: int, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        opened.append(await loop.create_connection(lambda: Viewer(port), "127.0.0.1", port))
        await asyncio.sleep(0.002)
    await asyncio.sleep(_SETTLE_S)
    viewers = [viewer for _, viewer in opened]
    for viewer in viewers:
        viewer.seen, viewer.bytes = [], 0
    await asyncio.sleep(seconds)
    result = _findings(viewers, seconds)
    for transport, _ in opened:
        transport.abort()
    return result


def _findings(viewers: list[Viewer], seconds: float) -> dict[str, float]:
    ages = sorted(now - event for viewer in viewers for _, event, now in viewer.seen)
    arrivals = defaultdict(list)
    for viewer in viewers:
        for seq, _, now in viewer.seen:
            arrivals[seq].append(now)
    spreads = sorted(max(times) - min(times) for times in arrivals.values() if len(times) > 1)
    return {
        "updates_per_s": len(ages) / seconds / len(viewers),
        "bytes_per_s": sum(viewer.bytes for viewer in viewers) / seconds / len(viewers),
        "age_p50_ms": _percentile(ages, 50),
        "age_p99_ms": _percentile(ages, 99),
        "age_max_ms": ages[-1],
        "spread_p50_ms": _percentile(spreads, 50),
        "spread_p99_ms": _percentile(spreads, 99),
        "ended": sum(viewer.ended for viewer in viewers),
    }


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


def _child(command: Command) -> psutil.Process:
    assert command.process is not None
    return psutil.Process(command.process.pid)


def _measure(folder: Path, count: int, seconds: float) -> tuple[dict[str, float], str]:
    market, variables = exchange(folder, "--seed", "9")
    with running(market):
        recorder = subprocess.Popen(
            [sys.executable, "-m", "orderbook_desktop", "record", "BTC/USDT"],
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        view, address = server(folder, variables)
        with running(view):
            port = address.rpartition(":")[2]
            process = _child(view)
            arguments = [sys.executable, "-m", "tests.bench.web_viewers", port]
            viewers = subprocess.Popen(
                [*arguments, str(count), str(seconds)], stdout=subprocess.PIPE, text=True
            )
            # A third of the time to fill what is meant to fill up.
            time.sleep(_SETTLE_S + count * 0.003 + seconds / 3)
            memory, busy = process.memory_info().rss, sum(process.cpu_times()[:2])
            answer, _ = viewers.communicate()
            found: dict[str, float] = json.loads(answer)
            found["memory_mb"] = memory / 2**20
            found["growth_mb"] = (process.memory_info().rss - memory) / 2**20
            spent = sum(process.cpu_times()[:2]) - busy
            found["processor_percent"] = spent / (seconds * 2 / 3) * 100
        recorder.send_signal(2)
        _, told = recorder.communicate(timeout=30)
    return found, f"{told.strip().splitlines()[-1]} (exit code {recorder.returncode})"


def main(arguments: list[str]) -> int:
    if arguments:
        port, count, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
        print(json.dumps(asyncio.run(_watch(port, count, seconds))))
        return 0
    count = int(os.environ.get("VIEWERS", "500"))
    seconds = float(os.environ.get("SECONDS", "60"))
    with tempfile.TemporaryDirectory() as folder:
        found, recorded = _measure(Path(folder), count, seconds)
    print(f"{count} viewers of /stream, {seconds:.0f} s, {os.cpu_count()} cores for everything")
    for name, value in found.items():
        print(f"  {name:20}{value:12,.1f}")
    print(f"  recorded meanwhile: {recorded}")
    is_good = (
        found["age_p99_ms"] <= _P99_AT_MOST_MS
        and found["growth_mb"] <= _GROWTH_AT_MOST_MB
        and not found["ended"]
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
