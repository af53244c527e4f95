"""A hundred symbols recorded at once into our own database: is every event there, and for how much.

Everything is the real program, each part in its own process: `tests.bench.busy_exchange`,
`orderbook-desktop record`, and its database. The exchange counts what it sends; `verify` has to
find all of it, in one unbroken segment a symbol. It tells the processor time and memory of each
part, how the memory grows, how many events waited for the database at most, how late the change
stream of one symbol is, and what the database's folder takes on the disk, by kind of file.

    SYMBOLS=100 RATE=10 SECONDS=120 python -m tests.bench.record_many
    SYMBOLS=10 SECONDS=600 python -m tests.bench.record_many
    RATES=10,15,20,30,50 SECONDS=30 python -m tests.bench.record_many
    TRADES=20 python -m tests.bench.record_many
    SYMBOLS=1 TRADES=1000 SECONDS=60 python -m tests.bench.record_many

`TRADES` is how many trades a second each symbol has; without any, none are recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import ProxyHandler, build_opener

import numpy as np
import psutil

from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import Verified, verify
from tests.bench.targets import Targets

WAITING_AT_MOST = 2_000
GROWTH_AT_MOST = 12.0  # MB a minute
# The books come first, and what is sent last is still on its way.
_START_S = 45.0
_LAST_S = 2.0
_END_S = 60.0


class Told(NamedTuple):
    """Shares of one core in percent: in all, in the first fifth of the time, and in the last one.

    Then the processor time of an event (us), the memory at the end (MB), and MB a minute.
    """

    share: float
    share_first: float
    share_last: float
    event_us: float
    memory_mb: float
    growth: float


@dataclass
class Usage:
    """Processor time and memory of one process, looked at once a second."""

    process: psutil.Process
    busy_s: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def look(self) -> None:
        self.busy_s.append(sum(self.process.cpu_times()[:2]))
        self.times.append(time.monotonic())
        self.memory_mb.append(self.process.memory_info().rss / 2**20)

    def told(self, events: int) -> Told:
        """Return what came of all looks, during which so many events were sent."""
        shares = np.diff(self.busy_s) / np.diff(self.times) * 100
        half, part = len(self.times) // 2, -(-len(shares) // 5)
        slope = np.polyfit(self.times[half:], self.memory_mb[half:], 1)[0] * 60 if half > 1 else 0
        return Told(
            float(np.mean(shares)),
            float(np.mean(shares[:part])),
            float(np.mean(shares[-part:])),
            (self.busy_s[-1] - self.busy_s[0]) / events * 1e6,
            self.memory_mb[-1],
            float(slope),
        )


@dataclass
class Folder:
    """What the database's folder takes, in bytes on the disk by kind of file."""

    path: Path
    largest: int = 0
    at_end: Counter[str] = field(default_factory=Counter)

    def look(self) -> None:
        self.at_end = Counter()
        for file in self.path.rglob("*"):
            try:
                self.at_end[_kind_of(file.name)] += file.stat().st_blocks * 512
            except FileNotFoundError:
                continue
        self.largest = max(self.largest, self.at_end.total())


def _kind_of(name: str) -> str:
    for part in ("oplog", "Log", "HS", "index_entries", "natural", "documents"):
        if part in name:
            return part
    return "other"


@dataclass
class Run:
    """What came of one rate."""

    sent: dict[str, int]
    trades_sent: dict[str, int]
    verified: dict[str, Verified]
    most_waiting: int
    ended_within_s: float
    usages: dict[str, Told]
    exchange_late_s: float
    gaps: list[str]
    summary: str
    late_ms: dict[str, float]
    folder: Folder

    @property
    def missing(self) -> int:
        return sum(
            count - self.verified[market].events - self.verified[market].loose_events
            for market, count in self.sent.items()
        )

    @property
    def missing_trades(self) -> int:
        return sum(
            count - self.verified[market].trades.trades
            for market, count in self.trades_sent.items()
        )

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.verified.values())


def measure(folder: Path, symbols: int, rate: float, seconds: float, trades: float) -> Run:
    """Record `symbols` at `rate` events and `trades` trades a second each, for `seconds`."""
    arguments = [str(symbols), str(rate), str(seconds), str(trades)]
    exchange = _start(["tests.bench.busy_exchange", *arguments], stdout=subprocess.PIPE)
    assert exchange.stdout is not None
    rest_url, ws_url = exchange.stdout.readline().split()
    variables = {
        "ORDERBOOK_REST_URL": rest_url,
        "ORDERBOOK_WS_URL": ws_url,
        "ORDERBOOK_DATA_DIR": str(folder / "data"),
        "ORDERBOOK_TRADES": "on" if trades else "off",
    }
    log = folder / "record.txt"
    follower = None
    database_folder = Folder(folder / "data" / "database")
    try:
        with log.open("w") as told:
            command = ["orderbook_desktop", "record", "--top", str(symbols)]
            recorder = _start(command, stderr=told, **variables)
        parts = _until_begun(rest_url, recorder, exchange)
        market = min(_state(rest_url)["sent"]).partition("@")[0].upper()
        follower = _start(
            ["tests.bench.follower", str(folder / "data"), market],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        while not _state(rest_url)["finished"]:
            time.sleep(1)
            database_folder.look()
            for usage in parts.values():
                usage.look()
        late = float(exchange.stdout.readline().split()[2])
        time.sleep(_LAST_S)
        sent, trades_sent = (_sent(_state(rest_url), kind) for kind in ("depth", "aggTrade"))
        count = sum(sent.values()) + sum(trades_sent.values())
        usages = {name: usage.told(count) for name, usage in parts.items()}
        late_ms: dict[str, float] = json.loads(follower.communicate(timeout=_END_S)[0])
        database_folder.look()
        ending = time.monotonic()
        recorder.send_signal(signal.SIGTERM)
        recorder.wait(_END_S)
        ended_s = time.monotonic() - ending
    finally:
        exchange.kill()
        exchange.communicate()
        if follower is not None:
            follower.kill()
    text = log.read_text()
    waits = [int(one.replace(",", "")) for one in re.findall(r"at most ([\d,]+) were", text)]
    return Run(
        sent,
        trades_sent,
        asyncio.run(_verified(folder / "data", sent)),
        max(waits, default=0),
        ended_s,
        usages,
        late,
        re.findall(r"^.* [1-9]\d* gaps?.*because.*$", text, re.MULTILINE),
        f"{text.strip().splitlines()[-1]} (exit code {recorder.returncode})",
        late_ms,
        database_folder,
    )


def _start(
    arguments: list[str],
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    **variables: str,
) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **variables},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def _until_begun(rest_url: str, recorder: Any, exchange: Any) -> dict[str, Usage]:
    deadline = time.monotonic() + _START_S
    while not _state(rest_url)["played"]:
        assert recorder.poll() is None, "the recorder ended"
        assert time.monotonic() < deadline, "the recorder subscribed to nothing"
        time.sleep(0.1)
    children = psutil.Process(recorder.pid).children(recursive=True)
    database = max(children, key=lambda child: child.memory_info().rss)
    processes = {"recorder": recorder.pid, "database": database.pid, "exchange": exchange.pid}
    return {name: Usage(psutil.Process(pid)) for name, pid in processes.items()}


def _state(rest_url: str) -> dict[str, Any]:
    with build_opener(ProxyHandler({})).open(f"{rest_url}/control/state", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _sent(state: dict[str, Any], kind: str) -> dict[str, int]:
    """Return how many events of a kind were sent, by market."""
    found = {tuple(stream.split("@")[:2]): count for stream, count in state["sent"].items()}
    return {name.upper(): count for (name, of), count in found.items() if of == kind}


async def _verified(data_dir: Path, markets: Iterable[str]) -> dict[str, Verified]:
    """Return what `verify` finds of each market."""
    async with DatabaseServer(data_dir) as server:
        database = Database("book")
        try:
            database.connect(server.dsn)
            return {market: await verify(database, market) for market in markets}
        finally:
            database.close()


def _print(rate: float, run: Run, targets: Targets) -> None:
    count, faults = len(run.sent), [one.fault for one in run.verified.values() if one.fault]
    split = sum(one.segments != 1 for one in run.verified.values())
    print(f"{count} symbols, {rate:g} events/s each: {sum(run.sent.values()):,} events sent")
    print(f"  missing {run.missing:,} {targets.at_most(run.missing, 0)}")
    print(f"  recordings that don't verify {len(faults)} {targets.at_most(len(faults), 0)}")
    if run.trades_sent:
        missing, gaps = (
            run.missing_trades,
            sum(len(one.trades.gaps) for one in run.verified.values()),
        )
        print(f"  {sum(run.trades_sent.values()):,} trades sent")
        print(f"  missing trades {missing:,} {targets.at_most(missing, 0)}")
        print(f"  gaps of trades {gaps} {targets.at_most(gaps, 0)}")
        proven = [one.trades for one in run.verified.values()]
        held, not_held = (
            sum(getattr(one.held, name) for one in proven) for name in ("held", "not_held")
        )
        print(
            f"  {held:,} trades changed the book at their price, {not_held:,} did not "
            f"{targets.at_most(not_held, 0)}; archived {sum(one.archived for one in proven):,}"
        )
    print(f"  symbols in more than one segment {split} {targets.at_most(split, 0)}")
    print(
        f"  archived {run.total('archived_events'):,} events; "
        f"{run.total('loose_events'):,} came before the first book"
    )
    waited = targets.at_most(run.most_waiting, max(WAITING_AT_MOST, 2 * count * rate))
    print(f"  waiting for the database at most {run.most_waiting:,} {waited}")
    for name, told in run.usages.items():
        verdict = targets.at_most(told.growth, GROWTH_AT_MOST) if name == "recorder" else ""
        print(
            f"  {name:9} {told.share:5.1f} % of a core ({told.share_first:.1f} at first, "
            f"{told.share_last:.1f} at the end), {told.event_us:.0f} us an event, "
            f"{told.memory_mb:6.1f} MB, {told.growth:+.2f} MB/min {verdict}"
        )
    print(
        f"  the exchange was late by {run.exchange_late_s:.2f} s; "
        f"the recorder ended within {run.ended_within_s:.1f} s"
    )
    print(
        f"  change stream of one symbol: p50 {run.late_ms['p50']:.1f} ms, "
        f"p99 {run.late_ms['p99']:.1f} ms, max {run.late_ms['max']:.0f} ms "
        f"({run.late_ms['events']:,.0f} events)"
    )
    folder, sent = run.folder, sum(run.sent.values())
    kinds = ", ".join(f"{kind} {size / 1e6:.1f}" for kind, size in folder.at_end.most_common())
    print(
        f"  folder {folder.at_end.total() / 1e6:.1f} MB, {folder.at_end.total() / sent:,.0f} bytes "
        f"an event, at most {folder.largest / 1e6:.1f} MB; recordings report "
        f"{run.total('stored_bytes') / 1e6:.1f} MB"
    )
    print(f"    MB of {kinds}")
    for line in (*run.gaps[:5], *faults[:5], run.summary):
        print(f"  {line}", flush=True)


def main() -> int:
    symbols = int(os.environ.get("SYMBOLS", "100"))
    seconds = float(os.environ.get("SECONDS", "120"))
    rates = os.environ.get("RATES") or os.environ.get("RATE", "10")
    trades = float(os.environ.get("TRADES", "0"))
    targets = Targets()
    for rate in map(float, rates.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            _print(rate, measure(Path(folder), symbols, rate, seconds, trades), targets)
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores for everything")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
