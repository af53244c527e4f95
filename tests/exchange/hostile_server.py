"""A server that sends any bytes, for as long as the client takes them."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

MIB = 2**20
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


class HostileServer:
    """Counts the bytes `sent`, and keeps the `requests`."""

    def __init__(self) -> None:
        self.url = ""
        self.sent = 0
        self.requests: list[bytes] = []


@asynccontextmanager
async def hostile_server(
    parts: Iterable[bytes], pause_s: float = 0.0
) -> AsyncIterator[HostileServer]:
    """Answer each request with `parts`, `pause_s` after each other."""
    hostile = HostileServer()
    shared = list(itertools.islice(parts, 10_000))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hostile.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for part in shared:
                writer.write(part)
                await writer.drain()
                hostile.sent += len(part)
                if pause_s:
                    await asyncio.sleep(pause_s)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        hostile.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield hostile


def endless(beginning: bytes, filler: bytes, mib: int = 200) -> Iterable[bytes]:
    """Return a body of `mib` mebibytes, which no memory is used for."""
    part = filler * (MIB // len(filler))
    return itertools.chain([HEAD + b"\r\n" + beginning], itertools.repeat(part, mib))


def gzip_bomb(beginning: bytes, mib: int = 1024) -> bytes:
    """Return what unpacks to `mib` mebibytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(beginning)]
    parts += [packer.compress(b" " * MIB) for _ in range(mib)]
    return b"".join([*parts, packer.flush()])
