"""Our database uses the space of removed documents again while it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.storage.server.choice import ServerKind
from orderbook_desktop.storage.server.server import DatabaseServer

DOCUMENTS = 100
BYTES = 10_000


async def test_files_do_not_grow_by_what_comes_and_goes(tmp_path: Path) -> None:
    """The server's own reads at its start don't prevent that space is freed."""
    async with DatabaseServer(tmp_path) as server:
        if server.kind is not ServerKind.SECANTUS:
            return
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(server.dsn)
        things = client["book"]["things"]
        sizes = []
        for _ in range(8):
            documents = [{"text": os.urandom(BYTES)} for _ in range(DOCUMENTS)]
            await things.insert_many(documents)
            await client.admin.command("fsync")
            await things.delete_many({})
            # A checkpoint frees the space that the one before it needed.
            await client.admin.command("fsync")
            await client.admin.command("fsync")
            sizes.append(sum(map(_size, _files(tmp_path))))
        client.close()
    # Each round writes a megabyte; at most two of them are stored at once.
    assert sizes[-1] - sizes[1] < DOCUMENTS * BYTES, sizes


def _files(data_dir: Path) -> list[Path]:
    folder = data_dir / "database" / "secantus"
    return [*folder.glob("secantus_documents_*.wt"), folder / "WiredTigerHS.wt"]


def _size(path: Path) -> int:
    return path.stat().st_size
