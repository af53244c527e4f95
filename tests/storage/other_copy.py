"""Another copy of the program: `python -m tests.storage.other_copy DATA_DIR`.

Keeps a database server until its standard input ends. Prints a JSON object for each change.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from orderbook_desktop.storage.server.server import DatabaseServer


async def main(data_dir: Path) -> None:
    """Run until standard input ends."""
    server = DatabaseServer(data_dir)

    def tell() -> None:
        change = {"state": server.state.value, "dsn": server.dsn, "pid": server.pid}
        print(json.dumps({**change, "owned": server.owned}), flush=True)

    server.subscribe(tell)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
