"""Follows the recording of one market through the change stream: how late is an event there?

    python -m tests.bench.follower DATA_DIR MARKET

It uses the server of the recorder in DATA_DIR. When its standard input closes it prints how many
events came, and p50, p99 and the maximum of the time from their arrival at the recorder, in ms.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.storage.reading.change_stream import RecordedStreams
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database


async def _follow(streams: RecordedStreams, market: str, late_ms: list[float]) -> None:
    async for item in streams.items(Stream(market, DEPTH)):
        if isinstance(item, DepthDiff):
            late_ns = time.time_ns() - item.received_ns
            late_ms.append(late_ns / 1e6)


async def _until_told(data_dir: Path, market: str) -> list[float]:
    late_ms: list[float] = []
    database = Database("book")
    async with DatabaseServer(data_dir) as server:
        database.connect(server.dsn)
        streams = RecordedStreams(database)
        following = asyncio.create_task(_follow(streams, market, late_ms))
        await asyncio.to_thread(sys.stdin.read)
        following.cancel()
        await streams.close()
        database.close()
    return late_ms


def main() -> int:
    late_ms = asyncio.run(_until_told(Path(sys.argv[1]), sys.argv[2]))
    cuts = statistics.quantiles(late_ms, n=100) if len(late_ms) > 1 else [0.0] * 99
    told = {"events": len(late_ms), "p50": cuts[49], "p99": cuts[98]}
    print(json.dumps(told | {"max": max(late_ms, default=0.0)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
