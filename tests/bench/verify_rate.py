"""Speed of `verify`: from the bytes stored in the embedded database to the proof."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.bench.targets import Targets
from tests.bench.tiled_recording import make_tile, store

_HOURS = 6
_ROUNDS = 2
_ACCEPTED = 50_000


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _run() -> int:
    targets, tile, rates = Targets(), make_tile(), []
    with tempfile.TemporaryDirectory() as folder:
        async with DatabaseServer(Path(folder)) as server:
            database = Database("bench")
            database.connect(server.dsn)
            long = await store(database, tile, _HOURS)
            print(
                f"{tile.name} x {long.rounds}: {long.events:,} events in {long.bytes:,} bytes of "
                f"chunks on {server.kind.value}, load {os.getloadavg()[0]:.1f}"
            )
            before_mb = _peak_mb()
            for _ in range(_ROUNDS):
                began = time.perf_counter()
                found = await verify(database, tile.market)
                rates.append(found.events / (time.perf_counter() - began))
                assert found.fault is None, found.fault
                assert found.events == long.events
            database.close()
    best = max(rates)
    print(f"  verified {best:,.0f} events/s {targets.at_least(best, _ACCEPTED)}")
    print(f"  memory grew by {_peak_mb() - before_mb:.0f} MB at most")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(_run()))
